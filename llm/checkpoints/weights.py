"""Weights of other families: `safetensors` files, memory-mapped, each tensor straight to the device.

On a CPU a weight that is stored in the wanted precision is the mapped file itself. Pickles are never read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoints.recipe import Names
from stretto.llm.transformer import Transformer
from torch import Tensor

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
DTYPES = ("F32", "F16", "BF16")
EXACT = "experts.router.bias"
"""Kept in float32 in every model: it decides between close scores."""
UNUSED = "rotary_emb.inv_freq"
"""Positions that some older files hold and nobody reads."""


class Files:
    """The tensors of a folder by name. Raises CheckpointError for a file or a tensor that is missing."""

    def __init__(self, folder: Path, device: str, opened: ExitStack) -> None:
        self.folder, self.device, self._opened = folder, device, opened
        self._files: dict[str, Any] = {}
        self._where = self._index() if (folder / INDEX).is_file() else self._single()

    @property
    def names(self) -> set[str]:
        """All that is stored."""
        return set(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises CheckpointError for a tensor that is missing or in a precision that is not read."""
        if name not in self._where:
            raise CheckpointError(
                f"{self.folder} lacks the tensor {name}; copy all files again from where the weights are from"
            )
        stored = self._open(self._where[name]).get_slice(name)
        if (dtype := stored.get_dtype()) not in DTYPES:
            raise CheckpointError(
                f"{name} is stored as {dtype}, and {', '.join(DTYPES)} are read; use the checkpoint in bf16, "
                "not a quantised one"
            )
        return tuple(stored.get_shape())

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        """A tensor, or some rows of it, on the device."""
        file = self._open(self._where[name])
        tensor: Tensor = file.get_tensor(name) if rows is None else file.get_slice(name)[rows]
        return tensor

    def _open(self, path: Path) -> Any:
        if path.name not in self._files:
            try:
                opening = safe_open(path, framework="pt", device=self.device)
                self._files[path.name] = self._opened.enter_context(opening)
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path} cannot be read ({error}); copy it again") from error
        return self._files[path.name]

    def _index(self) -> dict[str, Path]:
        try:
            described: dict[str, str] = json.loads((self.folder / INDEX).read_text())["weight_map"]
            where = {name: self.folder / Path(file).name for name, file in described.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{self.folder / INDEX} cannot be read ({error}); copy it again") from error
        files = sorted(set(where.values()))
        if gone := [path.name for path in files if not path.is_file()]:
            raise CheckpointError(
                f"{self.folder} lacks {', '.join(gone)}; copy what is missing from where the rest is from"
            )
        held = {path: set(self._open(path).keys()) for path in files}
        if gone := [name for name, path in where.items() if name not in held[path]]:
            raise CheckpointError(f"{where[gone[0]]} lacks the tensor {gone[0]}, which the index puts there")
        return where

    def _single(self) -> dict[str, Path]:
        path = self.folder / SINGLE
        if not path.is_file():
            raise CheckpointError(
                f"{self.folder} has no weights: it needs {SINGLE}, or {INDEX} and the files that it names "
                "(weights in pickles, *.bin or *.pt, are not read: convert them to safetensors)"
            )
        return dict.fromkeys(self._open(path).keys(), path)


@dataclass(frozen=True)
class Source:
    """What a weight of ours is on disk: one tensor, some rows of a fused one, or several to stack."""

    parts: tuple[str, ...]
    shape: tuple[int, ...]
    """Of each part as it is stored."""
    rows: slice | None = None
    stack: bool = False


def sources(shapes: Mapping[str, tuple[int, ...]], names: Names) -> dict[str, Source]:
    """Where each weight of ours is, by the shapes of ours. Fused ones stand in our order, row behind row."""
    theirs = {ours: names.on_disk(ours) for ours in shapes}
    height: Counter[str] = Counter()
    for ours, stored in theirs.items():
        height[stored] += shapes[ours][0]
    begun: Counter[str] = Counter()
    found = {}
    for ours, stored in theirs.items():
        first, *rest = shapes[ours]
        if "{e}" in stored:
            found[ours] = Source(tuple(stored.format(e=e) for e in range(first)), tuple(rest), stack=True)
        elif height[stored] > first:
            rows = slice(begun[stored], begun[stored] + first)
            begun[stored] = rows.stop
            found[ours] = Source((stored,), (height[stored], *rest), rows)
        else:
            found[ours] = Source((stored,), (first, *rest))
    return found


def read_weights(model: Transformer, names: Names, folder: Path, device: str, dtype: torch.dtype) -> None:
    """Fill a model built on the meta device. Raises CheckpointError before it reads anything."""
    tied = model.config.tied
    shapes = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    head = names.on_disk("lm_head.weight")
    if tied:
        del shapes["lm_head.weight"]
    plan = sources(shapes, names)
    with ExitStack() as opened:
        files = Files(folder, device, opened)
        for source in plan.values():
            for part in source.parts:
                _check(part, files.shape(part), source.shape)
        left = files.names - {part for source in plan.values() for part in source.parts}
        left = {name for name in left if not name.endswith(UNUSED) and not (tied and name == head)}
        if left:
            raise CheckpointError(
                f"{folder} holds {len(left)} tensors that the family does not have, such as {min(left)}; "
                "use a checkpoint as its authors published it"
            )
        weights = {
            ours: _read(files, source, device, torch.float32 if ours.endswith(EXACT) else dtype)
            for ours, source in plan.items()
        }
    model.load_state_dict(weights, strict=False, assign=True)
    if tied:
        model.lm_head.weight = model.embed_tokens.weight


def _read(files: Files, source: Source, device: str, dtype: torch.dtype) -> Tensor:
    if not source.stack:
        return files.read(source.parts[0], source.rows).to(device, dtype)
    out = torch.empty((len(source.parts), *source.shape), device=device, dtype=dtype)
    for place, part in enumerate(source.parts):
        out[place].copy_(files.read(part))
    return out


def _check(name: str, stored: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if stored != wanted:
        raise CheckpointError(
            f"{name} is {list(stored)}, and config.json makes it {list(wanted)}: they are of different models"
        )
