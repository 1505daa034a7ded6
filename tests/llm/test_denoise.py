"""The sampler: at least one token a pass, done at the end mark, never a mask in what it hands out."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from itertools import pairwise

import jsonschema
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.constraints.tokens import TokenVocabulary
from stretto.llm.denoise import Pass, write_call, write_words
from stretto.llm.samplers import CANVAS_SAMPLERS, EFFORT, Budget, Sampler, Threshold
from stretto.llm.tokenizer import CALL, END, MARKS, MASK, PADS, embedded_tokenizer
from torch import Tensor

VOCAB = 60


def written(steps: Generator[Pass, Tensor, Pass], forward: Callable[[Tensor], Tensor]) -> list[Pass]:
    """The canvas after every pass of a model."""
    seen = [next(steps)]
    while True:
        try:
            seen.append(steps.send(forward(torch.tensor(seen[-1].canvas))))
        except StopIteration as end:
            return [*seen[1:], end.value]


def of(effort: str, name: str = "threshold") -> Sampler:
    return CANVAS_SAMPLERS[name](EFFORT[effort])


def sure(threshold: float, passes: int) -> Sampler:
    return Threshold(threshold, passes, "left")


def scripted(rng: np.random.Generator, sharpness: float):
    table = torch.from_numpy(rng.normal(size=(16, VOCAB)).astype(np.float32)) * sharpness
    return lambda canvas: table[: len(canvas)].clone()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.floats(0.1, 20), st.sampled_from(sorted(EFFORT)),
    st.sampled_from(sorted(CANVAS_SAMPLERS)),
)  # fmt: skip
def test_a_reply_settles_token_by_token_and_never_changes_what_is_settled(
    seed: int, sharp: float, effort: str, name: str
) -> None:
    sampler = of(effort, name)
    steps = written(write_words(16, sampler), scripted(np.random.default_rng(seed), sharp))
    assert 1 <= len(steps) <= sampler.passes
    assert [s.done for s in steps].count(True) == 1 and steps[-1].done
    for before, after in pairwise(steps):
        if name != "remasking":
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
    (only,) = written(write_words(len(target), of("medium")), lambda canvas: logits.clone())
    assert only.canvas[: only.length] == (20, 21, 22, END)


def test_tokens_behind_the_end_cost_no_pass() -> None:
    logits = torch.zeros(8, VOCAB)
    logits[0, 20] = logits[1, END] = 30.0
    steps = written(write_words(8, sure(0.9, 8)), lambda canvas: logits.clone())
    assert len(steps) == 1 and steps[0].canvas[:2] == (20, END)


def test_sure_pads_behind_an_unsure_end_waste_no_pass() -> None:
    logits = torch.full((10, VOCAB), -20.0)
    logits[0, 20] = 20.0
    logits[1, [END, 21]] = torch.tensor([1.0, 0.0])  # about 0.73: below the threshold
    logits[range(2, 10), [PADS[i % len(PADS)] for i in range(8)]] = 20.0
    steps = written(write_words(10, sure(0.9, 12)), lambda canvas: logits.clone())
    assert len(steps) == 2 and steps[-1].canvas[:2] == (20, END)


def test_no_call_mark_where_no_tool_is_offered() -> None:
    logits = torch.zeros(4, VOCAB)
    logits[:, CALL] = 30.0
    last = written(write_words(4, of("low"), call_allowed=False), lambda canvas: logits.clone())[-1]
    assert CALL not in last.canvas


def test_a_deadline_ends_with_a_whole_reply() -> None:
    steps = written(write_words(16, of("high"), late=lambda: True), scripted(np.random.default_rng(1), 0.1))
    assert len(steps) == 1 and steps[0].done


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
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.1, 8), st.sampled_from(sorted(CANVAS_SAMPLERS)))
def test_a_call_is_valid_after_any_number_of_passes(seed: int, passes: int, sharp: float, name: str) -> None:
    tokenizer = embedded_tokenizer()
    vocabulary = TokenVocabulary(tokenizer.token_bytes, END, CALL, PADS)
    table = torch.randn(32, tokenizer.size, generator=torch.Generator().manual_seed(seed)) * sharp
    automaton = vocabulary.compile(SCHEMA)
    sampler = CANVAS_SAMPLERS[name](Budget(0.9, passes, steps=passes, doubt=0.5))
    steps = written(write_call(32, sampler, automaton), lambda canvas: table.clone())
    assert len(steps) <= passes
    last = steps[-1]
    assert last.canvas[last.length - 1] in (END, CALL)
    jsonschema.validate(json.loads(tokenizer.decode(last.canvas[: last.length])), SCHEMA)
