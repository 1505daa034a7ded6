"""All that one training run on a borrowed GPU needs, in one small folder; and what the run hands back.

    stretto llm pack DIR --preset h200 --init WEIGHTS --data DATA --concierge FILE… --concierge-valid FILE…
    python -m stretto.llm.train.lease DIR OUT        (there; in the background)
    stretto llm unpack OUT --out WEIGHTS             (here again)

A pack holds the dialogues (xz, without what training does not read), starting weights at four bits, and the
run's description. What comes back are int8 weights in parts, each with its SHA-256 in `parts.json`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from stretto.llm.checkpoint import START_FORMATS, export, load
from stretto.llm.transformer import Config, Transformer
from torch import Tensor

PACK_BYTES = 50 << 20
"""A pack may weigh so much; a device run takes 64 MiB, code included."""
PART_BYTES = 14 << 20
"""Size of a part that is handed back."""
BLOCK = 64
"""Weights that share a scale, in four bits."""
READ = ("source", "split", "tools", "messages", "heard")
"""Fields of a dialogue that training reads."""


class PackError(ValueError):
    """A pack that cannot be made, or a result that is not whole; the message says what to do."""


def four_bits(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as pairs of four-bit numbers (uint8, half as many) and a scale for each `BLOCK` of them.

    The largest error of a weight is 1/14 of the largest of its block: a start, to be healed by training.
    """
    blocks = tensor.float().flatten()
    blocks = torch.nn.functional.pad(blocks, (0, -len(blocks) % BLOCK)).view(-1, BLOCK)
    scales = (blocks.abs().amax(1, keepdim=True) / 7).half()
    levels = (blocks / scales.float().clamp(min=1e-12)).round().clamp(-7, 7).to(torch.int8) + 8
    pairs = levels.view(-1, 2).to(torch.uint8)
    return pairs[:, 0] | pairs[:, 1] << 4, scales[:, 0]


def from_four_bits(pairs: Tensor, scales: Tensor, shape: Sequence[int]) -> Tensor:
    """The matrix again, in full precision."""
    levels = torch.stack([pairs & 15, pairs >> 4], 1).float() - 8
    values = levels.view(-1, BLOCK) * scales.float()[:, None]
    return values.flatten()[: torch.Size(shape).numel()].view(tuple(shape))


def pack(
    folder: str | Path,
    run: Mapping[str, Any],
    sources: Mapping[str, Sequence[str]],
    held: Mapping[str, Mapping[str, Sequence[str]]],
    init: str | Path,
) -> dict[str, int]:
    """Write a pack; returns the sizes of its files, in bytes.

    `run`: what `lease` is to do; `held`: validation dialogues, as `train.held_out` gives them. Raises
    PackError where it is larger than `PACK_BYTES`.
    """
    folder = Path(folder)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    checks = {f"{name}.{source}": paths for name, files in held.items() for source, paths in files.items()}
    for name, paths in {**sources, **checks}.items():
        with lzma.open(folder / f"{name}.jsonl.xz", "wb", preset=9) as packed:
            for path in paths:
                with gzip.open(path, "rb") as lines:
                    for line in lines:
                        dialogue = json.loads(line)
                        kept = {k: dialogue[k] for k in READ if k in dialogue}
                        packed.write(
                            json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
                        )
    model = load(init, formats=START_FORMATS)
    stored: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if model.config.tied and name == "lm_head.weight":
            continue
        if tensor.ndim == 2:
            stored[name], stored[f"{name}.scales"] = four_bits(tensor)
        else:
            stored[name] = tensor.to(torch.bfloat16)
    save_file(stored, folder / "start.safetensors")
    named = {name: sorted(files) for name, files in held.items()}
    described = {**run, "sources": sorted(sources), "held": named, "model": asdict(model.config)}
    (folder / "run.json").write_text(json.dumps(described, indent=1) + "\n")
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    if sum(sizes.values()) > PACK_BYTES:
        listed = ", ".join(f"{name} {size >> 20} MiB" for name, size in sizes.items() if size >> 20)
        raise PackError(
            f"the pack has {sum(sizes.values()) >> 20} MiB, {PACK_BYTES >> 20} are allowed ({listed}): "
            "give fewer dialogues"
        )
    return sizes


def starting_weights(folder: str | Path) -> Transformer:
    """The model that a pack starts from."""
    folder = Path(folder)
    config = Config(**json.loads((folder / "run.json").read_text())["model"])
    stored = load_file(folder / "start.safetensors")
    model = Transformer(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(".scales"):
            continue
        scales = stored.get(f"{name}.scales")
        weights[name] = tensor.float() if scales is None else from_four_bits(tensor, scales, shapes[name])
    if config.tied:
        weights["lm_head.weight"] = weights["embed_tokens.weight"]
    model.load_state_dict(weights)
    return model


def hand_over(weights: str | Path, out: str | Path) -> list[str]:
    """Write trained weights as int8 parts, `config.json`, the log and `parts.json`; the parts' names."""
    out = Path(out)
    fresh = out.with_name(out.name + ".new")
    if fresh.exists():
        shutil.rmtree(fresh)
    names = export(fresh, load(weights), PART_BYTES)
    for extra in ("log.jsonl", "smoke.json"):
        if (Path(weights) / extra).is_file():
            shutil.copy(Path(weights) / extra, fresh / extra)
    sums = {name: _sha256(fresh / name) for name in (*names, "config.json")}
    (fresh / "parts.json").write_text(json.dumps(sums, indent=1) + "\n")
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    return names


def unpack(folder: str | Path, out: str | Path) -> list[str]:
    """Check what a run handed back and put it into `out`, a folder of weights. Raises PackError."""
    folder, out = Path(folder), Path(out)
    if not (folder / "parts.json").is_file():
        raise PackError(f"{folder} has no parts.json: fetch the whole folder that the run wrote")
    sums: dict[str, str] = json.loads((folder / "parts.json").read_text())
    wrong = [n for n, s in sums.items() if not (folder / n).is_file() or _sha256(folder / n) != s]
    if wrong:
        raise PackError(f"{', '.join(wrong)} in {folder} are missing or broken: fetch them again")
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("model*.safetensors"):
        old.unlink()
    for name in sums:
        shutil.copy(folder / name, out / name)
    load(out)
    return sorted(sums)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
