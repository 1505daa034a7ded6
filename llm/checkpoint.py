"""Weights in a folder: `config.json`, `model.safetensors`; the format version is checked on loading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stretto.llm.tokenizer import FORMAT_VERSION
from stretto.llm.transformer import Config, Transformer

EMBEDDED = Path(__file__).with_name("weights")


class CheckpointError(ValueError):
    """A folder holds no weights that can be used; the message says what to do."""


def save(folder: str | Path, config: Config, weights: Mapping[str, torch.Tensor]) -> None:
    """Write config and weights (bf16; tied heads once) into a folder, whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in weights.items()
        if not (config.tied and name == "lm_head.weight")
    }
    save_file(kept, folder / "model.safetensors.part", {"format_version": str(FORMAT_VERSION)})
    (folder / "model.safetensors.part").replace(folder / "model.safetensors")
    described = {"format_version": FORMAT_VERSION, "model": asdict(config)}
    (folder / "config.json").write_text(json.dumps(described, indent=1) + "\n")


def load(
    folder: str | Path = EMBEDDED, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Transformer:
    """The model of a folder, ready to read and write. Raises CheckpointError."""
    folder = Path(folder)
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise CheckpointError(
            f"no model in {folder}: it needs config.json and model.safetensors "
            "(train one with `stretto llm train`, or leave --model out for the embedded one)"
        )
    try:
        described = json.loads((folder / "config.json").read_text())
        version = described["format_version"]
        if version != FORMAT_VERSION:  # first of all: another version may describe its shape otherwise
            raise CheckpointError(
                f"the model in {folder} has format version {version}, this Stretto reads {FORMAT_VERSION}; "
                "train it again or install the Stretto it was made with"
            )
        shape = Config(**described["model"])
        weights = load_file(folder / "model.safetensors")
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, SafetensorError, OSError) as error:
        raise CheckpointError(
            f"the model in {folder} cannot be read ({error}); copy or train it again"
        ) from error
    model = Transformer(shape)
    try:
        missing, unexpected = model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    except RuntimeError as error:  # the right names in other sizes
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"the weights in {folder} do not fit its config: {reason}") from error
    missing = [m for m in missing if not (shape.tied and m == "lm_head.weight")]
    if missing or unexpected:
        raise CheckpointError(f"the weights in {folder} do not fit its config: {[*missing, *unexpected][:4]}")
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)
