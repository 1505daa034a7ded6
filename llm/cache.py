"""Keys and values of dialogues, token by token: append, roll back, fork; and the room for many of them.

A causal cache is exact: what was read is never read again, and rolled back equals never read. Memory follows
use. Where it ends, the dialogue used longest ago is forgotten; it is read again when it is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import torch
from stretto.llm.language_model import Busy
from torch import Tensor

BLOCK = 128
"""Tokens by which a cache grows at least."""


class Shape(Protocol):
    """What of a model's shape its cache takes."""

    @property
    def layers(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_width(self) -> int: ...


class ContextOverflow(ValueError):
    """More tokens than a cache may hold; the message says how many."""


class KVCache:
    """Keys and values of one dialogue: (layers, 1, kv_heads, allocated, head_width) each.

    `ids`: the tokens that were read; what is stored behind them is scratch. `capacity`: tokens that it may
    ever hold, scratch included. `at_once`: memory for all of them from the beginning, or as they come.
    """

    def __init__(
        self, shape: Shape, capacity: int, device: torch.device, dtype: torch.dtype, at_once: bool = True
    ) -> None:
        self.capacity = capacity
        self.ids: list[int] = []
        size = (shape.layers, 1, shape.kv_heads, capacity if at_once else 0, shape.head_width)
        self.keys = torch.zeros(size, device=device, dtype=dtype)
        self.values = torch.zeros(size, device=device, dtype=dtype)

    @property
    def length(self) -> int:
        """Tokens read."""
        return len(self.ids)

    @property
    def allocated(self) -> int:
        """Tokens that there is memory for."""
        return self.keys.shape[3]

    def crop(self, length: int) -> None:
        """Forget everything after the first `length` tokens; equals never having read it."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop a cache of {self.length} tokens to {length}")
        del self.ids[length:]

    def common(self, ids: Sequence[int]) -> int:
        """How many of its tokens begin `ids`."""
        mine = self.ids
        if mine == ids[: len(mine)]:
            return len(mine)
        return next((i for i, (a, b) in enumerate(zip(mine, ids, strict=False)) if a != b), len(ids))

    def reserve(self, tokens: int) -> None:
        """Have memory for so many. Raises ContextOverflow."""
        if tokens > self.capacity:
            raise ContextOverflow(f"{tokens} tokens do not fit a cache of {self.capacity}")
        if tokens > self.allocated:
            self._resize(self.grown(tokens))

    def grown(self, tokens: int) -> int:
        """How many tokens there is memory for when so many are reserved."""
        if tokens <= self.allocated:
            return self.allocated
        return min(self.capacity, max(tokens, self.allocated * 3 // 2, self.allocated + BLOCK))

    def _resize(self, tokens: int) -> None:
        kept = min(self.length, tokens)
        for name in ("keys", "values"):
            old: Tensor = getattr(self, name)
            new = torch.zeros((*old.shape[:3], tokens, old.shape[4]), device=old.device, dtype=old.dtype)
            new[:, :, :, :kept] = old[:, :, :, :kept]
            setattr(self, name, new)

    def fork(self) -> KVCache:
        """Another one that holds the same, and goes its own way."""
        other = KVCache.__new__(KVCache)
        other.capacity, other.ids = self.capacity, list(self.ids)
        other.keys, other.values = self.keys, self.values
        other._resize(self.length)
        return other

    def drop(self) -> None:
        """Forget all of it, and free the memory."""
        self.ids = []
        self._resize(0)


class CachePool:
    """Room for the caches of many dialogues, in tokens; those that no one works with give way, oldest first.

    Not thread-safe: it belongs to the thread that runs the model.
    """

    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self._caches: OrderedDict[int, KVCache] = OrderedDict()
        self.evictions = 0

    @property
    def allocated(self) -> int:
        """Tokens that there is memory for, in all caches."""
        return sum(cache.allocated for cache in self._caches.values())

    def reserve(self, cache: KVCache, tokens: int, working: Sequence[KVCache] = ()) -> None:
        """Have room for `tokens` in a cache, which is now the one used last.

        `working`: caches that must stay. Raises ContextOverflow, and Busy where nothing can give way.
        """
        self._caches[id(cache)] = cache
        self._caches.move_to_end(id(cache))
        if tokens <= cache.allocated:
            return
        if tokens <= cache.capacity:
            self._make_room(cache.grown(tokens) - cache.allocated, {id(cache), *map(id, working)})
        cache.reserve(tokens)

    def _make_room(self, wanted: int, stay: set[int]) -> None:
        for key, other in list(self._caches.items()):
            if self.allocated + wanted <= self.most_tokens:
                return
            if key not in stay and other.allocated:
                other.drop()
                self.evictions += 1
        if self.allocated + wanted > self.most_tokens:
            raise Busy(
                f"the {self.most_tokens} tokens that all dialogues may have are in use; try again later"
            )

    def forget(self, cache: KVCache) -> None:
        """A dialogue has ended."""
        self._caches.pop(id(cache), None)
        cache.drop()
