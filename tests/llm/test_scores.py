"""Scores: values are compared as people mean them, and each score has the right extremes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.llm.scores import (
    argument_hits,
    auc,
    balanced_accuracy,
    bleu,
    chrf,
    chrf_difference,
    distinct,
    plain,
    repetition,
    same_call,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Copper  Kettle", "copper kettle"),
        ("four", 4),
        (4.0, "4"),
        ("twenty one", "21"),
        ("7:30 pm", "19:30"),
        ("half past 7 pm", "19:30"),
        ("half past seven in the evening", "7.30 p.m."),
        ("quarter to eight am", "07:45"),
        ("March 5th", "2019-03-05"),
        ("the fifth of March", "03-05"),
        ("Friday, March 5", "5 March"),
        (True, "true"),
        (["b", "a"], ["A", "B"]),
    ],
)
def test_values_that_mean_the_same(one: object, other: object) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("7 pm", "7 am"), ("4", "14"), ("March 5", "May 5"), ("north", "south"), ("7:30", "7:13"), ("", "x")],
)
def test_values_that_do_not(one: object, other: object) -> None:
    assert plain(one) != plain(other)


@given(st.one_of(st.text(max_size=40), st.integers(), st.floats(allow_nan=False), st.booleans(), st.none()))
def test_any_value_has_one_form(value: object) -> None:
    assert plain(value) == plain(value) and isinstance(plain(value), str)


def test_calls_are_compared_as_people_mean_them() -> None:
    book = ("book", {"day": "the 5th of March", "people": 4, "note": None})
    assert same_call(book, ("book", {"day": "March 5", "people": "four"}))
    assert not same_call(book, ("cancel", {"day": "March 5", "people": 4}))
    assert argument_hits(book, ("book", {"day": "March 5", "people": 3})) == (1, 2, 2)
    assert argument_hits(book, ("cancel", {"day": "March 5"})) == (0, 2, 1)
    assert argument_hits(book, None) == (0, 2, 0)


def test_routing_counts_both_kinds_alike() -> None:
    always_speaks = [(True, False)] * 1 + [(False, False)] * 9
    assert balanced_accuracy(always_speaks) == 0.5
    assert balanced_accuracy([(True, True), (False, False)]) == 1.0
    assert balanced_accuracy([(True, True)]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_auc_is_a_probability_and_turns_around(low: list[float], high: list[float]) -> None:
    value, back = auc(low, high), auc(high, low)
    assert value is not None and back is not None
    assert 0 <= value <= 1 and value + back == pytest.approx(1)
    assert auc([], high) is None
    assert auc([0.1, 0.2], [0.3, 0.9]) == 1.0


def test_texts() -> None:
    said, other = "your table is booked for four people", "I am sorry, that did not work out at all"
    assert chrf([said], [said]) == pytest.approx(100) and chrf([other], [said]) < 30
    assert bleu([said], [said]) == pytest.approx(100) and bleu([other], [said]) < 10
    assert repetition(said) == 0.0 and repetition("so it is so it is so it is") > 0.3
    assert distinct([said, said], 2) == 0.5 and distinct([], 2) == 0.0


def test_a_difference_in_chrf_has_an_interval_around_it() -> None:
    expected = [f"Your table for {n} is booked at the Copper Kettle." for n in range(40)]
    worse = [text.replace("Copper Kettle", "pub") if n % 2 else text for n, text in enumerate(expected)]
    alone = list(range(40))
    middle, low, high = chrf_difference(expected, worse, expected, alone)
    assert middle == pytest.approx(chrf(expected, expected) - chrf(worse, expected), abs=1e-6)
    assert 0 < low < middle < high
    assert chrf_difference(worse, worse, expected, alone) == (0.0, 0.0, 0.0)
    turned = chrf_difference(worse, expected, expected, alone)
    assert turned[0] == pytest.approx(-middle) and turned[2] < 0
    together = chrf_difference(expected, worse, expected, [n // 10 for n in alone])
    assert together[0] == pytest.approx(middle) and together[2] - together[1] < high - low, (
        "dialogues that are alike differ less than their replies"
    )
