"""One pass over a few tokens against its floor: the bare matrix products of the same shapes and weights,
packed as those of the pass are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from stretto.llm.bench.measure import Setup, Skipped, medians, rounded
from stretto.llm.cache import KVCache
from stretto.llm.tokenizer import MASK
from stretto.llm.transformer import Transformer
from torch import nn

NAME = "forward"
BEHIND = 400
"""Tokens that were read before."""
SIZES = (1, 16, 32, 64)
ROUNDS = 5
"""Passes a run: one takes milliseconds."""


@dataclass(frozen=True)
class ForwardRow:
    """A pass over `tokens` behind `behind` others, every one of them scored. One token is read, more are a
    canvas."""

    name: str
    tokens: int
    behind: int
    forward_ms: float
    floor_ms: float
    ratio: float


def read_cache(model: Transformer, length: int = BEHIND) -> KVCache:
    """A cache that holds so many tokens, with room for a canvas."""
    cache = model.new_cache(length + max(SIZES))
    model.read(torch.arange(length) % model.config.vocab, cache)
    return cache


def forward(model: Transformer, cache: KVCache, tokens: int) -> Callable[[], object]:
    """One pass and its scores; the cache is as before."""
    begin = cache.length

    @torch.inference_mode()
    def run() -> object:
        row = model.row(cache, [1]) if tokens == 1 else model.row(cache, [], [MASK] * tokens, begin)
        (hidden,) = model.rows([row])
        cache.crop(begin)
        return model.logits(hidden)

    return run


def matmul_floor(model: Transformer, tokens: int, behind: int = BEHIND) -> Callable[[], object]:
    """The products alone: projections by the model's own matrices, queries by keys, weights by values, head.

    Raises ValueError for a mixture of experts, whose products depend on its tokens.
    """
    c, products = model.config, list[tuple[nn.Module, int]]()
    for block in model.blocks:
        if block.experts is not None:
            raise ValueError("the model is a mixture of experts: what it multiplies depends on its tokens")
        attn = block.self_attn
        qkv, gate_up = attn.qkv_proj, block.gate_up_proj
        first = [attn.q_proj, attn.k_proj, attn.v_proj] if qkv is None else [qkv]
        second = [block.gate_proj, block.up_proj] if gate_up is None else [gate_up]
        products += [(part, c.width) for part in (*first, *second)]
        products += [(attn.o_proj, c.heads * c.head_width), (block.down_proj, c.hidden)]
    products.append((model.lm_head, c.width))
    like = model.embed_tokens.weight
    inputs = {
        size: torch.randn(tokens, size, device=like.device, dtype=like.dtype)
        for size in {size for _, size in products}
    }
    groups, length = c.heads // c.kv_heads, behind + tokens

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(1, c.kv_heads, *shape, device=like.device, dtype=like.dtype)

    queries, shares = drawn(groups * tokens, c.head_width), drawn(groups * tokens, length)
    keys = [drawn(length, c.head_width) for _ in range(c.layers)]  # each from memory, as in a pass
    values = [drawn(length, c.head_width) for _ in range(c.layers)]

    @torch.inference_mode()
    def run() -> object:
        for product, size in products:
            product(inputs[size])
        for key, value in zip(keys, values, strict=True):
            queries @ key.transpose(-1, -2)
            shares @ value
        return None

    return run


def compare(setup: Setup) -> list[ForwardRow | Skipped]:
    """A row for each size of a pass."""
    rows: list[ForwardRow | Skipped] = []
    cache = read_cache(setup.model)
    for tokens in SIZES:
        setup.say(f"forward: {tokens} tokens")
        try:
            ways = {
                "forward": forward(setup.model, cache, tokens),
                "floor": matmul_floor(setup.model, tokens),
            }
        except ValueError as error:
            return [Skipped(NAME, str(error))]
        ms = medians(ways, setup.runs * ROUNDS, setup.device)
        ratio = rounded(ms["forward"] / ms["floor"])
        rows.append(
            ForwardRow(NAME, tokens, cache.length, rounded(ms["forward"]), rounded(ms["floor"]), ratio)
        )
    return rows
