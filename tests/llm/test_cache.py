"""The cache: exact under any edits, forked, and within its bound."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.cache import CachePool, ContextOverflow, KVCache
from stretto.llm.language_model import Busy
from stretto.llm.transformer import Config, Transformer

TINY = Config(vocab=20, layers=2, width=32, heads=4, kv_heads=2, head_width=8, hidden=48)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(TINY).eval().requires_grad_(False)


ids = st.integers(0, 19)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.lists(ids, min_size=1, max_size=6)),
        st.tuples(st.just("crop"), st.floats(0, 1)),
        st.tuples(st.just("write"), st.lists(ids, min_size=1, max_size=5)),
        st.tuples(st.just("fork"), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(edits, st.lists(ids, min_size=1, max_size=6))
def test_after_any_edits_it_is_as_if_only_what_stands_had_been_read(model, script, last) -> None:
    cache, stands = model.new_cache(200, at_once=False), []
    others: list[tuple[KVCache, list[int]]] = []
    for what, given_ in script:
        if what == "read":
            model.read(torch.tensor(given_), cache)
            stands += given_
        elif what == "crop":
            stands = stands[: int(given_ * len(stands))]
            cache.crop(len(stands))
        elif what == "write":
            model.write(torch.tensor(given_), cache)
        else:
            others.append((cache.fork(), list(stands)))
    for kept, told in [(cache, stands), *others]:
        assert kept.ids == told
        fresh = model.new_cache(200)
        if told:
            model.read(torch.tensor(told), fresh)
        torch.testing.assert_close(
            model.read(torch.tensor(last), kept), model.read(torch.tensor(last), fresh), **CLOSE
        )


def test_memory_follows_use_up_to_the_capacity(model) -> None:
    cache = model.new_cache(300, at_once=False)
    assert cache.allocated == 0
    model.read(torch.tensor([1] * 5), cache)
    assert 5 <= cache.allocated < 300
    model.read(torch.tensor([1] * 290), cache)
    with pytest.raises(ContextOverflow, match="do not fit a cache of 300"):
        model.read(torch.tensor([1] * 6), cache)
    assert cache.length == 295 and 295 <= cache.allocated <= 300
    cache.drop()
    assert cache.length == cache.allocated == 0
    with pytest.raises(ValueError, match="cannot crop"):
        cache.crop(1)


def test_what_begins_alike_is_found() -> None:
    cache = KVCache(TINY, 50, torch.device("cpu"), torch.float32)
    cache.ids = [1, 2, 3]
    assert [cache.common(ids) for ids in ([], [1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 9, 3], [9])] == [
        0,
        2,
        3,
        3,
        1,
        0,
    ]


def test_the_dialogue_used_longest_ago_gives_way(model) -> None:
    pool = CachePool(420)
    caches = [model.new_cache(300, at_once=False) for _ in range(4)]
    for cache in caches[:3]:
        pool.reserve(cache, 100)
        cache.ids = [1] * 100
    pool.reserve(caches[0], 50)  # used again
    pool.reserve(caches[3], 120)
    assert caches[1].length == 0 and caches[1].allocated == 0 and pool.evictions == 1
    assert [c.length for c in caches] == [100, 0, 100, 0] and pool.allocated <= 420
    with pytest.raises(Busy, match="try again later"):
        pool.reserve(caches[1], 200, working=caches)
    with pytest.raises(ContextOverflow):
        pool.reserve(caches[1], 301)
    pool.forget(caches[0])
    assert caches[0].allocated == 0 and pool.allocated == caches[2].allocated + caches[3].allocated
