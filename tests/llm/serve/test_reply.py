"""A draft as its client gets it: what may be sent of words that still change, and where they stop."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stretto.llm.language_model import Call, Canvas, Draft, Settled
from stretto.llm.serve.reply import Reply, before_stop, held_back
from stretto.llm.serve.request import Asked

CALLS = (Call("c1", "book", {"day": "Zoë"}), Call("c2", "cancel", {}))


def reply(**fields: Any) -> Reply:
    return Reply(Asked("", [], **fields), 10, "house", len)


def test_a_stop_string_is_found_as_soon_as_it_is_complete() -> None:
    assert before_stop("abab", ["bab", "ba"]) == "a"
    assert before_stop("one two three", ["three", "two"]) == "one "
    assert before_stop("one", ["two"]) is None
    assert held_back("one tw", ["two", "w!"]) == 2
    assert held_back("one two", ["two"]) == 0
    assert held_back("one", []) == 0


@given(
    st.text("ab", max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 12), max_size=4),
)
@example("aab", ["ab"], [2])
@example("aba", ["b", "aba"], [2])
def test_in_pieces_it_is_the_same_text(text: str, stops: list[str], places: list[int]) -> None:
    whole = reply(stops=tuple(stops))
    whole.feed(Draft(text))
    pieces = reply(stops=tuple(stops))
    sent = ""
    for place in sorted(places):
        sent += pieces.feed(Settled(text[:place]))
        assert whole.text.startswith(sent)
        if pieces.finish_reason is not None:
            break
    else:
        sent += pieces.feed(Draft(text))
    assert sent == pieces.text == whole.text
    assert not any(stop in sent for stop in stops)


def test_half_a_character_is_held_back() -> None:
    one = reply()
    assert one.feed(Settled("caf\N{REPLACEMENT CHARACTER}")) == "caf"
    assert one.feed(Settled("café")) == "é"
    assert one.feed(Draft("café")) == ""


def test_a_reply_that_is_stopped_has_its_tokens_and_passes_counted() -> None:
    one = reply(stops=("!",))
    one.feed(Canvas(("a",), 3))
    one.feed(Settled("ab!"))
    assert (one.finish_reason, one.forwards, one.tokens) == ("stop", 3, 3)


def test_why_it_ends() -> None:
    def ended(draft: Draft, **fields: Any) -> str | None:
        one = reply(**fields)
        one.feed(draft)
        return one.finish_reason

    assert ended(Draft("one")) == "stop"
    assert ended(Draft("one", cut=True)) == "length"
    assert ended(Draft("one", CALLS, cut=True)) == "tool_calls"


@pytest.mark.parametrize("text", ["", "One moment."])
def test_calls_as_json(text: str) -> None:
    one = reply(include_usage=True)
    one.feed(Draft(text, CALLS, forwards=4, tokens=9))
    message = one.completion()["choices"][0]["message"]
    assert message["content"] == (text or None)
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [
        {"day": "Zoë"},
        {},
    ]
    first, second, end, usage = one.last_chunks()
    assert [chunk["choices"][0]["delta"]["tool_calls"][0]["index"] for chunk in (first, second)] == [0, 1]
    assert end["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}
    assert usage["usage"] == one.completion()["usage"]
    assert usage["usage"]["completion_tokens_details"]["forwards"] == 4


def test_one_call_at_a_time() -> None:
    one = reply(parallel=False)
    one.feed(Draft("", CALLS))
    assert [call["id"] for call in one.completion()["choices"][0]["message"]["tool_calls"]] == ["c1"]
