"""Tiny random checkpoints in the format that a family has on disk: config.json and two files of weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

Write = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a checkpoint's config and weights into a folder, in two shards with an index."""

    def written(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Path:
        names = sorted(weights)
        shards = [names[::2], names[1::2]]
        where: dict[str, str] = {}
        for i, held in enumerate(shards):
            file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
            save_file({n: weights[n].contiguous().clone() for n in held}, tmp_path / file)
            where |= dict.fromkeys(held, file)
        size = sum(t.numel() * t.element_size() for t in weights.values())
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return written


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Weights large enough that every part changes the logits; norms lie around 1."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape, generator=generator)
        found[name] = 1 + 0.2 * drawn if "norm" in name or name.endswith("ln_f.weight") else 0.3 * drawn
    return found


@pytest.fixture
def draw() -> Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]:
    """Random weights of these shapes."""
    return random_weights
