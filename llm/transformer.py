"""One decoder-only transformer (llama family) with two modes and one set of weights.

*Reading* is causal, with an exact key/value cache that can be cropped to any length. *Writing* is
bidirectional: a canvas of mask tokens attends to the whole cache and, in both directions, to itself
(the layout of DiffusionGemma and Nemotron-Labs-Diffusion). Training runs both in one pass: every
canvas sees the clean tokens strictly before its first position and nothing of the other canvases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from stretto.llm.cache import KVCache
from stretto.llm.experts import Experts, MixtureOfExperts
from stretto.llm.rope import Rope, rope_table, rotate
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries (b, heads, m, width), keys and values (b, kv_heads, l + m, width) -> like the queries."""
FEW = 128
"""Queries of a pass up to which plain products are faster on a CPU than the fused kernel."""


@dataclass(frozen=True)
class Config:
    """Shape of the model. `kv_heads` < `heads` is grouped-query attention."""

    vocab: int
    layers: int = 8
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 64
    hidden: int = 704
    rope_theta: float | Rope = 10_000.0
    norm_eps: float = 1e-5
    qk_norm: bool = True
    qkv_bias: bool = False
    tied: bool = True
    dropout: float = 0.0
    shifted: bool = False
    """A canvas token is predicted one place before it, as in reading (gentle on a converted model)."""
    self_conditioning: bool = False
    """Open places of a canvas also take in what the pass before believed of them (`Transformer.believed`)."""
    experts: Experts | None = None
    """Behind its first dense layers, the feed-forward parts are mixtures of experts."""


@dataclass
class Row:
    """One dialogue's share of a pass: tokens whose keys go behind those of its cache, in this order.

    `ids` (n,) stand at the places `positions` (n,) of the dialogue; the first `reads` of them are read, that
    is, they stay in the cache. `sees` (n, length + n), bool: which keys each takes in, those of the cache and
    then those of the row; None: all. `belief` (n, width): see `Transformer.believed`.
    """

    cache: KVCache
    ids: list[int]
    positions: list[int]
    reads: int
    sees: Tensor | None = None
    belief: Tensor | None = None


class Attention(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.qkv_proj: nn.Module | None = None
        """All three at once, in packed models."""
        self.q_proj = nn.Linear(c.width, c.heads * c.head_width, bias=c.qkv_bias)
        self.k_proj = nn.Linear(c.width, c.kv_heads * c.head_width, bias=c.qkv_bias)
        self.v_proj = nn.Linear(c.width, c.kv_heads * c.head_width, bias=c.qkv_bias)
        self.o_proj = nn.Linear(c.heads * c.head_width, c.width, bias=False)
        self.q_norm = nn.RMSNorm(c.head_width, c.norm_eps) if c.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(c.head_width, c.norm_eps) if c.qk_norm else nn.Identity()

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x (batch, tokens, width), normed and rotated."""
        b, t, _ = x.shape
        if self.qkv_proj is not None:
            heads = self.qkv_proj(x).view(b, t, -1, self.c.head_width)
            if not self.c.qk_norm and cos.shape[-1] == self.c.head_width:
                turned, v = self._turned(heads, cos, sin), heads[:, :, -self.c.kv_heads :].transpose(1, 2)
                return turned[:, : self.c.heads], turned[:, self.c.heads :], v
            q, k, v = torch.split(heads, [self.c.heads, self.c.kv_heads, self.c.kv_heads], 2)
        else:
            q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q = self.q_norm(q.view(b, t, self.c.heads, -1)).transpose(1, 2)
        k = self.k_norm(k.view(b, t, self.c.kv_heads, -1)).transpose(1, 2)
        v = v.view(b, t, self.c.kv_heads, -1).transpose(1, 2)
        return rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype), v

    def _turned(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries and keys at once (b, heads + kv_heads, tokens, width), as `rotate` does, in fewer steps."""
        x = heads[:, :, : self.c.heads + self.c.kv_heads].transpose(1, 2)
        return torch.addcmul(x * cos, x.roll(self.c.head_width // 2, -1), sin).to(heads.dtype)

    def merge(self, out: Tensor) -> Tensor:
        """Heads side by side again, through the output projection."""
        merged: Tensor = self.o_proj(out.transpose(1, 2).flatten(2))
        return merged

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        groups = self.c.heads // self.c.kv_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)

    def attend_few(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """The same; on a CPU plain products take half the time of the fused kernel for few queries."""
        if q.device.type != "cpu" or q.shape[2] > FEW:
            return self.attend(q, k, v, mask)
        b, heads, n, width = q.shape
        groups = heads // self.c.kv_heads  # the queries that share a key head side by side: one product
        # All of scaling, masking and the product is one step of oneDNN.
        beta = 0.0 if bias is None else 1.0
        bias = q.new_zeros(1, 1, 1) if bias is None else bias
        rows = q.reshape(b * self.c.kv_heads, groups * n, width)
        keys = k.flatten(0, 1).contiguous()  # oneDNN's own copy of a part of a cache is slow
        scores = torch.baddbmm(bias, rows, keys.transpose(-1, -2), alpha=width**-0.5, beta=beta)
        out: Tensor = torch.bmm(scores.softmax(-1), v.flatten(0, 1))
        return out.view(b, heads, n, width)


class Block(nn.Module):
    def __init__(self, c: Config, number: int = 0) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(c.width, c.norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = nn.RMSNorm(c.width, c.norm_eps)
        self.drop = nn.Dropout(c.dropout)
        self.experts: MixtureOfExperts | None = None
        self.gate_up_proj: nn.Module | None = None
        """Both at once, in packed models."""
        if c.experts is not None and number >= c.experts.dense_layers:
            self.experts = MixtureOfExperts(c.width, c.experts)
            return
        self.gate_proj = nn.Linear(c.width, c.hidden, bias=False)
        self.up_proj = nn.Linear(c.width, c.hidden, bias=False)
        self.down_proj = nn.Linear(c.hidden, c.width, bias=False)

    def feed_forward(self, x: Tensor) -> Tensor:
        h = self.post_attention_layernorm(x)
        if self.experts is not None:
            inner = self.experts(h)
        else:
            both = self.gate_up_proj
            gate, up = (self.gate_proj(h), self.up_proj(h)) if both is None else both(h).chunk(2, -1)
            inner = self.down_proj(F.silu(gate) * up)
        out: Tensor = x + self.drop(inner)
        return out


class Transformer(nn.Module):
    """`read` appends to a cache, `write` fills a canvas, `train_pass` does both for a batch."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.width)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.layers))
        self.norm = nn.RMSNorm(config.width, config.norm_eps)
        self.lm_head = nn.Linear(config.width, config.vocab, bias=False)
        if config.tied:
            self.lm_head.weight = self.embed_tokens.weight
        self.apply(self._initialise)
        if config.self_conditioning:
            self.condition = nn.Linear(config.width, config.width, bias=False)
            nn.init.zeros_(self.condition.weight)  # until it has learnt, it changes nothing

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 * 0.6)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, Attention) and module.c.qk_norm:
            # Norms cap the scores; without this gain, picking one token of many is learnt late.
            nn.init.constant_(cast("Tensor", module.q_norm.weight), 1.6)

    @property
    def blocks(self) -> list[Block]:
        """The layers, typed."""
        return cast("list[Block]", list(self.layers))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary for hidden states (…, width)."""
        scores: Tensor = self.lm_head(hidden)
        return scores

    def believed(self, scores: Tensor, likeliest: int = 8) -> Tensor:
        """What a pass holds of its open places: the mean embedding of the likeliest tokens (…, width).

        `scores` (…, vocab). Self-conditioning (Chen et al. 2022, Analog Bits), on tokens instead of bits.
        """
        best = scores.topk(likeliest, -1)
        share = best.values.float().softmax(-1).to(self.embed_tokens.weight.dtype)
        found: Tensor = (share[..., None] * self.embed_tokens(best.indices)).sum(-2)
        return found

    def forward(self, tokens: Tensor, sees: Tensor | None = None) -> Tensor:
        """Hidden states (b, n, width) of tokens (b, n) at the places 0 to n - 1, without a cache.

        `sees`: which token (row) attends to which, bool, (n, n) or (b, n, n); None: each to all.
        """
        x = self.embed_tokens(tokens)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        cos, sin = rope_table(places, self.config.head_width, self.config.rope_theta)
        mask = sees[:, None] if sees is not None and sees.ndim == 3 else sees
        for layer in self.blocks:
            attn = layer.self_attn
            q, k, v = attn.project(layer.input_layernorm(x), cos, sin)
            x = layer.feed_forward(x + attn.merge(attn.attend(q, k, v, mask)))
        normed: Tensor = self.norm(x)
        return normed

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed_tokens.weight.device

    def new_cache(self, capacity: int, at_once: bool = True) -> KVCache:
        """An empty cache beside the weights; see `KVCache`."""
        return KVCache(self.config, capacity, self.device, self.embed_tokens.weight.dtype, at_once)

    def read(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Read tokens (n,) causally into the cache; returns hidden states (n, width)."""
        return self.rows([self.row(cache, tokens.tolist())])[0]

    def write(self, canvas: Tensor, cache: KVCache, belief: Tensor | None = None) -> Tensor:
        """One denoising pass over a canvas (n,) behind the cache; hidden states (n, width).

        `belief`: what the pass before believed of the open places (n, width), zero in the others
        (`self_conditioning`).
        """
        return self.rows([self.row(cache, [], canvas.tolist(), cache.length, belief)])[0]

    def read_and_write(
        self, tokens: Tensor, canvas: Tensor, cache: KVCache, start: int
    ) -> tuple[Tensor, Tensor]:
        """`read` tokens (k,) and `write` a canvas (n,) in one pass; hidden states of both."""
        (hidden,) = self.rows([self.row(cache, tokens.tolist(), canvas.tolist(), start)])
        return hidden[: len(tokens)], hidden[len(tokens) :]

    def row(
        self,
        cache: KVCache,
        tokens: list[int],
        canvas: list[int] | None = None,
        start: int = 0,
        belief: Tensor | None = None,
    ) -> Row:
        """A dialogue's share of a pass: reads tokens, and writes a canvas that stands at the place `start`.

        The canvas sees only what is before that, and itself: it can begin with tokens that are read here,
        too. A shifted model takes in the token before the canvas with it, and predicts from there; that
        token's keys as the canvas has them are not those that are read.
        """
        begin, end = cache.length, cache.length + len(tokens)
        if not canvas:
            return Row(cache, tokens, list(range(begin, end)), len(tokens), self._causal(len(tokens), begin))
        first = start
        if self.config.shifted:
            first = start - 1
            canvas = [tokens[first - begin] if first >= begin else cache.ids[first], *canvas[:-1]]
            if belief is not None:
                belief = torch.cat([torch.zeros_like(belief[:1]), belief[:-1]])
        k, n = len(tokens), len(canvas)
        sees: Tensor | None = None
        if k or first < end:
            sees = torch.zeros(k + n, end + n, dtype=torch.bool, device=self.device)
            sees[:k, :end] = True
            sees[:k, :end].tril_(begin)
            sees[k:, :first] = True
            sees[k:, end:] = True
        if belief is not None and k:
            belief = torch.cat([belief.new_zeros(k, belief.shape[1]), belief])
        positions = [*range(begin, end), *range(first, first + n)]
        return Row(cache, [*tokens, *canvas], positions, k, sees, belief)

    def branches(self, cache: KVCache, tokens: list[int], branches: Sequence[Sequence[int]]) -> Row:
        """A dialogue's share of a pass: reads tokens, and looks behind them along each branch, causally.

        Branches see nothing of each other, and nothing of them stays.
        """
        begin, end = cache.length, cache.length + len(tokens)
        ids, positions = list(tokens), list(range(begin, end))
        for branch in branches:
            ids += branch
            positions += range(end, end + len(branch))
        k = len(tokens)
        sees = torch.zeros(len(ids), begin + len(ids), dtype=torch.bool, device=self.device)
        sees[:, :end] = True
        sees[:k, :end].tril_(begin)
        at = k
        for branch in branches:
            own = slice(at, at + len(branch))
            sees[own, begin + at : begin + own.stop] = True
            sees[own, begin + at : begin + own.stop].tril_()
            at = own.stop
        return Row(cache, ids, positions, k, sees)

    def _causal(self, count: int, length: int) -> Tensor | None:
        """What `count` tokens behind `length` others see when they are read; None: all there is."""
        if count == 1:
            return None
        return torch.ones(count, length + count, dtype=torch.bool, device=self.device).tril(length)

    @torch.inference_mode()
    def rows(self, rows: Sequence[Row]) -> list[Tensor]:
        """One pass for all rows at once; hidden states (n, width) of each. What is read is then kept.

        Matrices meet all tokens side by side, attention each dialogue by itself: no padding, nothing copied.
        """
        for row in rows:
            row.cache.reserve(row.cache.length + len(row.ids))
        x = self.embed_tokens(torch.tensor([i for row in rows for i in row.ids], device=self.device))[None]
        parts = [slice(end - len(row.ids), end) for row, end in zip(rows, _ends(rows), strict=True)]
        for row, part in zip(rows, parts, strict=True):
            if row.belief is not None:
                x[:, part] += self.condition(row.belief)
        positions = torch.tensor([place for row in rows for place in row.positions], device=self.device)
        cos, sin = rope_table(positions, self.config.head_width, self.config.rope_theta)
        biases = [self._bias(row, x.dtype) for row in rows]
        for i, layer in enumerate(self.blocks):
            attn = layer.self_attn
            q, k, v = attn.project(layer.input_layernorm(x), cos, sin)
            heads = []
            for row, part, bias in zip(rows, parts, biases, strict=True):
                begin, end = row.cache.length, row.cache.length + len(row.ids)
                keys, values = row.cache.keys[i], row.cache.values[i]
                keys[:, :, begin:end] = k[:, :, part]
                values[:, :, begin:end] = v[:, :, part]
                mine = q[:, :, part], keys[:, :, :end], values[:, :, :end]
                heads.append(attn.attend_few(*mine, row.sees, bias))
            x = layer.feed_forward(x + attn.merge(heads[0] if len(heads) == 1 else torch.cat(heads, 2)))
        for row in rows:
            row.cache.ids += row.ids[: row.reads]
        hidden: Tensor = self.norm(x)[0]
        return [hidden[part] for part in parts]

    def _bias(self, row: Row, dtype: torch.dtype) -> Tensor | None:
        """What a row sees, as it is added to the scores of all query heads that share a key head."""
        if row.sees is None or len(row.ids) > FEW:
            return None
        shut = torch.zeros(row.sees.shape, dtype=dtype, device=self.device).masked_fill_(
            ~row.sees, -torch.inf
        )
        return shut.repeat(self.config.heads // self.config.kv_heads, 1)

    def train_pass(
        self,
        clean: Tensor,
        canvas: Tensor,
        positions: Tensor,
        sees: Tensor | Attend,
        belief: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read `clean` (b, l) and write `canvas` (b, m) at once; hidden states of both.

        `positions` (b, m): each canvas token's place in the dialogue. `sees` (b, m, l + m), bool: the
        clean tokens before the canvas, and the canvas itself; or an attention that keeps to it. `belief`
        (b, m, width): what a pass before this one believed of the canvas, place by place.
        """
        length = clean.shape[1]
        x = self.embed_tokens(torch.cat([clean, canvas], 1))
        if belief is not None:
            x = torch.cat([x[:, :length], x[:, length:] + self.condition(belief)], 1)
        places = torch.arange(length, device=clean.device).expand(clean.shape[0], -1)
        cos, sin = rope_table(
            torch.cat([places, positions], 1)[:, None], self.config.head_width, self.config.rope_theta
        )
        for layer in self.blocks:
            x = self._train_block(layer, x, cos, sin, sees, length)
        x = self.norm(x)
        return x[:, :length], x[:, length:]

    @staticmethod
    def _train_block(
        layer: Block, x: Tensor, cos: Tensor, sin: Tensor, sees: Tensor | Attend, length: int
    ) -> Tensor:
        attn = layer.self_attn
        q, k, v = attn.project(layer.input_layernorm(x), cos, sin)
        reading = attn.attend(q[:, :, :length], k[:, :, :length], v[:, :, :length], causal=True)
        if isinstance(sees, Tensor):
            writing = attn.attend(q[:, :, length:], k, v, sees[:, None])
        else:
            writing = sees(q[:, :, length:], k, v)
        x = x + layer.drop(attn.merge(torch.cat([reading, writing], 2)))
        return layer.feed_forward(x)


def _ends(rows: Sequence[Row]) -> list[int]:
    """Where each row ends among all tokens of a pass."""
    return list(accumulate(len(row.ids) for row in rows))
