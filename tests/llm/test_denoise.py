"""The sampler: at least one token a pass, done at the end mark, never a mask in what it hands out."""

from __future__ import annotations

import json
from itertools import pairwise

import jsonschema
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.constraints.tokens import TokenVocabulary
from stretto.llm.denoise import EFFORT, Budget, choose, write_call, write_words
from stretto.llm.tokenizer import CALL, END, MARKS, MASK, PADS, embedded_tokenizer

VOCAB = 60


def scripted(rng: np.random.Generator, sharpness: float):
    table = torch.from_numpy(rng.normal(size=(16, VOCAB)).astype(np.float32)) * sharpness
    return lambda canvas: table[: len(canvas)].clone()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 20), st.sampled_from(sorted(EFFORT)))
def test_a_reply_settles_token_by_token_and_never_changes_what_is_settled(
    seed: int, sharp: float, effort: str
) -> None:
    steps = list(write_words(scripted(np.random.default_rng(seed), sharp), 16, EFFORT[effort]))
    assert 1 <= len(steps) <= EFFORT[effort].passes
    assert [s.done for s in steps].count(True) == 1 and steps[-1].done
    for before, after in pairwise(steps):
        assert sum(t == MASK for t in after.canvas) < sum(t == MASK for t in before.canvas)
        assert after.canvas[: before.settled] == before.canvas[: before.settled]
    last = steps[-1]
    words = last.canvas[: last.length]
    assert MASK not in words
    assert not set(words[:-1]) & {*range(len(MARKS))}, "a mark may only end a reply"
    assert last.length == 16 or words[-1] in (END, CALL)


def test_a_sure_model_needs_one_pass() -> None:
    target = [20, 21, 22, END, *PADS]
    logits = torch.full((len(target), VOCAB), -20.0)
    logits[range(len(target)), target] = 20.0
    (only,) = write_words(lambda canvas: logits.clone(), len(target), EFFORT["medium"])
    assert only.canvas[: only.length] == (20, 21, 22, END)


def test_tokens_behind_the_end_cost_no_pass() -> None:
    logits = torch.zeros(8, VOCAB)
    logits[0, 20] = logits[1, END] = 30.0
    steps = list(write_words(lambda canvas: logits.clone(), 8, Budget(0.9, 8)))
    assert len(steps) == 1 and steps[0].canvas[:2] == (20, END)


def test_sure_pads_behind_an_unsure_end_waste_no_pass() -> None:
    logits = torch.full((10, VOCAB), -20.0)
    logits[0, 20] = 20.0
    logits[1, [END, 21]] = torch.tensor([1.0, 0.0])  # about 0.73: below the threshold
    logits[range(2, 10), [PADS[i % len(PADS)] for i in range(8)]] = 20.0
    steps = list(write_words(lambda canvas: logits.clone(), 10, Budget(0.9, 12)))
    assert len(steps) == 2 and steps[-1].canvas[:2] == (20, END)


def test_no_call_mark_where_no_tool_is_offered() -> None:
    logits = torch.zeros(4, VOCAB)
    logits[:, CALL] = 30.0
    last = list(write_words(lambda canvas: logits.clone(), 4, EFFORT["low"], call_allowed=False))[-1]
    assert CALL not in last.canvas


def test_a_deadline_ends_with_a_whole_reply() -> None:
    steps = list(write_words(scripted(np.random.default_rng(1), 0.1), 16, EFFORT["high"], late=lambda: True))
    assert len(steps) == 1 and steps[0].done


@given(st.lists(st.floats(0.0, 1, width=32), min_size=1, max_size=8), st.data())
def test_choose_takes_the_first_open_place_and_the_sure_ones_behind_it(
    confidence: list[float], data: st.DataObject
) -> None:
    c, threshold = np.array(confidence, dtype=np.float32), data.draw(st.floats(0, 1, width=32))
    open_ = np.array(data.draw(st.lists(st.booleans(), min_size=len(c), max_size=len(c))))
    taken = choose(np.arange(len(c)), c, open_, threshold)
    places = np.flatnonzero(open_)
    count = int(taken.sum())
    assert count >= min(1, len(places)) and (np.flatnonzero(taken) == places[:count]).all()
    assert (c[places[1:count]] >= threshold).all()
    assert count == len(places) or count == 0 or c[places[count]] < threshold or c[places[0]] < threshold


def test_a_token_twice_in_a_row_waits_for_the_next_pass() -> None:
    open_, sure = np.array([False, True, True, True]), np.ones(4, dtype=np.float32)
    assert choose(np.array([7, 7, 7, 8]), sure, open_, 0.9).tolist() == [False, True, False, False]
    assert choose(np.array([7, 6, 7, 8]), sure, open_, 0.9).tolist() == [False, True, True, True]
    assert choose(np.array([7, 7, 7, 8]), sure, open_, 0.0).all(where=open_), "out of passes: all at once"


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "people": {"type": "integer"},
        "area": {"type": "string", "enum": ["north", "south"]},
    },
    "required": ["name", "people"],
}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.1, 8))
def test_a_call_is_valid_after_any_number_of_passes(seed: int, passes: int, sharp: float) -> None:
    tokenizer = embedded_tokenizer()
    vocabulary = TokenVocabulary(tokenizer.token_bytes, END, CALL, PADS)
    table = torch.randn(32, tokenizer.size, generator=torch.Generator().manual_seed(seed)) * sharp
    automaton = vocabulary.compile(SCHEMA)
    steps = list(write_call(lambda canvas: table.clone(), 32, Budget(0.9, passes), automaton))
    assert len(steps) <= passes
    last = steps[-1]
    assert last.canvas[last.length - 1] in (END, CALL)
    jsonschema.validate(json.loads(tokenizer.decode(last.canvas[: last.length])), SCHEMA)
