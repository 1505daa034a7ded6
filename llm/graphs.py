"""Passes on a GPU: rows side by side in buckets of fixed shapes, each captured once as a CUDA graph.

A pass of a small model is mostly the launching of its kernels. In a graph they are launched at once, but its
shapes and addresses are fixed: rows are padded to a bucket of (rows, tokens, keys) and their caches copied
next to each other. (On a CPU, where that would only cost, `Transformer.rows` takes each as it is.)
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from stretto.llm.rope import rope_table
from stretto.llm.transformer import Row, Transformer
from torch import Tensor

log = logging.getLogger(__name__)

ROWS = (1, 2, 4, 8, 16, 32, 64)
TOKENS = (1, 8, 16, 32, 64, 128, 256)
KEYS = 512
"""Keys are padded to a multiple of this."""
MOST_GRAPHS = 32
"""Captured at a time; the one used longest ago gives way."""


@dataclass
class Bucket:
    """The fixed places of a shape: what goes in, and what comes out once it was run.

    `ids`, `positions` (b, n); `sees` (b, 1, n, keys + n); `belief` (b, n, width); `keys`, `values` of the
    caches (layers, b, kv_heads, keys, head_width). Out: `hidden` (b, n, width); `fresh` (2, layers, b,
    kv_heads, n, head_width), the keys and values of the tokens themselves.
    """

    ids: Tensor
    positions: Tensor
    sees: Tensor
    belief: Tensor
    keys: Tensor
    values: Tensor
    hidden: Tensor | None = None
    fresh: Tensor | None = None
    graph: torch.cuda.CUDAGraph | None = None


def bucket_of(sizes: Sequence[int], among: Sequence[int]) -> int:
    """The smallest of some sizes that holds all of others; a multiple of the largest where none does."""
    most = max(sizes)
    largest = among[-1]
    return next((size for size in among if size >= most), -(-most // largest) * largest)


class GraphedRows:
    """Does what `Transformer.rows` does, by buckets; `captured`: as CUDA graphs."""

    def __init__(self, model: Transformer, captured: bool = True) -> None:
        self.model, self.captured = model, captured
        self._buckets: OrderedDict[tuple[int, int, int], Bucket] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Row]) -> list[Tensor]:
        """One pass for all rows; hidden states (n, width) of each. What is read is then in the caches."""
        bucket = self._bucket(rows)
        for place, row in enumerate(rows):
            _put(bucket, place, row)
        self._stack(bucket, rows)
        if bucket.graph is not None:
            bucket.graph.replay()
        else:
            self._run(bucket)
            if self.captured and self.model.device.type == "cuda":
                self._capture(bucket)
        assert bucket.hidden is not None and bucket.fresh is not None
        found = []
        for place, row in enumerate(rows):
            cache, count = row.cache, row.reads
            cache.reserve(cache.length + count)
            read = slice(cache.length, cache.length + count)
            cache.keys[:, 0, :, read] = bucket.fresh[0, :, place, :, :count]
            cache.values[:, 0, :, read] = bucket.fresh[1, :, place, :, :count]
            cache.ids += row.ids[:count]
            found.append(bucket.hidden[place, : len(row.ids)].clone())
        return found

    def _bucket(self, rows: Sequence[Row]) -> Bucket:
        lengths = [row.cache.length for row in rows]
        shape = (
            bucket_of([len(rows)], ROWS),
            bucket_of([len(row.ids) for row in rows], TOKENS),
            max(-(-max(lengths) // KEYS), 1) * KEYS,
        )
        if shape not in self._buckets:
            self._buckets[shape] = self._made(*shape)
            while len(self._buckets) > MOST_GRAPHS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(shape)
        return self._buckets[shape]

    def _made(self, b: int, n: int, keys: int) -> Bucket:
        c, device = self.model.config, self.model.device
        dtype = self.model.embed_tokens.weight.dtype
        stored = (c.layers, b, c.kv_heads, keys, c.head_width)
        return Bucket(
            torch.zeros(b, n, dtype=torch.long, device=device),
            torch.zeros(b, n, dtype=torch.long, device=device),
            torch.zeros(b, 1, n, keys + n, dtype=torch.bool, device=device),
            torch.zeros(b, n, c.width, dtype=dtype, device=device),
            torch.zeros(stored, dtype=dtype, device=device),
            torch.zeros(stored, dtype=dtype, device=device),
        )

    @staticmethod
    def _stack(bucket: Bucket, rows: Sequence[Row]) -> None:
        """The rows' caches next to each other; what is behind their lengths is masked."""
        for place, row in enumerate(rows):
            length = row.cache.length
            bucket.keys[:, place, :, :length] = row.cache.keys[:, 0, :, :length]
            bucket.values[:, place, :, :length] = row.cache.values[:, 0, :, :length]

    def _run(self, bucket: Bucket) -> None:
        """The pass itself: nothing in it depends on what the rows hold."""
        model, fresh = self.model, []
        x = model.embed_tokens(bucket.ids)
        if model.config.self_conditioning:
            x = x + model.condition(bucket.belief)
        cos, sin = rope_table(bucket.positions[:, None], model.config.head_width, model.config.rope_theta)
        for i, layer in enumerate(model.blocks):
            attn = layer.self_attn
            q, k, v = attn.project(layer.input_layernorm(x), cos, sin)
            keys, values = torch.cat([bucket.keys[i], k], 2), torch.cat([bucket.values[i], v], 2)
            fresh.append(torch.stack([k, v]))
            x = layer.feed_forward(x + attn.merge(attn.attend(q, keys, values, bucket.sees)))
        bucket.hidden, bucket.fresh = model.norm(x), torch.stack(fresh, 1)

    def _capture(self, bucket: Bucket) -> None:
        """Record the pass; where that fails it is run as it is, and that is said."""
        try:
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._run(bucket)
            graph.replay()
            bucket.graph = graph
        except RuntimeError as error:
            self.captured = False
            log.warning("no CUDA graphs, passes are run one kernel at a time: %s", error)
            self._run(bucket)


def _put(bucket: Bucket, place: int, row: Row) -> None:
    """A row at its place of a bucket. Padding sees itself alone: no softmax is over nothing."""
    device = bucket.ids.device
    n, length = len(row.ids), row.cache.length
    keys = bucket.keys.shape[3]
    bucket.ids[place, :n] = torch.tensor(row.ids, device=device)
    bucket.positions[place, :n] = torch.tensor(row.positions, device=device)
    sees = bucket.sees[place, 0]
    sees.zero_()
    sees[:, keys:].fill_diagonal_(True)
    if row.sees is None:
        sees[:n, :length] = True
        sees[:n, keys : keys + n] = True
    else:
        sees[:n, :length] = row.sees[:, :length]
        sees[:n, keys : keys + n] = row.sees[:, length:]
    bucket.belief[place].zero_()
    if row.belief is not None:
        bucket.belief[place, :n] = row.belief
