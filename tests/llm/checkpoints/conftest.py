"""Tiny random checkpoints in the format that a family has on disk: config.json and two files of weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from stretto.llm.checkpoints.dream import DREAM
from stretto.llm.checkpoints.fast_dllm import FAST_DLLM
from stretto.llm.checkpoints.llada import LLADA
from stretto.llm.checkpoints.nemotron import NEMOTRON
from stretto.llm.checkpoints.recipe import Recipe
from stretto.llm.checkpoints.sdar import SDAR
from stretto.llm.tokenizer import byte_alphabet
from stretto.llm.transformer import Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
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


MARKS = {
    "chatml": ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<mask>"],
    "llama": "<|startoftext|> <|start_header_id|> <|end_header_id|> <|eot_id|> <mask>".split(),
}
HUGGING = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "vocab_size": 264, "block_size": 8, "bd_size": 8,
}  # fmt: skip
ITS_OWN = {
    "d_model": 32, "mlp_hidden_size": 48, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "vocab_size": 264, "max_sequence_length": 3000, "block_size": 8,
}  # fmt: skip


def folder_of(recipe: Recipe, folder: Path) -> Path:
    """A checkpoint of a family in its form on disk: random weights, and a tokenizer of bytes and marks."""
    marks = MARKS["llama" if recipe is LLADA else "chatml"]
    bpe = Tokenizer(models.BPE({character: i for i, character in enumerate(byte_alphabet())}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(marks)
    bpe.save(str(folder / "tokenizer.json"))
    described = {
        **(ITS_OWN if recipe is LLADA else {**HUGGING, "max_position_embeddings": 3000}),
        "architectures": list(recipe.architectures),
        "model_type": recipe.model_type,
        "mask_token_id": bpe.token_to_id("<mask>"),
    }
    (folder / "config.json").write_text(json.dumps(described))
    assert recipe.layout is not None
    shapes = Transformer(recipe.config(described)).state_dict()
    drawn = random_weights({recipe.layout.names.on_disk(n): tuple(t.shape) for n, t in shapes.items()})
    save_file(drawn, folder / "model.safetensors")
    return folder


CHATTING = (LLADA, DREAM, FAST_DLLM, SDAR, NEMOTRON)


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each family, by its name."""
    return {r.family: folder_of(r, tmp_path_factory.mktemp(r.model_type)) for r in CHATTING}


@pytest.fixture
def draw() -> Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]:
    """Random weights of these shapes."""
    return random_weights
