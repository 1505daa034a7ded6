"""What a server is sent of a dialogue: what was heard, calls with results, the oldest exchanges dropped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.llm.chat_history import LONGEST_WORDS, STILL_RUNNING, ChatHistory, Message
from stretto.llm.language_model import Call


def history(characters: int = 10_000, exchanges: int = 100) -> ChatHistory:
    return ChatHistory("Be brief.", characters, exchanges)


def spoken(messages: list[Message]) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in messages]


def test_the_words_of_a_turn_replace_those_of_before_until_it_is_answered() -> None:
    told = history()
    told.hear("I want")
    told.hear("I want a table.")
    assert spoken(told.messages()) == [("system", "Be brief."), ("user", "I want a table.")]
    told.commit(1, "For whom?", ())
    told.hear("For Ana.")
    assert spoken(told.messages())[1:] == [
        ("user", "I want a table."),
        ("assistant", "For whom?"),
        ("user", "For Ana."),
    ]


def test_of_a_turn_without_end_the_last_words_are_kept() -> None:
    told = history()
    told.hear("so " * LONGEST_WORDS + "book it.")
    content = told.messages()[-1]["content"]
    assert content.endswith("book it.") and len(content) == LONGEST_WORDS


def test_a_draft_committed_again_is_replaced_and_keeps_its_results() -> None:
    told = history()
    told.hear("Book it.")
    told.commit(1, "One moment, I book it.", [Call("a", "book", {"day": "Monday"})])
    told.result("a", '{"ok":true}')
    told.commit(1, "One moment,", [Call("a", "book", {"day": "Monday"})])
    _, user, agent, result = told.messages()
    assert agent["content"] == "One moment," and user["content"] == "Book it."
    assert agent["tool_calls"][0]["function"] == {"name": "book", "arguments": '{"day":"Monday"}'}
    assert result == {"role": "tool", "tool_call_id": "a", "content": '{"ok":true}'}


def test_a_call_without_its_result_is_still_running() -> None:
    told = history()
    told.hear("Book and cancel.")
    told.commit(1, "", [Call("a", "book", {}), Call("b", "cancel", {})])
    told.result("b", '{"done":1}')
    told.hear("Hello?")
    roles = [(m["role"], m.get("tool_call_id"), m["content"]) for m in told.messages()[2:]]
    assert roles == [
        ("assistant", None, None),
        ("tool", "a", STILL_RUNNING),
        ("tool", "b", '{"done":1}'),
        ("user", None, "Hello?"),
    ]


def test_a_draft_of_which_nothing_was_heard_leaves_the_callers_words() -> None:
    told = history()
    told.hear("Hello.")
    told.commit(1, "", ())
    told.hear("Are you there?")
    assert spoken(told.messages())[1:] == [("user", "Hello. Are you there?")]


def test_words_of_the_agent_that_follow_each_other_are_one_message() -> None:
    told = history()
    told.say("Hello!")
    told.commit(1, "One moment.", [Call("a", "book", {})])
    (agent, result) = told.messages()[1:]
    assert agent["content"] == "Hello! One moment." and agent["tool_calls"] and result["role"] == "tool"
    told.commit(2, "Done.", ())
    assert spoken(told.messages())[-1] == ("assistant", "Done.")


def test_a_result_needs_a_committed_call() -> None:
    with pytest.raises(KeyError, match="commit its draft"):
        history().result("a", "{}")


def test_the_oldest_exchanges_go_and_the_system_text_stays() -> None:
    told = history(characters=400)
    for number in range(20):
        told.hear(f"Question {number}: {'x' * 40}")
        told.commit(number, f"Answer {number}.", ())
    told.hear("And now?")
    messages = told.messages()
    assert messages[0]["content"] == "Be brief." and messages[1]["role"] == "user"
    assert sum(len(m["content"]) for m in messages[1:]) <= 400
    assert spoken(messages)[-2:] == [("assistant", "Answer 19."), ("user", "And now?")]
    before = messages[1]
    told.commit(20, "Nothing.", ())
    assert told.messages()[1] == before, "the beginning is the same for several turns"


def test_a_late_correction_or_result_of_what_was_dropped_is_ignored() -> None:
    told = history(exchanges=1)
    told.hear("One.")
    told.commit(1, "Yes, one.", [Call("a", "book", {})])
    told.hear("Two.")
    assert len(told.messages()) == 2
    told.commit(1, "Yes,", [Call("a", "book", {})])
    told.result("a", "{}")
    assert spoken(told.messages()) == [("system", "Be brief."), ("user", "Two.")]


def test_a_history_is_taken_back_and_ids_are_not_used_twice() -> None:
    told = history()
    assert told.new_call_id() == "call00001"
    call = {"id": "call00002", "name": "book", "arguments": {"day": "Monday"}}
    told.hear("And?")
    told.restore(
        [
            {"role": "user", "content": "Book it."},
            {"role": "assistant", "content": "One moment.", "tool_calls": [call]},
            {"role": "tool", "content": "{}", "name": "book", "tool_call_id": "call00002"},
            {"role": "tool", "content": "{}", "name": "book", "tool_call_id": "forgotten"},
        ]
    )
    assert [m["role"] for m in told.messages()] == ["system", "user", "assistant", "tool", "user"]
    assert told.new_call_id() == "call00003"
    with pytest.raises(ValueError, match="system"):
        told.restore([{"role": "system", "content": "x"}])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.text("ab ", max_size=30)),
        st.tuples(st.just("say"), st.text("cd", min_size=1, max_size=30)),
        st.tuples(st.just("commit"), st.integers(1, 4), st.text("ef", max_size=20), st.integers(0, 2)),
        st.tuples(st.just("result"), st.integers(0, 9)),
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 200), st.integers(1, 6))
def test_whatever_is_told_the_request_is_valid(steps: list[Any], characters: int, exchanges: int) -> None:
    told = history(characters, exchanges)
    known: list[str] = []
    for step in steps:
        if step[0] == "hear":
            told.hear(step[1].strip())
        elif step[0] == "say":
            told.say(step[1])
        elif step[0] == "commit":
            calls = [Call(told.new_call_id(), "book", {}) for _ in range(step[3])]
            known += [call.id for call in calls]
            told.commit(step[1], step[2], calls)
        elif known:
            told.result(known[step[1] % len(known)], "{}")
        messages = told.messages()
        assert messages[0] == {"role": "system", "content": "Be brief."}
        open_calls: list[str] = []
        for message in messages[1:]:
            if message["role"] == "tool":
                assert message["tool_call_id"] == open_calls.pop(0)
                continue
            assert not open_calls, "a call is followed by its results"
            assert message["content"] or message.get("tool_calls")
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
        assert not open_calls
