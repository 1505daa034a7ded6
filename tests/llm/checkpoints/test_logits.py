"""Tiny random checkpoints that are Qwen2, Qwen3, Llama and Ministral 3 in other clothes, each in its form on
disk, give the logits of `transformers`, to 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from stretto.llm import checkpoint
from stretto.llm.checkpoints.load import Checkpoint, load_checkpoint
from stretto.llm.checkpoints.recipe import AttentionKind, attention_mask
from stretto.llm.checkpoints.recipe import rope as rope_of
from stretto.llm.rope import Rope, rope_table
from stretto.llm.transformer import Config
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

Write = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Path]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
N = 11

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
}
QWEN = {**SHAPE, "hidden_act": "silu", "max_position_embeddings": 32768, "use_sliding_window": False}
YARN = {
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "factor": 16.0,
    "llama_4_scaling_beta": 0.1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 1000000.0,
    "rope_type": "yarn",
}


def scattered(model: PreTrainedModel) -> PreTrainedModel:
    """Weights large enough that every part changes the logits."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * drawn if "norm" in name else 0.3 * drawn)
    return model.eval()


def stored(model: PreTrainedModel) -> dict[str, Tensor]:
    """Its weights under its own names; a tied head once."""
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not (model.config.tie_word_embeddings and name == "lm_head.weight")
    }


def theirs(model: PreTrainedModel, tokens: Tensor, sees: Tensor | None) -> Tensor:
    """Logits of `transformers` with a mask of its own."""
    n = tokens.shape[1]
    mask = torch.zeros(n, n) if sees is None else torch.zeros(n, n).masked_fill(~sees, -torch.inf)
    with torch.no_grad():
        return model(tokens, attention_mask=mask.expand(len(tokens), 1, n, n), use_cache=False).logits


def ours(loaded: Checkpoint, tokens: Tensor, sees: Tensor | None) -> Tensor:
    return loaded.model.logits(loaded.model(tokens, sees))


def some_tokens(loaded: Checkpoint, rows: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, loaded.config.vocab, (rows, N), generator=generator)
    tokens[:, -4:] = loaded.mask
    return tokens


def load(folder: Path) -> Checkpoint:
    loaded = load_checkpoint(folder)
    assert isinstance(loaded, Checkpoint)
    return loaded


def same(loaded: Checkpoint, model: PreTrainedModel) -> None:
    """Logits under the family's own mask, under every other kind of mask, and read with a cache."""
    tokens = some_tokens(loaded)
    kinds: list[AttentionKind] = ["full", "block-causal", "causal+canvas"]
    for kind in kinds:
        sees = attention_mask(kind, N, loaded.block, tokens.device)
        torch.testing.assert_close(ours(loaded, tokens, sees), theirs(model, tokens, sees), **CLOSE)
    read = loaded.model.logits(loaded.model.read(tokens[0], loaded.model.new_cache(N)))
    causal = torch.ones(N, N, dtype=torch.bool).tril()
    torch.testing.assert_close(read, theirs(model, tokens[:1], causal)[0], **CLOSE)


def reference(kind: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    config._attn_implementation = "eager"
    return scattered(kind(config))


def rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


def test_dream(write: Write) -> None:
    config = {
        **QWEN,
        "architectures": ["DreamModel"],
        "model_type": "Dream",
        "eos_token_id": 151643,
        "mask_token_id": 90,
        "pad_token_id": 151643,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "vocab_size": 100,
    }
    model = reference(
        Qwen2ForCausalLM,
        Qwen2Config(**SHAPE, vocab_size=100, rope_parameters=rope(1e6), tie_word_embeddings=False),
    )
    loaded = load(write(config, stored(model)))
    assert (loaded.recipe.attention, loaded.config.shifted, loaded.mask) == ("full", True, 90)
    assert {151643, 151645} <= set(loaded.stops)
    same(loaded, model)


@pytest.mark.parametrize("tied", [True, False])
def test_fast_dllm(write: Write, tied: bool) -> None:
    config = {
        **QWEN,
        "architectures": ["Fast_dLLM_QwenForCausalLM"],
        "model_type": "Fast_dLLM_Qwen",
        "bd_size": 4,
        "eos_token_id": 151645,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": tied,
        "vocab_size": 151936,
    }
    model = reference(
        Qwen2ForCausalLM,
        Qwen2Config(**SHAPE, vocab_size=151936, rope_parameters=rope(1e6), tie_word_embeddings=tied),
    )
    loaded = load(write(config, stored(model)))
    assert (loaded.recipe.attention, loaded.config.shifted) == ("block-causal", True)
    assert (loaded.mask, loaded.block, loaded.stops[0]) == (151665, 4, 151645)
    same(loaded, model)


def test_sdar(write: Write) -> None:
    config = {
        **QWEN,
        "architectures": ["SDARForCausalLM"],
        "model_type": "sdar",
        "attention_bias": False,
        "eos_token_id": 151643,
        "head_dim": 8,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "vocab_size": 151936,
    }
    model = reference(
        Qwen3ForCausalLM,
        Qwen3Config(
            **SHAPE, head_dim=8, vocab_size=151936, rope_parameters=rope(1e6), tie_word_embeddings=False
        ),
    )
    loaded = load(write(config, stored(model)))
    assert (loaded.recipe.attention, loaded.config.shifted) == ("block-causal", False)
    assert (loaded.mask, loaded.block) == (151669, 4)
    same(loaded, model)


def nemotron(write: Write) -> tuple[Checkpoint, PreTrainedModel]:
    config = {
        **SHAPE,
        "architectures": ["NemotronLabsDiffusionModel"],
        "model_type": "nemotron_labs_diffusion",
        "attention_bias": False,
        "block_size": 32,
        "dlm_paradigm": "bidirectional",
        "eos_token_id": 11,
        "head_dim": 8,
        "hidden_act": "silu",
        "mask_token_id": 100,
        "max_position_embeddings": 1024,
        "mlp_bias": False,
        "rope_parameters": YARN,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "vocab_size": 120,
    }
    model = reference(
        Ministral3ForCausalLM,
        Ministral3Config(
            **SHAPE,
            head_dim=8,
            vocab_size=120,
            max_position_embeddings=1024,
            rope_parameters=dict(YARN),
            tie_word_embeddings=False,
            sliding_window=None,
        ),
    )
    weights = {
        name.replace("model.", "encoder.").replace("lm_head.", "diffusion_head."): tensor
        for name, tensor in stored(model).items()
    }
    return load(write(config, weights)), model


def test_nemotron(write: Write) -> None:
    loaded, model = nemotron(write)
    assert (loaded.recipe.attention, loaded.config.shifted) == ("causal+canvas", False)
    assert (loaded.mask, loaded.block, loaded.stops, loaded.context) == (100, 32, (11,), 64)
    same(loaded, model)


def test_a_canvas_of_nemotron_behind_what_was_read(write: Write) -> None:
    loaded, model = nemotron(write)
    tokens = some_tokens(loaded, 1)
    cache = loaded.model.new_cache(N)
    loaded.model.read(tokens[0, :7], cache)
    canvas = loaded.model.logits(loaded.model.write(tokens[0, 7:], cache))
    sees = torch.ones(N, N, dtype=torch.bool).tril()
    sees[7:] = True
    torch.testing.assert_close(canvas, theirs(model, tokens, sees)[0, 7:], **CLOSE)


def test_house(tmp_path: Path) -> None:
    model = reference(
        LlamaForCausalLM,
        LlamaConfig(**SHAPE, vocab_size=60, rope_parameters=rope(1e4), tie_word_embeddings=True),
    )
    weights = {
        name.removeprefix("model.").replace(".mlp.", "."): tensor.bfloat16().float()
        for name, tensor in stored(model).items()
    }
    model.load_state_dict({n: t.bfloat16().float() for n, t in model.state_dict().items()})
    heads = {"heads": 4, "kv_heads": 2, "head_width": 4}
    shape = Config(60, layers=2, width=16, **heads, hidden=24, norm_eps=1e-6, qk_norm=False)
    checkpoint.save(tmp_path, shape, weights)
    loaded = load(tmp_path)
    assert (loaded.recipe.family, loaded.recipe.attention) == ("Stretto", "causal+canvas")
    same(loaded, model)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mscale": 0.7},
        {"mscale": None, "mscale_all_dim": None},
        {"attention_factor": 1.3, "factor": 4.0},
        {"beta_fast": 8.0, "beta_slow": 2.0, "original_max_position_embeddings": 4096},
        {"partial_rotary_factor": 0.5},
    ],
)
def test_yarn(change: dict[str, Any]) -> None:
    described = {k: v for k, v in {**YARN, **change}.items() if v is not None}
    config = Ministral3Config(**SHAPE, head_dim=64, rope_parameters=dict(described))
    rates, gain = ROPE_INIT_FUNCTIONS["yarn"](config, torch.device("cpu"))
    found = rope_of({"rope_parameters": described})
    assert isinstance(found, Rope)
    torch.testing.assert_close(found.rates(64, torch.device("cpu")), rates)
    assert found.gain == pytest.approx(gain)
    cos, sin = rope_table(torch.arange(5), 64, found)
    torch.testing.assert_close(cos[3], (3 * rates).cos().repeat(2) * gain)
    torch.testing.assert_close(sin[3].chunk(2)[1], (3 * rates).sin() * gain)
    torch.testing.assert_close(sin[3].chunk(2)[0], -(3 * rates).sin() * gain)
