"""A call that is led from outside: typed words, turns ended by hand, replies asked for and cancelled."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.agent.history import told
from stretto.agent.speaking import Utterance
from stretto.tools.tool import tool

QUIET = SessionOptions(greeting="", respond=False)


class Outlet:
    """Keeps what it is given: (what, text, samples)."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, int]] = []
        self.said: list[Utterance] = []

    def begin(self, utterance: Utterance) -> None:
        self.said.append(utterance)
        self.got.append(("begin", utterance.text, 0))

    def audio(self, utterance: Utterance, chunk: Any) -> None:
        self.got.append(("audio", utterance.text, len(chunk.pcm)))

    def end(self, utterance: Utterance) -> None:
        self.got.append(("stopped" if utterance.stopped else "end", utterance.text, 0))


def test_typed_words_are_answered_when_asked_for(cast):
    stage = cast.Stage(
        replies=["It is noon."],
        acts=[(1.0, lambda s: s.write("What time is it?")), (2.0, lambda s: s.respond())],
        until=5.0,
    )
    record = stage.run()
    assert ("restore", [("user", "What time is it?")]) in stage.log
    assert [t.heard for t in record.turns] == ["It is noon."]
    assert min(stage.audible()) > 2.0
    kinds = [type(e).__name__ for e in stage.events]
    assert kinds.index("Answering") < kinds.index("AgentSpeaking") < kinds.index("Answered")
    assert [m["content"] for m in record.messages[1:]] == ["What time is it?", "It is noon."]


def test_a_turn_is_only_listened_to_where_replies_are_asked_for(cast):
    script = [cast.Says(1.0, 2.0, "first this"), cast.Says(3.5, 4.5, "then that")]
    stage = cast.Stage(script, ["Both."], options=QUIET, acts=[(6.0, lambda s: s.respond())], until=9.0)
    record = stage.run()
    assert [m["content"] for m in record.messages if m["role"] == "user"] == ["first this", "then that"]
    # Nothing is drafted before, and both turns are in the conversation.
    heard = [entry for entry in stage.log if entry[0] in ("commit", "draft")]
    assert [entry[0] for entry in heard] == ["commit", "commit", "draft", "commit"]
    assert [entry[1] for entry in heard[:2]] == ["", ""]
    assert min(stage.audible()) > 6.0
    assert len(stage.of(events.Answering)) == 1
    assert stage.tasks_left == []


def test_a_reply_is_cancelled_and_only_what_was_heard_stays(cast):
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "tell me a story")],
        ["Once upon a time there was a king who had three daughters and no bread at all."],
        acts=[(4.0, lambda s: s.cancel())],
        until=7.0,
    )
    record = stage.run()
    (turn,) = record.turns
    assert turn.interrupted and turn.heard.startswith("Once upon") and not turn.heard.endswith("all.")
    assert max(stage.audible()) < 4.05
    assert stage.of(events.Answered)[0].interrupted
    assert ("commit", turn.agent, turn.heard) in stage.log


def test_turns_that_are_ended_by_hand(cast):
    async def manual(session):
        await session.update(replace(session.options, interruptible=False), manual=True)

    async def end(session):
        assert await session.end_turn()
        assert not await session.end_turn()

    script = [cast.Says(1.0, 2.0, "what time is it"), cast.Says(2.9, 3.2, "in rome")]
    stage = cast.Stage(script, ["Noon."], acts=[(0.2, manual), (3.4, end)], until=7.0)
    record = stage.run()
    assert [t.caller for t in record.turns] == ["what time is it in rome"]  # no silence ended it
    assert record.turns[0].heard == "Noon."
    # As soon as the words are there: no silence is waited for either.
    assert stage.of(events.Committed)[0].at_ms < 3400 + 150 + 200


def test_a_reply_is_asked_for_at_once_when_a_turn_is_ended(cast):
    async def manual(session):
        await session.update(replace(session.options, interruptible=False, respond=False), manual=True)

    async def ask(session):
        await session.end_turn()
        session.respond()  # the words are not recognised yet

    script = [cast.Says(1.0, 2.0, "what time is it")]
    stage = cast.Stage(script, ["Noon."], acts=[(0.2, manual), (2.2, ask), (5.0, ask)], until=9.0)
    record = stage.run()
    assert [m["content"] for m in record.messages[1:]] == [
        "what time is it",
        "Noon.",
        "Is there anything else?",  # nobody said anything, and still a reply was asked for
    ]
    assert min(stage.audible()) < 3.0
    assert not stage.of(events.Failure)


def test_cleared_audio_is_no_turn(cast):
    async def manual(session):
        await session.update(manual=True)

    async def end(session):
        assert not await session.end_turn()

    script = [cast.Says(1.0, 2.0, "never mind")]
    by_hand = cast.Stage(script, acts=[(0.2, manual), (2.5, lambda s: s.clear()), (2.5, end)], until=4.0)
    assert by_hand.run().turns == []
    listening = cast.Stage(script, ["Yes?"], acts=[(1.9, lambda s: s.clear())], until=5.0)
    assert listening.run().turns == []
    assert len(listening.of(events.TurnIgnored)) == 1


def test_the_end_of_a_turn_is_told_before_the_silence_is(cast):
    async def end(session):
        assert await session.end_turn()

    stage = cast.Stage([cast.Says(1.0, 1.9, "a table for")], ["Done."], acts=[(1.96, end)], until=6.0)
    stage.run()
    assert stage.of(events.Committed)[0].at_ms < 2200  # by itself it would take words like these for half


def test_instructions_and_tools_change_in_mid_call(cast):
    @tool
    async def light(state: str) -> str:
        """Switch the light."""
        return state

    async def update(session):
        await session.update(replace(session.options, system="Speak like a pirate."), tools=[light])

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "hello"), cast.Says(5.0, 6.0, "light on")],
        by_words={"hello": "Hi."},
        replies=[cast.calls(("light", {"state": "on"})), "It is on."],
        acts=[(4.0, update)],
        until=10.0,
    )
    record = stage.run()
    assert stage.model.system == "Speak like a pirate." and "light" in stage.model.tools
    assert [t.result for t in record.turns[-1].tools] == ['"on"']
    assert ("restore", [("user", "hello"), ("assistant", "Hi.")]) in stage.log
    assert record.turns[-1].heard == "It is on."


def test_options_that_contradict_change_nothing(cast):
    async def update(session):
        before = session.options
        with pytest.raises(ValueError, match="grow"):
            await session.update(replace(before, soft_end_ms=900.0))
        assert session.options is before

    cast.Stage(acts=[(0.5, update)], until=1.0).run()


def test_less_was_heard_than_was_played(cast, tmp_path):
    outlet = Outlet()
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "tell me"), cast.Says(8.0, 8.5, "go on")],
        by_words={"tell me": "One two three four five six.", "go on": "Seven."},
        acts=[(6.0, lambda s: s.correct(outlet.said[0], "One two"))],
        outlet=outlet,
        transcript_path=tmp_path / "call.jsonl",
        until=11.0,
    )
    record = stage.run()
    assert record.turns[0].heard == "One two"
    assert ("restore", [("user", "tell me"), ("assistant", "One two")]) in stage.log
    lines = [json.loads(line) for line in (tmp_path / "call.jsonl").read_text().splitlines()]
    said = [line for line in lines if line.get("said") == "One two three four five six."]
    assert [line["content"] for line in said] == ["One two"]


def test_what_is_being_played_stops_where_it_was_heard_to(cast):
    outlet = Outlet()
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "tell me")],
        ["One two three four five six seven eight nine ten."],
        acts=[(4.0, lambda s: s.correct(outlet.said[0], "One two three"))],
        outlet=outlet,
        until=6.0,
    )
    record = stage.run()
    assert record.turns[0].heard == "One two three" and record.turns[0].interrupted
    assert max(stage.audible()) < 4.05
    assert ("commit", record.turns[0].agent, "One two three") in stage.log


def test_speech_leaves_ahead_of_the_paced_line(cast):
    outlet = Outlet()
    script = [cast.Says(1.0, 2.0, "count"), cast.Says(6.0, 7.0, "again")]
    long = "One two three four five, six seven eight nine ten, eleven twelve thirteen."
    stage = cast.Stage(script, by_words={"count": "One.", "again": long}, outlet=outlet, until=9.0)
    stage.run()
    assert outlet.got[:3] == [("begin", "One.", 0), ("audio", "One.", 4000), ("end", "One.", 0)]
    assert outlet.got[3] == ("begin", long, 0)
    ended = [kind for kind, text, _ in outlet.got if text == long and kind != "audio"]
    assert ended == ["begin", "end"]  # all of it was there before the caller hung up
    sent = sum(samples for _, text, samples in outlet.got if text == long)
    played = sum(
        len(frame) for at, frame in stage.audio if at > 6.0 and np.abs(frame.astype(int)).max() > 200
    )
    assert sent == 13 * 4000 > played


def test_a_history_as_a_model_takes_it_back():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a table", "turn": 1, "at_ms": 1.0},
        {"role": "assistant", "content": "One moment.", "turn": 1, "at_ms": 2.0},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "name": "f", "arguments": {}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "b", "name": "g", "arguments": {}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "lost", "name": "h", "arguments": {}}]},
        {"role": "tool", "content": "1", "name": "f", "tool_call_id": "a", "turn": 1},
        {"role": "tool", "content": "2", "name": "g", "tool_call_id": "b", "turn": 1},
        {"role": "assistant", "content": "", "turn": 1},
        {"role": "user", "content": "still open", "turn": 2},
    ]
    kept = told(messages, open_turn=2)
    assert [(m["role"], m["content"]) for m in kept] == [
        ("user", "a table"),
        ("assistant", "One moment."),
        ("tool", "1"),
        ("tool", "2"),
    ]
    assert [call["id"] for call in kept[1]["tool_calls"]] == ["a", "b"]
    assert told(messages)[-1]["content"] == "still open"
