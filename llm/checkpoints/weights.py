"""Weights of other families: `safetensors` files, memory-mapped, each tensor straight to the device.

On a CPU a weight that is stored in the wanted precision is the mapped file itself. Pickles are never read.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
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


def read_weights(model: Transformer, names: Names, folder: Path, device: str, dtype: torch.dtype) -> None:
    """Fill a model built on the meta device. Raises CheckpointError, naming file and tensor."""
    tied = model.config.tied
    ours = {n: tuple(t.shape) for n, t in model.state_dict().items() if not (tied and n == "lm_head.weight")}
    theirs = {name: names.on_disk(name) for name in ours}
    shared = Counter(theirs.values())
    begun: Counter[str] = Counter()
    used: set[str] = set()
    weights: dict[str, Tensor] = {}
    with ExitStack() as opened:
        files = Files(folder, device, opened)
        for name, shape in ours.items():
            wanted = torch.float32 if name.endswith(EXACT) else dtype
            stored = theirs[name]
            if "{e}" in stored:
                parts = [stored.format(e=e) for e in range(shape[0])]
                weights[name] = _stacked(files, parts, shape, device, wanted)
                used |= set(parts)
            elif shared[stored] > 1:
                rows = slice(begun[stored], begun[stored] + shape[0])
                begun[stored] = rows.stop
                total = sum(ours[n][0] for n, other in theirs.items() if other == stored)
                _check(stored, files.shape(stored), (total, *shape[1:]))
                weights[name] = files.read(stored, rows).to(device, wanted)
                used.add(stored)
            else:
                _check(stored, files.shape(stored), shape)
                weights[name] = files.read(stored).to(device, wanted)
                used.add(stored)
        left = {n for n in files.names - used if not n.endswith(UNUSED)}
    if tied:
        left -= {names.on_disk("lm_head.weight")}
    if left:
        raise CheckpointError(
            f"{folder} holds {len(left)} tensors that the family does not have, such as {min(left)}; "
            "use a checkpoint as its authors published it"
        )
    model.load_state_dict(weights, strict=False, assign=True)
    if tied:
        model.lm_head.weight = model.embed_tokens.weight


def _stacked(
    files: Files, parts: list[str], shape: tuple[int, ...], device: str, dtype: torch.dtype
) -> Tensor:
    out = torch.empty(shape, device=device, dtype=dtype)
    for place, part in enumerate(parts):
        _check(part, files.shape(part), shape[1:])
        out[place].copy_(files.read(part))
    return out


def _check(name: str, stored: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if stored != wanted:
        raise CheckpointError(
            f"{name} is {list(stored)}, and config.json makes it {list(wanted)}: they are of different models"
        )
