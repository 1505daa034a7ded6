"""Words of the conversation are preferred in free strings, however the tokenizer splits them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.constraints.tokens import TokenVocabulary
from stretto.llm.denoise import EFFORT, write_call
from stretto.llm.spans import PENALTY, SpanPrior, open_string
from stretto.llm.tokenizer import CALL, END, PADS, embedded_tokenizer

TOKENIZER = embedded_tokenizer()
TALK = ["From Elm Avenue to Maple Library, please.", "At 7.30 pm, is that right?", "Yes, for O'Brien."]
PRIOR = SpanPrior(TOKENIZER.token_bytes, TALK)
FREE = {"to": {"type": "string"}}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('{"to":"', ""),
        ('{"to":"Maple L', "Maple L"),
        ('{"a":1,"to":"M', "M"),
        ('{"to":"say \\"hi', 'say \\"hi'),
        ('{"to":"Maple"', None),
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
    for token in TOKENIZER.encode(span):
        assert TOKENIZER.show(token) in allowed(written)
        written += TOKENIZER.show(token)
    assert '"' in allowed(written)


def test_what_was_never_said_costs() -> None:
    assert "ice" not in allowed('{"to":"')
    assert '"' not in allowed('{"to":"Map') and '"' not in allowed('{"to":"')
    assert not {"ple", "aple"} & allowed('{"to":"Elm')
    assert PRIOR.of('{"to":"Zanzi', FREE) is None, "a value that has left the conversation goes on freely"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_doubtful_model_writes_words_of_the_conversation(seed: int) -> None:
    schema = {"type": "object", "properties": FREE, "required": ["to"]}
    vocabulary = TokenVocabulary(TOKENIZER.token_bytes, END, CALL, PADS)
    logits = torch.from_numpy(
        np.random.default_rng(seed).normal(size=(32, TOKENIZER.size)).astype(np.float32)
    )
    steps = write_call(
        lambda canvas: logits.clone(), 32, EFFORT["high"], vocabulary.compile(schema),
        prior=lambda written: PRIOR.of(TOKENIZER.decode(written.tolist()), FREE),
    )  # fmt: skip
    last = list(steps)[-1]
    value = json.loads(TOKENIZER.decode([t for t in last.canvas[: last.length] if t != END]))["to"]
    assert value.lower()[:8] in " ".join(TALK).lower(), "at the end of the talk it may go on freely"
