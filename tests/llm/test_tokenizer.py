"""Marks are ids, never text; every text survives the round trip."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from stretto.llm.tokenizer import CALL, END, MARKS, MASK, SAY, embedded_tokenizer


@given(st.text(max_size=80))
def test_any_text_survives_the_round_trip(text: str) -> None:
    tokenizer = embedded_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_half_a_surrogate_pair_is_read_as_a_character_that_is_unknown() -> None:
    tokenizer = embedded_tokenizer()
    assert tokenizer.decode(tokenizer.encode("so \ud800 it is")) == "so \ufffd it is"
    assert tokenizer.encode("\ud83d\ude00") == tokenizer.encode("😀")


@given(st.lists(st.sampled_from([*MARKS, "hello", " ", "{"]), max_size=8))
def test_text_never_becomes_a_mark(pieces: list[str]) -> None:
    assert all(i >= len(MARKS) for i in embedded_tokenizer().encode("".join(pieces)))


def test_marks_are_shown_by_name_and_left_out_of_text() -> None:
    tokenizer = embedded_tokenizer()
    ids = [SAY, *tokenizer.encode("Hi"), END]
    assert tokenizer.decode(ids) == "Hi"
    assert [tokenizer.show(i) for i in (SAY, CALL, MASK)] == ["<say>", "<call>", "<mask>"]


def test_every_byte_is_a_token() -> None:
    singles = {b for b in embedded_tokenizer().token_bytes if b is not None and len(b) == 1}
    assert singles == {bytes([i]) for i in range(256)}


def test_digits_are_single_tokens() -> None:
    assert len(embedded_tokenizer().encode("4821")) == 4
