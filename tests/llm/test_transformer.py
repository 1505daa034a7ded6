"""Reading with a cache equals reading without; writing in training equals writing in use."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.transformer import Config, Transformer

TINY = Config(vocab=50, layers=2, width=32, heads=4, kv_heads=2, head_width=8, hidden=48)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(TINY).eval().requires_grad_(False)


def whole(model: Transformer, ids: list[int]) -> torch.Tensor:
    return model.read(torch.tensor(ids), model.new_cache(64))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 49), min_size=2, max_size=20), st.data())
def test_reading_in_pieces_equals_reading_at_once(ids: list[int], data: st.DataObject) -> None:
    torch.manual_seed(0)
    model = Transformer(TINY).eval()
    cut = data.draw(st.integers(1, len(ids) - 1))
    cache = model.new_cache(64)
    parts = [model.read(torch.tensor(ids[:cut]), cache), model.read(torch.tensor(ids[cut:]), cache)]
    torch.testing.assert_close(torch.cat(parts), whole(model, ids), **CLOSE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 49), min_size=3, max_size=20), st.data())
def test_cropping_equals_never_having_read(ids: list[int], data: st.DataObject) -> None:
    torch.manual_seed(0)
    model = Transformer(TINY).eval()
    cut = data.draw(st.integers(1, len(ids) - 1))
    wrong = data.draw(st.lists(st.integers(0, 49), min_size=1, max_size=12))
    cache = model.new_cache(64)
    model.read(torch.tensor(ids[:cut]), cache)
    model.write(torch.tensor([1] * 8), cache)
    model.read(torch.tensor(wrong), cache)
    cache.crop(cut)
    torch.testing.assert_close(model.read(torch.tensor(ids[cut:]), cache), whole(model, ids)[cut:], **CLOSE)


def test_writing_leaves_the_cache_as_it_was(model: Transformer) -> None:
    cache = model.new_cache(64)
    model.read(torch.tensor([3, 4, 5]), cache)
    once = model.write(torch.tensor([6] * 8), cache)
    assert cache.length == 3
    torch.testing.assert_close(model.write(torch.tensor([6] * 8), cache), once)


def test_a_canvas_looks_both_ways_and_the_clean_stream_does_not(model: Transformer) -> None:
    cache = model.new_cache(64)
    model.read(torch.tensor([3, 4, 5]), cache)
    a = model.write(torch.tensor([6, 7, 8]), cache)
    b = model.write(torch.tensor([6, 7, 9]), cache)
    assert not torch.allclose(a[0], b[0])
    torch.testing.assert_close(whole(model, [3, 4, 5])[:2], whole(model, [3, 4, 9])[:2])


def test_a_training_pass_reads_and_writes_as_in_use(model: Transformer) -> None:
    clean, canvas = [3, 4, 5, 6, 7], [9, 9, 8]
    at = 2
    sees = torch.zeros(1, 3, 8, dtype=torch.bool)
    sees[0, :, :at] = True
    sees[0, :, 5:] = True
    positions = torch.arange(at, at + 3)[None]
    reading, writing = model.train_pass(torch.tensor([clean]), torch.tensor([canvas]), positions, sees)
    torch.testing.assert_close(reading[0], whole(model, clean), **CLOSE)
    cache = model.new_cache(64)
    model.read(torch.tensor(clean[:at]), cache)
    torch.testing.assert_close(writing[0], model.write(torch.tensor(canvas), cache), **CLOSE)


def test_a_shifted_model_predicts_a_canvas_from_the_token_before_it() -> None:
    torch.manual_seed(0)
    model = Transformer(replace(TINY, shifted=True)).eval().requires_grad_(False)
    clean, canvas = [3, 4, 5, 6, 7], [9, 9, 8]
    at = 2
    sees = torch.zeros(1, 3, 8, dtype=torch.bool)
    sees[0, :, : at - 1] = True
    sees[0, :, 5:] = True
    positions = torch.arange(at - 1, at + 2)[None]
    given = [clean[at - 1], *canvas[:-1]]
    _, writing = model.train_pass(torch.tensor([clean]), torch.tensor([given]), positions, sees)
    for capacity in (64, at + len(canvas)):  # with room behind the canvas, and without
        cache = model.new_cache(capacity)
        model.read(torch.tensor(clean[:at]), cache)
        torch.testing.assert_close(writing[0], model.write(torch.tensor(canvas), cache), **CLOSE)
    cache = model.new_cache(64)
    model.read(torch.tensor(clean[:at]), cache)
    model.write(torch.tensor(canvas), cache)
    after = model.read(torch.tensor(clean[at:]), cache)
    torch.testing.assert_close(after, whole(model, clean)[at:], **CLOSE)


def test_what_is_believed_of_a_place_is_taken_in_where_it_stands() -> None:
    torch.manual_seed(0)
    model = Transformer(replace(TINY, shifted=True, self_conditioning=True)).eval().requires_grad_(False)
    model.condition.weight.normal_()
    clean, canvas, at = [3, 4, 5, 6, 7], [9, 9, 8], 2
    belief = torch.randn(3, TINY.width)
    sees = torch.zeros(1, 3, 8, dtype=torch.bool)
    sees[0, :, : at - 1] = True
    sees[0, :, 5:] = True
    positions = torch.arange(at - 1, at + 2)[None]
    given = torch.tensor([[clean[at - 1], *canvas[:-1]]])
    moved = torch.cat([torch.zeros_like(belief[:1]), belief[:-1]])[None]  # read a place behind
    _, writing = model.train_pass(torch.tensor([clean]), given, positions, sees, moved)
    cache = model.new_cache(64)
    model.read(torch.tensor(clean[:at]), cache)
    torch.testing.assert_close(writing[0], model.write(torch.tensor(canvas), cache, belief), **CLOSE)
    assert not torch.allclose(writing[0], model.write(torch.tensor(canvas), cache), atol=1e-2)
    sure = torch.full((1, TINY.vocab), -50.0)
    sure[0, 7] = 50.0
    torch.testing.assert_close(model.believed(sure)[0], model.embed_tokens.weight[7], **CLOSE)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_reading_and_writing_at_once_equals_one_after_the_other(shifted: bool, known: int) -> None:
    torch.manual_seed(0)
    model = Transformer(replace(TINY, shifted=shifted)).eval().requires_grad_(False)
    before, tokens, masks = [3, 4, 5, 6], [7, 8, 9], [1] * 5
    start = len(before) + len(tokens) - known
    canvas = torch.tensor([*tokens[len(tokens) - known :][:1], *masks])
    cache = model.new_cache(64)
    model.read(torch.tensor(before), cache)
    reading, writing = model.read_and_write(torch.tensor(tokens), canvas, cache, start)
    torch.testing.assert_close(reading, whole(model, [*before, *tokens])[len(before) :], **CLOSE)
    other = model.new_cache(64)
    model.read(torch.tensor([*before, *tokens][:start]), other)
    torch.testing.assert_close(writing, model.write(canvas, other), **CLOSE)
    assert cache.length == len(before) + len(tokens)
    after = model.read(torch.tensor([2, 3]), cache)
    torch.testing.assert_close(after, whole(model, [*before, *tokens, 2, 3])[-2:], **CLOSE)
    with pytest.raises(ValueError, match="do not fit a cache of 64"):
        model.read_and_write(torch.tensor([1] * 60), canvas, cache, start)


def test_an_overfull_cache_says_so(model: Transformer) -> None:
    with pytest.raises(ValueError, match="do not fit a cache of 4"):
        model.read(torch.tensor([1] * 5), model.new_cache(4))
    with pytest.raises(ValueError, match="cannot crop"):
        model.new_cache(4).crop(1)
