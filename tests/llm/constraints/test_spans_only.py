"""Strings that take only stretches of the conversation: nothing else can be written in them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.constraints.call_text import compact_json, parse_call
from stretto.llm.constraints.schema import UnsupportedSchema, byte_automaton
from stretto.llm.constraints.spans import MOST_CHARACTERS, span_strings
from stretto.llm.constraints.tokens import TokenVocabulary
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.tokenizer import CALL, END, PADS, embedded_tokenizer

TALK = [
    "From Elm Avenue to the  Maple Library, please.",
    "At 7.30 pm, is that right?",
    'Yes, for O\'Brien "Bo".',
]
SPOKEN = {"type": "string", "x-spans-only": True}


def of(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part}, "required": ["a"]}


def takes(value: str, part: dict[str, Any] = SPOKEN, said: list[str] = TALK) -> bool:
    return byte_automaton(of(part), said=said).accepts(f'{{"a":{compact_json(" " + value)}}}'.encode())


@given(st.sampled_from(TALK), st.data())
def test_every_stretch_of_words_can_be_written(text: str, data: st.DataObject) -> None:
    words = text.rstrip(".?").split()
    first = data.draw(st.integers(0, len(words) - 1))
    span = " ".join(words[first : data.draw(st.integers(first + 1, len(words)))]).strip(',"')
    assert takes(data.draw(st.sampled_from([span, span.lower(), span.upper()])))


def test_nothing_else_can() -> None:
    assert takes("O'Brien") and takes("7.30") and takes("O'Brien \"Bo") and takes("7")
    for value in (
        "", "Elm", "Elm Street", "Map", "aple", "Avenue Elm", "please. At 7.30 pm", "Brien", " Elm Avenue",
        "Elm ", ",",
    ):  # fmt: skip
        assert takes(value) == (value == "Elm"), value


def test_bounds_hold_as_well_and_other_forms_are_refused() -> None:
    short = SPOKEN | {"maxLength": 3}
    assert takes("Elm", short) and not takes("Avenue", short)
    either = {"anyOf": [SPOKEN, {"type": "null"}]}
    assert takes("Elm", either) and not takes("Oak", either)
    for part in (SPOKEN | {"pattern": "a"}, SPOKEN | {"format": "date"}, SPOKEN | {"x-spans-only": 1}):
        with pytest.raises(UnsupportedSchema, match="x-spans-only"):
            byte_automaton(of(part))


@pytest.mark.parametrize("said", [[], [""], ["?!"]])
def test_where_nothing_was_said_the_text_is_free(said: list[str]) -> None:
    assert span_strings(said, 100) is None
    assert takes("Elm Street", said=said)
    assert not takes("", said=said)


def test_only_the_last_of_a_long_conversation_counts() -> None:
    said = [f"number{n}" for n in range(MOST_CHARACTERS)]
    assert takes(said[-1], said=said) and takes(said[-20], said=said) and not takes(said[0], said=said)
    one = " ".join(said)
    assert takes(" ".join(said[-3:]), said=[one]) and not takes(said[1], said=[one])
    cut = one[-MOST_CHARACTERS:].partition(" ")[0]
    assert not takes(cut, said=[one]), "half a word is none"


WORDS = TokenVocabulary(embedded_tokenizer().token_bytes, END, CALL, PADS)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 4.0]))
def test_whatever_the_scores_it_was_said(seed: int, spread: float) -> None:
    parts = {"from": SPOKEN, "to": SPOKEN, "n": {"type": "integer"}}
    schema = {"type": "object", "properties": parts, "required": ["to"]}
    automaton = WORDS.compile(schema, spans=TALK)
    scores = np.random.default_rng(seed).normal(-9, spread, (32, WORDS.size)).astype(np.float32)
    path = best_path(scores, automaton, score_fill=True)
    text = embedded_tokenizer().decode(path.tokens[: path.length].tolist())
    _, arguments = parse_call("f" + text, schema)
    said = [" ".join(one.split()).lower() for one in TALK]
    for name in {"from", "to"} & arguments.keys():
        assert any(arguments[name].lower() in one for one in said)
    json.loads(text)


def test_the_cache_tells_conversations_apart_where_it_matters() -> None:
    words = WORDS
    assert words.compile(of(SPOKEN), spans=TALK) is words.compile(of(SPOKEN), spans=list(TALK))
    assert words.compile(of(SPOKEN), spans=TALK) is not words.compile(of(SPOKEN), spans=TALK[:1])
    free = of({"type": "string"})
    assert words.compile(free, spans=TALK) is words.compile(free)
