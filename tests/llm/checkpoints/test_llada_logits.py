"""Tiny random checkpoints of LLaDA and LLaDA2 in their form on disk give the logits of an implementation of
their own, written out here from their published structure, to 1e-4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from stretto.llm.checkpoints.load import Checkpoint, load_checkpoint
from stretto.llm.checkpoints.recipe import attention_mask
from torch import Tensor

Write = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Path]
Draw = Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
N = 11


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    loaded = load_checkpoint(folder, dtype=dtype)
    assert isinstance(loaded, Checkpoint)
    return loaded


def some_tokens(loaded: Checkpoint) -> Tensor:
    tokens = torch.randint(0, loaded.config.vocab, (2, N), generator=torch.Generator().manual_seed(2))
    tokens[:, -4:] = loaded.mask
    return tokens


def ours(loaded: Checkpoint, tokens: Tensor, sees: Tensor | None) -> Tensor:
    return loaded.model.logits(loaded.model(tokens, sees))


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def turned(x: Tensor, theta: float, share: float = 1.0) -> Tensor:
    """RoPE on the first `share` of each head of x (tokens, heads, width), pair by pair."""
    out = x.clone()
    width = int(x.shape[-1] * share)
    for i in range(width // 2):
        angle = torch.arange(x.shape[0]) * theta ** (-2 * i / width)
        a, b = x[..., i], x[..., i + width // 2]
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        out[..., i], out[..., i + width // 2] = a * cos - b * sin, b * cos + a * sin
    return out


def attended(q: Tensor, k: Tensor, v: Tensor, sees: Tensor | None) -> Tensor:
    """Attention over (tokens, heads, width), head by head."""
    heads = []
    for h in range(q.shape[1]):
        shared = h * k.shape[1] // q.shape[1]
        scores = q[:, h] @ k[:, shared].T / q.shape[-1] ** 0.5
        scores = scores if sees is None else scores.masked_fill(~sees, -torch.inf)
        heads.append(scores.softmax(-1) @ v[:, shared])
    return torch.cat(heads, -1)


LLADA_CONFIG = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "activation_type": "silu",
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_type": "llama",
    "d_model": 16,
    "embedding_size": 96,
    "eos_token_id": 81,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "mask_token_id": 90,
    "max_sequence_length": 4096,
    "mlp_hidden_size": 24,
    "n_heads": 4,
    "n_kv_heads": 4,
    "n_layers": 2,
    "pad_token_id": 81,
    "rms_norm_eps": 1e-5,
    "rope": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "vocab_size": 96,
    "weight_tying": False,
}


def llada_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.transformer.wte.weight": (96, 16),
        "model.transformer.ln_f.weight": (16,),
        "model.transformer.ff_out.weight": (96, 16),
    }
    for i in range(2):
        block = f"model.transformer.blocks.{i}."
        shapes |= {f"{block}{p}.weight": (16, 16) for p in ("q_proj", "k_proj", "v_proj", "attn_out")}
        shapes |= {f"{block}{p}.weight": (16,) for p in ("attn_norm", "ff_norm")}
        shapes |= {f"{block}{p}.weight": (24, 16) for p in ("ff_proj", "up_proj")}
        shapes[f"{block}ff_out.weight"] = (16, 24)
    return shapes


def llada(w: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """LLaDA (Nie et al. 2025): a llama whose tokens all see each other."""
    x = w["model.transformer.wte.weight"][tokens]
    for i in range(2):
        block = {n.split(f"blocks.{i}.")[1]: t for n, t in w.items() if f"blocks.{i}." in n}
        h = normed(x, block["attn_norm.weight"], 1e-5)
        q, k, v = ((h @ block[f"{p}_proj.weight"].T).view(len(tokens), 4, 4) for p in "qkv")
        x = x + attended(turned(q, 500000.0), turned(k, 500000.0), v, None) @ block["attn_out.weight"].T
        h = normed(x, block["ff_norm.weight"], 1e-5)
        gated = F.silu(h @ block["ff_proj.weight"].T) * (h @ block["up_proj.weight"].T)
        x = x + gated @ block["ff_out.weight"].T
    return normed(x, w["model.transformer.ln_f.weight"], 1e-5) @ w["model.transformer.ff_out.weight"].T


def test_llada(write: Write, draw: Draw) -> None:
    weights = draw(llada_shapes())
    loaded = load(write(LLADA_CONFIG, weights))
    assert (loaded.recipe.attention, loaded.config.shifted, loaded.mask) == ("full", False, 90)
    assert {81, 126348} <= set(loaded.stops)
    tokens = some_tokens(loaded)
    found = ours(loaded, tokens, attention_mask("full", N, loaded.block, tokens.device))
    for row, logits in zip(tokens, found, strict=True):
        torch.testing.assert_close(logits, llada(weights, row), **CLOSE)


LLADA2_CONFIG = {
    "architectures": ["LLaDA2MoeModelLM"],
    "model_type": "llada2_moe",
    "eos_token_id": 156892,
    "first_k_dense_replace": 1,
    "head_dim": 8,
    "hidden_act": "silu",
    "hidden_size": 16,
    "intermediate_size": 24,
    "max_position_embeddings": 32768,
    "moe_intermediate_size": 12,
    "moe_router_enable_expert_bias": True,
    "n_group": 4,
    "norm_head": False,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts": 12,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "num_shared_experts": 1,
    "pad_token_id": 156892,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 600000,
    "routed_scaling_factor": 2.5,
    "score_function": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 2,
    "use_bias": False,
    "use_qk_norm": True,
    "use_qkv_bias": False,
    "vocab_size": 157184,
}


def llada2_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.word_embeddings.weight": (157184, 16),
        "model.norm.weight": (16,),
        "lm_head.weight": (157184, 16),
    }
    for i in range(3):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}{p}_layernorm.weight": (16,) for p in ("input", "post_attention")}
        shapes |= {f"{layer}attention.{p}_layernorm.weight": (8,) for p in ("query", "key")}
        shapes[f"{layer}attention.query_key_value.weight"] = (8 * (4 + 2 + 2), 16)
        shapes[f"{layer}attention.dense.weight"] = (16, 32)
        parts = [f"experts.{e}." for e in range(12)] + ["shared_experts."] if i else [""]
        for part in parts:
            hidden = 12 if i else 24
            shapes |= {f"{layer}mlp.{part}{p}_proj.weight": (hidden, 16) for p in ("gate", "up")}
            shapes[f"{layer}mlp.{part}down_proj.weight"] = (16, hidden)
        if i:
            shapes |= {f"{layer}mlp.gate.weight": (12, 16), f"{layer}mlp.gate.expert_bias": (12,)}
    return shapes


def mixed(mlp: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """One token x (width,) through the experts that it takes: Ling 2.0's router, expert by expert."""

    def gated(part: str) -> Tensor:
        gate, up, down = (mlp[f"{part}{p}_proj.weight"] for p in ("gate", "up", "down"))
        return down @ (F.silu(gate @ x) * (up @ x))

    scores = (mlp["gate.weight"] @ x).sigmoid().tolist()
    wanted = [s + b for s, b in zip(scores, mlp["gate.expert_bias"].tolist(), strict=True)]
    groups = [range(3 * g, 3 * g + 3) for g in range(4)]
    best = sorted(groups, key=lambda group: -sum(sorted((wanted[e] for e in group), reverse=True)[:2]))[:2]
    taken = sorted((e for group in best for e in group), key=lambda e: -wanted[e])[:3]
    total = sum(scores[e] for e in taken)
    out = gated("shared_experts.")
    for e in taken:
        out = out + 2.5 * scores[e] / total * gated(f"experts.{e}.")
    return out


def llada2(w: Mapping[str, Tensor], tokens: Tensor, sees: Tensor | None) -> Tensor:
    """LLaDA2 (Bie et al. 2025): Ling 2.0 with partial rotary positions, blocks seen whole."""
    x = w["model.word_embeddings.weight"][tokens]
    for i in range(3):
        layer = {n.split(f"layers.{i}.")[1]: t for n, t in w.items() if f"layers.{i}." in n}
        h = normed(x, layer["input_layernorm.weight"], 1e-6)
        fused = (h @ layer["attention.query_key_value.weight"].T).view(len(tokens), 8, 8)
        q = normed(fused[:, :4], layer["attention.query_layernorm.weight"], 1e-6)
        k = normed(fused[:, 4:6], layer["attention.key_layernorm.weight"], 1e-6)
        seen = attended(turned(q, 6e5, 0.5), turned(k, 6e5, 0.5), fused[:, 6:], sees)
        x = x + seen @ layer["attention.dense.weight"].T
        h = normed(x, layer["post_attention_layernorm.weight"], 1e-6)
        mlp = {n.removeprefix("mlp."): t for n, t in layer.items() if n.startswith("mlp.")}
        if i:
            x = x + torch.stack([mixed(mlp, row) for row in h])
        else:
            gated = F.silu(h @ mlp["gate_proj.weight"].T) * (h @ mlp["up_proj.weight"].T)
            x = x + gated @ mlp["down_proj.weight"].T
    return normed(x, w["model.norm.weight"], 1e-6) @ w["lm_head.weight"].T


def test_llada2(write: Write, draw: Draw) -> None:
    weights = draw(llada2_shapes())
    loaded = load(write(LLADA2_CONFIG, weights))
    assert (loaded.recipe.attention, loaded.config.shifted) == ("block-causal", False)
    assert (loaded.mask, loaded.block, loaded.stops) == (156895, 32, (156892,))
    tokens = some_tokens(loaded)
    for block in (4, 32):
        sees = attention_mask("block-causal", N, block, tokens.device)
        found = ours(loaded, tokens, sees)
        for row, logits in zip(tokens, found, strict=True):
            torch.testing.assert_close(logits, llada2(weights, row, sees), **CLOSE)


def test_weights_come_in_the_precision_that_is_asked_for(write: Write, draw: Draw) -> None:
    weights = {name: tensor.bfloat16() for name, tensor in draw(llada2_shapes()).items()}
    for name in weights:
        if name.endswith("expert_bias"):
            weights[name] = weights[name].float()
    loaded = load(write(LLADA2_CONFIG, weights), torch.bfloat16)
    kinds = {name: tensor.dtype for name, tensor in loaded.model.state_dict().items()}
    biases = {name for name, kind in kinds.items() if kind is torch.float32}
    assert biases == {f"layers.{i}.experts.router.bias" for i in (1, 2)}
    assert {kinds[name] for name in kinds.keys() - biases} == {torch.bfloat16}
    assert (
        loaded.model.layers[2].experts.down[5].equal(weights["model.layers.2.mlp.experts.5.down_proj.weight"])
    )
    assert ours(loaded, some_tokens(loaded), None).isfinite().all()


def test_the_block_and_the_ids_of_a_config_go_before_the_recipe(write: Write, draw: Draw) -> None:
    folder = write({**LLADA_CONFIG, "block_size": 8, "mask_token_id": 7}, draw(llada_shapes()))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    loaded = load(folder)
    assert (loaded.block, loaded.mask) == (8, 7)
    other = load_checkpoint(folder, block=16)
    assert isinstance(other, Checkpoint) and other.block == 16
    assert {5, 6, 81} <= set(loaded.stops)
