"""Replies that hold what they must and never what they must not; and how long they may be."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.constraints.call_text import CallTextError, parse_value
from stretto.llm.constraints.marginals import path_and_marginals
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.constraints.speech import CHARACTERS_A_TOKEN, Pace, Unsayable, reply_language
from stretto.llm.constraints.tokens import TokenVocabulary, shortest
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.tokenizer import CALL, END, PADS, embedded_tokenizer

NEVER = ["free", "free of charge", "don't", "100%", "as an AI", "été"]
REQUIRED = ["This call is recorded.", "terms apply"]
BITS = [
    "free", "Free", "FREE", "dom", "un", " ", "  ", "\n", "\u00a0", "of", "charge", "don", "'", "’", "t", "T",
    "100", "%", "as", "an", "ai", "AI", ".", ",", "é", "té", "“", "1", "_", "this", "This", "call", "is",
    "recorded", "Terms", "terms", "apply", "ing",
]  # fmt: skip


def holds(text: str, phrase: str, any_case: bool) -> bool:
    """The same, as a regular expression over characters."""
    words = []
    for number, word in enumerate(phrase.split()):
        signs = [
            "['’]" if sign in "'’"
            else f"[{sign.lower()}{sign.upper()}]" if sign.isascii() and (any_case or number == at == 0)
            else re.escape(sign)
            for at, sign in enumerate(word)
        ]  # fmt: skip
        words.append("".join(signs))
    body = "[ \t\n\r\u00a0\u2002\u2003\u2009\u200a\u202f]+".join(words)
    before = "(?<![A-Za-z0-9])" if re.match("[A-Za-z0-9]", phrase) else ""
    after = "(?![A-Za-z0-9])" if re.search("[A-Za-z0-9]$", phrase) else ""
    return re.search(before + body + after, text) is not None


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.sampled_from(NEVER), max_size=4),
    st.sets(st.sampled_from(REQUIRED)),
    st.lists(st.lists(st.sampled_from(BITS), min_size=1, max_size=9).map("".join), min_size=1, max_size=20),
)
def test_it_is_the_texts_without_the_one_and_with_the_other(
    never: set[str], required: set[str], texts: list[str]
) -> None:
    language = reply_language(never, required)
    for text in [*texts, " Terms  apply. This call is recorded. " + texts[0]]:
        said = not any(holds(text, phrase, True) for phrase in never)
        whole = all(holds(text, phrase, False) for phrase in required)
        full = bool(text.strip(" \n\u00a0"))
        assert language.accepts(text.encode()) == (said and whole and full), text


@pytest.mark.parametrize("data", [b"", b"  \n", b"\xc2\xa0 ", b"\xff", b"\xe6\x97", b"a\x00", b"a\x1b[2J"])
def test_what_is_no_text_is_no_reply(data: bytes) -> None:
    assert not reply_language().accepts(data)
    assert reply_language().accepts(b"a")


def test_phrases_that_cannot_be_kept_to_are_refused() -> None:
    with pytest.raises(Unsayable, match="blank"):
        reply_language([" "])
    with pytest.raises(Unsayable, match="correct one"):
        reply_language(["recorded"], ["This call is recorded."])
    with pytest.raises(Unsayable, match="fewer or shorter"):
        reply_language([], [f"the disclosure number {n} of many" for n in range(12)])


@pytest.fixture(scope="module")
def words() -> TokenVocabulary:
    return TokenVocabulary(embedded_tokenizer().token_bytes, END, CALL, PADS)


def wanted(words: TokenVocabulary, text: str, canvas: int) -> Any:
    """Scores of a model that is nearly sure of a text."""
    tokens = [*embedded_tokenizer().encode(text), END]
    scores = np.random.default_rng(0).normal(-12, 1, (canvas, words.size)).astype(np.float32)
    scores[np.arange(len(tokens)), tokens] = -0.1
    return scores


def test_a_phrase_is_not_said_however_sure_the_model_is(words: TokenVocabulary) -> None:
    automaton = words.reply(["free of charge", "refund"])
    assert words.reply(["refund", "free of charge"]) is automaton
    for text in (" It is Free of  charge today.", " You get a refund.", " REFUND"):
        path, sure = path_and_marginals(wanted(words, text, 24), automaton)
        said = embedded_tokenizer().decode(path.tokens[: path.length].tolist())
        assert path.finished and not re.search("free of|refund(?![a-z])", said.lower().replace("  ", " "))
        assert np.isfinite(sure).all()
    harmless = " Refunds and freedom of charges."
    path = best_path(wanted(words, harmless, 24), automaton)
    assert embedded_tokenizer().decode(path.tokens[: path.length].tolist()) == harmless


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 3.0, 9.0]), st.integers(4, 12))
def test_a_reply_keeps_to_its_phrases_canvas_after_canvas(seed: int, spread: float, canvas: int) -> None:
    words = WORDS
    automaton = words.reply(["a", "free of charge"], REQUIRED)
    state, left, data = 0, shortest(automaton) + 20, b""
    while not automaton.is_final(state):
        size = min(canvas, left)
        left -= size
        scores = np.random.default_rng(seed + left).normal(-9, spread, (size, words.size)).astype(np.float32)
        path = best_path(scores, automaton, None, state, open_end=left > 0, budget_after=left)
        data += b"".join(TEXTS[token] or b"" for token in path.tokens[: path.length])
        state = path.end_state
    text = data.decode()
    assert not holds(text, "a", True) and not holds(text, "free of charge", True)
    assert all(holds(text, phrase, False) for phrase in REQUIRED)


TEXTS: list[bytes | None] = [
    *[bytes([byte]) for byte in range(256)], b" the", b" free", b" charge", b" call", b"This", b" This",
    b" is", None, None,
]  # fmt: skip
WORDS = TokenVocabulary(TEXTS, len(TEXTS) - 2, None, [len(TEXTS) - 1])


def test_it_ends_in_a_call_only_where_one_may_follow(words: TokenVocabulary) -> None:
    scores = wanted(words, " One moment.", 12)
    scores[:, CALL] = 5.0
    path = best_path(scores, words.reply(call_follows=True))
    assert path.tokens[path.length - 1] == CALL
    assert words.reply().called is None
    path = best_path(scores, words.reply())
    assert path.tokens[path.length - 1] == END and CALL not in path.tokens


VALUES: list[Any] = [
    {"type": "string"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}, {"type": "boolean"},
    {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "number"}}},
    {"anyOf": [{"type": "string", "pattern": "^[a-z]+$"}, {"type": "null"}]}, {"enum": ["yes", "no"]},
    {"type": "array", "items": {"$ref": "#/$defs/A"}, "$defs": {"A": {"type": "string", "maxLength": 4}}}, {},
]  # fmt: skip


@pytest.mark.parametrize("schema", VALUES, ids=str)
def test_a_reply_may_be_the_value_of_a_schema(words: TokenVocabulary, schema: dict[str, Any]) -> None:
    automaton = words.value(schema)
    assert words.value(schema) is automaton and automaton.called is None
    for seed in range(4):
        scores = np.random.default_rng(seed).normal(-9, 4, (32, words.size)).astype(np.float32)
        path = best_path(scores, automaton, score_fill=True)
        text = embedded_tokenizer().decode(path.tokens[: path.length].tolist())
        json.loads(text)
        jsonschema.validate(parse_value(text, schema), schema)


def test_a_value_that_is_too_long_or_no_json_is_named(words: TokenVocabulary) -> None:
    with pytest.raises(UnsupportedSchema, match="a reply has at most 8"):
        words.value({"const": "word " * 50}, longest=8)
    with pytest.raises(UnsupportedSchema, match="not supported"):
        words.value({"not": {}})
    with pytest.raises(CallTextError):
        parse_value("{")


TALK = " One moment. Your table for four is booked! Is there anything else that I can help you with today"


@given(st.floats(0.3, 9), st.integers(0, 12), st.integers(1, 6))
def test_a_reply_ends_in_time_at_the_end_of_a_sentence_or_a_word(
    seconds: float, before: int, size: int
) -> None:
    pace = Pace(seconds)
    cut = [TALK[n : n + size] for n in range(0, len(TALK), size)]
    written, pieces = "".join(cut[:before]), cut[before:]
    count = pace.kept(written, pieces)
    said = written + "".join(pieces[:count])
    if len(TALK.strip()) <= pace.characters:
        assert count == len(pieces)
    elif count > (0 if written.strip() else 1):
        assert len(said.strip()) <= pace.characters
        rest = TALK[len(said.rstrip()) :]
        assert not rest or rest.startswith(" ")
    assert count or written.strip()


def test_the_last_sentence_in_time_is_kept_whole() -> None:
    pieces = [f" {word}" for word in TALK.split()]
    pace = Pace(4.0, rate=13.0)
    assert "".join(pieces[: pace.kept("", pieces)]) == " One moment. Your table for four is booked!"
    assert "".join(pieces[: Pace(1.0).kept("", pieces)]) == " One moment."
    assert "".join(pieces[: Pace(0.6).kept("", pieces)]) == " One"
    assert Pace(60).kept("", pieces) == len(pieces)
    assert pace.kept(TALK[:43], pieces[8:]) == 0, "what is written ends well"
    assert pace.characters == 52 and pace.left("") == int(52 / CHARACTERS_A_TOKEN) and pace.left(TALK) == 1
    with pytest.raises(ValueError, match="no time"):
        Pace(0)
