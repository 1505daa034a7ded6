"""Weights in a folder: `config.json` and the files it names; the format version is checked on loading."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stretto.llm.tokenizer import FORMAT_VERSION
from stretto.llm.transformer import Config, Transformer

SCALE = ".scale"
"""Behind a matrix's name: the factors of its rows, where it is stored in int8."""
START_FORMATS = (1, FORMAT_VERSION)
"""Formats whose weights a training run may go on from: their ids mean the same."""
EMBEDDED = Path(__file__).with_name("weights")


class CheckpointError(ValueError):
    """A folder holds no weights that can be used; the message says what to do."""


def find_device(device: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda". Raises `CheckpointError` where no GPU is to be had."""
    if device != "cpu" and torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise CheckpointError("PyTorch finds no GPU here: leave --device out, or give --device cpu")
    return "cpu"


def save(folder: str | Path, config: Config, weights: Mapping[str, torch.Tensor]) -> None:
    """Write config and weights (bf16; tied heads once) into a folder, whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {n: t.detach().to("cpu", torch.bfloat16) for n, t in _stored(config, weights)}
    _write(folder / "model.safetensors", kept)
    _describe(folder, config, ["model.safetensors"])


def export(folder: str | Path, model: Transformer, part_bytes: int = 32 << 20) -> list[str]:
    """Write a model to ship: int8 matrices with a scale a row, in files of about `part_bytes`.

    The largest error of a weight is 1/254 of the largest of its row. Returns the names of the files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in _stored(model.config, model.state_dict()):
        tensor = tensor.detach().cpu()
        if tensor.ndim == 2:
            scale = tensor.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
            stored = {name: (tensor / scale).round().to(torch.int8), name + SCALE: scale}
        else:
            stored = {name: tensor.to(torch.bfloat16)}
        extra = sum(t.numel() * t.element_size() for t in stored.values())
        if parts[-1] and size + extra > part_bytes:
            parts.append({})
            size = 0
        parts[-1] |= stored
        size += extra
    for old in folder.glob("model*.safetensors"):
        old.unlink()
    names = [f"model-{i + 1}-of-{len(parts)}.safetensors" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        _write(folder / name, part)
    _describe(folder, model.config, names)
    return names


def averaged(before: Transformer, after: Transformer, share: float) -> Transformer:
    """`after`, with a `share` (0..1) of weights that learning had changed less put back.

    Fine-tuning forgets; between both ends lies much of what each can do (WiSE-FT, Wortsman et al. 2022).
    Raises CheckpointError for models of different shapes.
    """
    if before.config != after.config:
        raise CheckpointError("weights of different shapes cannot be averaged: give those it went on from")
    old = dict(before.named_parameters())
    with torch.no_grad():
        for name, weight in after.named_parameters():  # a tied head is named once
            weight.lerp_(old[name], share)
    return after


def _stored(config: Config, weights: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    return ((n, t) for n, t in weights.items() if not (config.tied and n == "lm_head.weight"))


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    part = path.with_name(path.name + ".part")
    save_file({n: t.contiguous() for n, t in tensors.items()}, part, {"format_version": str(FORMAT_VERSION)})
    part.replace(path)


def _describe(folder: Path, config: Config, files: list[str]) -> None:
    described = {"format_version": FORMAT_VERSION, "model": asdict(config), "files": files}
    (folder / "config.json").write_text(json.dumps(described, indent=1) + "\n")


def _read(paths: list[Path], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors of some files; int8 is multiplied out in full precision."""
    stored: dict[str, torch.Tensor] = {}
    for path in paths:
        stored |= load_file(path)
    scales = {n: stored.pop(n).float() for n in list(stored) if n.endswith(SCALE)}
    return {
        n: (t.float() * scales[n + SCALE] if n + SCALE in scales else t).to(dtype) for n, t in stored.items()
    }


def load(
    folder: str | Path = EMBEDDED,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    formats: Container[int] = (FORMAT_VERSION,),
) -> Transformer:
    """The model of a folder, ready to read and write. Raises CheckpointError.

    `formats`: versions of the token format that it may have been trained on (`START_FORMATS`: to go on from).
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"no model in {folder}: it needs config.json and the weights that it names "
            "(train one with `stretto llm train`, or leave --model out for the embedded one)"
        )
    try:
        described = json.loads((folder / "config.json").read_text())
        version = described["format_version"]
        if version not in formats:  # first of all: another version may describe its shape otherwise
            raise CheckpointError(
                f"the model in {folder} has format version {version}, this Stretto reads {FORMAT_VERSION}; "
                "train it again or install the Stretto it was made with"
            )
        shape = Config(**described["model"])
        paths = [folder / name for name in described.get("files", ["model.safetensors"])]
        if gone := [path.name for path in paths if not path.is_file()]:
            raise CheckpointError(
                f"{folder} lacks {', '.join(gone)}; copy the whole folder again, or train the model"
            )
        weights = _read(paths, dtype)
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, SafetensorError, OSError) as error:
        raise CheckpointError(
            f"the model in {folder} cannot be read ({error}); copy or train it again"
        ) from error
    with torch.device("meta"):  # weights are taken over, not written over others
        model = Transformer(shape)
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:  # the right names in other sizes
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"the weights in {folder} do not fit its config: {reason}") from error
    missing = [m for m in missing if not (shape.tied and m == "lm_head.weight")]
    if missing or unexpected:
        raise CheckpointError(f"the weights in {folder} do not fit its config: {[*missing, *unexpected][:4]}")
    if shape.tied:
        model.lm_head.weight = model.embed_tokens.weight
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)
