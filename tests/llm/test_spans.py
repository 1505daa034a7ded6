"""Words of the conversation are preferred in free strings, however the tokenizer splits them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stretto.llm.constraints.tokens import TokenVocabulary
from stretto.llm.denoise import write_call
from stretto.llm.samplers import CANVAS_SAMPLERS, EFFORT
from stretto.llm.spans import PENALTY, Pieces, SpanPrior, open_string
from stretto.llm.tokenizer import CALL, END, PADS, embedded_tokenizer

TOKENIZER = embedded_tokenizer()
TALK = ["From Elm Avenue to Maple Library, please.", "At 7.30 pm, is that right?", "Yes, for O'Brien."]
PRIOR = SpanPrior(Pieces(TOKENIZER.token_bytes), TALK)
FREE = {"to": {"type": "string"}}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('{"to":"', ""),
        ('{"to":" Maple L', " Maple L"),
        ('{"a":1,"to":" M', " M"),
        ('{"to":" say \\"hi', ' say \\"hi'),
        ('{"to":" Maple"', None),
        ('{"to":', None),
        ('{"', None),
        ('{"kind":"', None),
        ('{"day":"', None),
        ('{"unknown":"', None),
    ],
)
def test_a_free_string_that_is_open_is_found(written: str, value: str | None) -> None:
    properties = {
        **FREE,
        "kind": {"type": "string", "enum": ["a"]},
        "day": {"type": "string", "format": "date"},
    }
    assert open_string(written, properties) == value


def allowed(written: str) -> set[str]:
    prior = PRIOR.of(written, FREE)
    assert prior is not None and set(np.unique(prior)) <= {-PENALTY, 0.0}
    return {TOKENIZER.show(int(i)) for i in np.flatnonzero(prior == 0)}


@given(st.sampled_from(TALK), st.data())
def test_every_stretch_of_words_can_be_written_without_penalty(text: str, data: st.DataObject) -> None:
    words = text.rstrip(".?").split()
    first = data.draw(st.integers(0, len(words) - 1))
    span = " ".join(words[first : data.draw(st.integers(first + 1, len(words)))]).rstrip(",")
    span = data.draw(st.sampled_from([span, span.lower(), span.upper()]))
    written = '{"to":"'
    for token in TOKENIZER.encode(f" {span}"):
        assert TOKENIZER.show(token) in allowed(written)
        written += TOKENIZER.show(token)
    assert '"' in allowed(written)


def test_what_was_never_said_costs() -> None:
    assert " ice" not in allowed('{"to":"')
    assert '"' not in allowed('{"to":" Map') and '"' not in allowed('{"to":" ')
    assert not {"ple", "aple"} & allowed('{"to":" Elm')
    assert PRIOR.of('{"to":" Zanzi', FREE) is None, "a value that has left the conversation goes on freely"


def test_a_doubtful_model_writes_words_of_the_conversation() -> None:
    schema = {"type": "object", "properties": FREE, "required": ["to"]}
    vocabulary = TokenVocabulary(TOKENIZER.token_bytes, END, CALL, PADS)
    automaton = vocabulary.compile(schema)

    def begins_with_what_was_said(seed: int, **options: Any) -> bool:
        noise = np.random.default_rng(seed).normal(size=(32, TOKENIZER.size)).astype(np.float32)
        steps = write_call(32, CANVAS_SAMPLERS["threshold"](EFFORT["high"]), automaton, **options)
        next(steps)
        try:
            while True:
                steps.send(torch.from_numpy(noise.copy()))
        except StopIteration as end:
            last = end.value
        text = TOKENIZER.decode([t for t in last.canvas[: last.length] if t != END])
        return str(json.loads(text)["to"]).strip().lower()[:8] in " ".join(TALK).lower()

    def prior(written: NDArray[np.int64]) -> NDArray[np.float32] | None:
        return PRIOR.of(TOKENIZER.decode(written.tolist()), FREE)

    # A few tokens open the string and hold a character more: what those write is no stretch of words.
    assert sum(begins_with_what_was_said(seed, prior=prior) for seed in range(12)) >= 10
    assert sum(begins_with_what_was_said(seed) for seed in range(12)) <= 2
