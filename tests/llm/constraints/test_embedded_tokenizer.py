"""The constraints with the tokenizer that ships."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from stretto.llm.constraints.call_text import serialise_call
from stretto.llm.constraints.tokens import TokenVocabulary, shortest
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.tokenizer import CALL, END, MARKS, PADS, embedded_tokenizer

TEXT = {"type": "string"}
AREAS = ["north", "south", "east", "west", "centre"]
SCHEMA = {
    "type": "object",
    "properties": {
        "restaurant": TEXT,
        "area": {"type": "string", "enum": AREAS},
        "date": TEXT,
        "time": TEXT,
        "people": {"type": "integer"},
        "name": TEXT,
    },
    "required": ["restaurant", "date", "time", "people"],
}
CALLS: list[dict[str, Any]] = [
    {"restaurant": "The Copper Kettle", "date": "next Friday", "time": "half past seven", "people": 4},
    {
        "restaurant": 'Café "Ünal" 🎉',
        "area": "centre",
        "date": "the 27th",
        "time": "7.30",
        "people": 12,
        "name": "Bo",
    },
]


@pytest.fixture(scope="module")
def words() -> TokenVocabulary:
    return TokenVocabulary(embedded_tokenizer().token_bytes, END, CALL, PADS)


@pytest.mark.parametrize("arguments", CALLS)
def test_a_call_as_it_is_trained_is_accepted_and_found(
    words: TokenVocabulary, arguments: dict[str, Any]
) -> None:
    automaton = words.compile(SCHEMA)
    tokens = [*embedded_tokenizer().encode(serialise_call("", arguments, SCHEMA)), END]
    state: int | None = 0
    for token in tokens:
        assert state is not None
        state = automaton.advance(state, token)
    assert state == automaton.ended
    log_probs = np.random.default_rng(0).normal(-12, 1, (64, words.size)).astype(np.float32)
    log_probs[np.arange(len(tokens)), tokens] = -0.1
    path = best_path(log_probs, automaton)
    assert path.tokens[: path.length].tolist() == tokens
    assert path.tokens[path.length :].tolist() == [PADS[i % 7] for i in range(64 - len(tokens))]


@pytest.mark.parametrize("seed", range(20))
def test_untrained_logits_give_a_valid_call(words: TokenVocabulary, seed: int) -> None:
    automaton = words.compile(SCHEMA)
    log_probs = np.random.default_rng(seed).normal(-9, 3, (64, words.size)).astype(np.float32)
    path = best_path(log_probs, automaton, score_fill=seed % 2 == 0)
    body = path.tokens[: path.length - 1].tolist()
    assert min(body) >= len(MARKS)
    jsonschema.validate(
        json.loads(b"".join(embedded_tokenizer().token_bytes[t] or b"" for t in body)), SCHEMA
    )


def test_every_byte_that_text_holds_is_a_token(words: TokenVocabulary) -> None:
    # Bytes that UTF-8 never has or only in unassigned planes; a few control characters are missing too.
    unused = {0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100), *range(0x20)} - set(b"\t\n\r")
    assert {bytes([byte]) for byte in set(range(256)) - unused} <= set(embedded_tokenizer().token_bytes)
    assert shortest(words.compile(SCHEMA)) <= 24
