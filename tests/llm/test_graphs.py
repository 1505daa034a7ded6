"""Rows in padded buckets give what they give side by side; on a GPU, captured or not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.graphs import GraphedRows, bucket_of
from stretto.llm.transformer import Config, Row, Transformer

SHAPE = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 48}
WITH_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=WITH_GPU)]
Given = tuple[list[int], list[int], str, list[int]]


def tiny(device: str, **options: bool) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(Config(vocab=20, **{**SHAPE, **options})).eval().requires_grad_(False)  # type: ignore[arg-type]
    if options.get("self_conditioning"):
        torch.nn.init.normal_(model.condition.weight, std=1.0)
    return model.to(device)


ids = st.integers(0, 19)
rows_of = st.lists(
    st.tuples(
        st.lists(ids, min_size=1, max_size=30),
        st.lists(ids, max_size=9),
        st.sampled_from(["read", "write", "both", "branches"]),
        st.lists(ids, min_size=2, max_size=17),
    ),
    min_size=1,
    max_size=5,
)


def made(model: Transformer, given_: Given, run: GraphedRows | None) -> Row:
    """A row behind a cache that was read in the same way."""
    before, tokens, kind, canvas = given_
    cache = model.new_cache(200)
    first = model.row(cache, before)
    (run or model.rows)([first])
    if kind == "read":
        return model.row(cache, tokens or [1])
    if kind == "branches":
        return model.branches(cache, tokens or [1], [canvas[:1], canvas[1:]])
    belief = None
    if model.config.self_conditioning and kind == "write":
        belief = torch.ones(len(canvas), model.config.width, device=model.device)
    new = tokens if kind == "both" else []
    return model.row(cache, new, canvas, len(before) + len(new) // 2, belief)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", [{}, {"shifted": True}, {"self_conditioning": True}])
def test_padded_rows_are_rows(device: str, options: dict[str, bool]) -> None:
    model = tiny(device, **options)
    graphed = GraphedRows(model)

    @settings(max_examples=40, deadline=None)
    @given(rows_of)
    def check(described: list[Given]) -> None:
        plain = [made(model, one, None) for one in described]
        padded = [made(model, one, graphed) for one in described]
        for one, other in zip(model.rows(plain), graphed(padded), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        for one, other in zip(plain, padded, strict=True):
            assert one.cache.ids == other.cache.ids
            length = one.cache.length
            for kind in ("keys", "values"):
                stored = [getattr(row.cache, kind)[:, :, :, :length] for row in (one, other)]
                torch.testing.assert_close(*stored, rtol=1e-4, atol=1e-4)

    check()


def test_buckets_hold_what_they_are_for() -> None:
    assert [bucket_of([n], (1, 2, 4)) for n in (1, 2, 3, 4, 5, 9)] == [1, 2, 4, 4, 8, 12]


@WITH_GPU
def test_a_shape_is_captured_once() -> None:
    model = tiny("cuda")
    graphed = GraphedRows(model)
    for _ in range(3):
        graphed([model.row(model.new_cache(100), [1, 2, 3])])
    (bucket,) = graphed._buckets.values()
    assert bucket.graph is not None
