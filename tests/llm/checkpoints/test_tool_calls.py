"""A turn of another family's model taken apart; what is no call is kept as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.checkpoints.tool_calls import parse_turn, settled_words

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["</tool_call>", "<think>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def called(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in parse_turn(text).calls]


@given(st.text(min_size=1), st.dictionaries(st.text(), JSON, max_size=3), st.sampled_from(["", "\n", " \n "]))
def test_a_call_comes_back(name: str, arguments: dict[str, Any], space: str) -> None:
    call = json.dumps({"name": name, "arguments": arguments})
    assert called(f"<tool_call>{space}{call}{space}</tool_call>") == [(name, arguments)]


PIECES = st.sampled_from(["<tool_call>", "</tool_call>", "{", '"name":', "<think>", "<function=a>", "x"])


@given(st.text() | st.lists(PIECES).map("".join))
def test_no_text_is_too_broken(text: str) -> None:
    said = parse_turn(text)
    assert "<tool_call>" not in said.words


def test_words_and_several_calls() -> None:
    said = parse_turn(
        'One moment.\n<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>\n'
        '<tool_call>\n{"name": "b", "arguments": "{\\"n\\": 1}"}\n</tool_call> Done.'
    )
    assert said.words == "One moment.\nDone."
    assert [call.id for call in said.calls] == ["call_0", "call_1"]
    assert [(call.name, call.arguments) for call in said.calls] == [("a", {}), ("b", {"n": 1})]


def test_a_call_that_is_not_closed() -> None:
    assert called('<tool_call>{"name": "a", "arguments": {"n": 1}}') == [("a", {"n": 1})]


def test_the_form_of_nemotron() -> None:
    text = (
        "<tool_call>\n<function=book>\n<parameter=day>\nMonday\n</parameter>\n<parameter=n>\n3\n</parameter>\n"
        "</function>\n</tool_call>"
    )
    assert called(text) == [("book", {"day": "Monday", "n": 3})]


def test_thoughts_are_not_said() -> None:
    said = parse_turn('<think>\nA <tool_call>{"name": "a"}</tool_call>?\n</think>\n\nNo.')
    assert (said.words, said.calls) == ("No.", ())


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        ('{"name": "a", "arguments": {', "Expecting"),
        ('{"arguments": {}}', "no object with a name"),
        ("[1]", "no object with a name"),
        ('{"name": "a", "arguments": [1]}', "arguments of 'a'"),
        ('{"name": "a", "arguments": {"n": NaN}}', "NaN"),
        ("[" * 100_000, "nested"),
        ("", "Expecting"),
    ],
)
def test_what_is_no_call_is_kept_as_text(inner: str, reason: str) -> None:
    said = parse_turn(f"Yes. <tool_call>{inner}</tool_call> So.")
    assert said.words == "Yes.\nSo." and said.calls == ()
    assert said.broken[0].text == inner and reason in said.broken[0].reason


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["Hi", " ", "<", "<think>", "x</think>", "<tool", "_call>", "{}", "</tool_call>", "\ufffd"]
        )
    )
)
def test_words_that_are_settled_stay(parts: list[str]) -> None:
    text = "".join(parts)
    whole = parse_turn(text.rstrip("\ufffd")).words
    before = ""
    for end in range(len(text) + 1):
        words = settled_words(text[:end])
        assert words.startswith(before) and whole.startswith(words)
        before = words
