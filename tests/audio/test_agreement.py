from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from stretto.audio.agreement import LocalAgreement, key

WORDS = st.lists(
    st.sampled_from(["I", "would", "like", "a", "table", "for", "two", "at", "seven", "please"]), max_size=12
)


def test_words_are_confirmed_when_two_passes_agree() -> None:
    agreement = LocalAgreement()
    agreement.feed("I would")
    assert agreement.confirmed == [] and agreement.rest == ["I", "would"]
    agreement.feed("I would like at")
    assert agreement.confirmed == ["I", "would"] and agreement.rest == ["like", "at"]
    agreement.feed("I would like a table")
    assert agreement.confirmed == ["I", "would", "like"] and agreement.rest == ["a", "table"]


def test_case_and_punctuation_do_not_matter_and_a_trailing_stop_is_not_confirmed() -> None:
    agreement = LocalAgreement()
    agreement.feed("Hello, i")
    agreement.feed("hello I")
    assert [key(word) for word in agreement.confirmed] == ["hello", "i"]
    other = LocalAgreement()
    other.feed("I want it.")
    other.feed("I want it.")
    assert other.confirmed == ["I", "want", "it"]


def test_a_pass_that_changes_confirmed_words_does_not_repeat_what_follows() -> None:
    agreement = LocalAgreement()
    agreement.feed("he was an ill")
    agreement.feed("he was an ill")
    agreement.feed("he was not an ill disposed")
    assert agreement.confirmed == ["he", "was", "an", "ill"]
    assert agreement.rest == ["disposed"]


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_confirmed_words_only_grow(passes: list[list[str]]) -> None:
    agreement = LocalAgreement()
    before: list[str] = []
    for words in passes:
        agreement.feed(" ".join(words))
        assert agreement.confirmed[: len(before)] == before
        before = list(agreement.confirmed)


@given(WORDS, WORDS, WORDS)
def test_closing_a_window_continues_the_confirmed_words(
    first: list[str], second: list[str], last: list[str]
) -> None:
    agreement = LocalAgreement()
    agreement.feed(" ".join(first))
    agreement.feed(" ".join(second))
    before = list(agreement.confirmed)
    settled = agreement.close(" ".join(last))
    assert [*settled, *agreement.confirmed][: len(before)] == before
    assert agreement.rest == []
