"""How things are timed: in turns, so that whatever else loads the machine falls on all of them alike."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from stretto.llm.tokenizer import Tokenizer
from stretto.llm.transformer import Transformer


@dataclass
class Setup:
    """What all comparisons share. `model`: as it is used, that is packed where it can be; `plain`: with the
    weights as they are stored, where that is another one. `batches`: conversations at once; `runs`:
    repetitions, of which medians are taken; `say` tells how far it has come."""

    model: Transformer
    tokenizer: Tokenizer
    threads: int = 1
    batches: tuple[int, ...] = (1, 4, 16, 64)
    runs: int = 5
    say: Callable[[str], None] = field(default=lambda text: None)
    plain: Transformer | None = None

    @property
    def stored(self) -> Transformer:
        """The model with plain weights."""
        return self.plain or self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of what is compared with them."""
        return self.model.embed_tokens.weight.dtype


@dataclass(frozen=True)
class Skipped:
    """A comparison that was not made, and what to do for it."""

    name: str
    skipped: str


def medians(
    ways: Mapping[str, Callable[[], object]], rounds: int, device: torch.device | None = None
) -> dict[str, float]:
    """Median ms of each way. A round runs each of them once, every second round backwards; the first is not
    counted. What a GPU has still to do is waited for."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in sorted(ways, key=list(ways).index, reverse=number % 2 == 1):
            _finish(device)
            began = time.perf_counter()
            ways[name]()
            _finish(device)
            if number:
                times[name].append((time.perf_counter() - began) * 1000)
    return {name: median(found) for name, found in times.items()}


def _finish(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def rounded(ms: float) -> float:
    """Milliseconds (or a ratio) as they are shown: three digits that count."""
    return float(f"{ms:.3g}")


def machine(setup: Setup, command: str) -> dict[str, Any]:
    """What the numbers were measured on, and how to measure them again."""
    device = setup.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    shape = setup.model.config
    return {
        "system": platform.platform(terse=True),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(one, 2) for one in os.getloadavg()],
        "device": str(device),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "compiled": False,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "model": {
            "parameters": sum(p.numel() for p in setup.stored.parameters()),
            "layers": shape.layers,
            "width": shape.width,
            "vocab": shape.vocab,
        },
        "date": datetime.now(UTC).date().isoformat(),
        "runs": setup.runs,
        "command": command,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
