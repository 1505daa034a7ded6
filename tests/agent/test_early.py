"""Replies drafted while the caller still speaks."""

from __future__ import annotations

from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.tools.tool import tool


def speaking(cast, until, *words, **options):
    """A caller who speaks from 1 s on, whose words are known one after the other; each may be the last."""
    stage = cast.Stage([cast.Says(1.0, until, "")], until=until + 4.0, **options)

    def setup(stage):
        stage.recogniser.script = [cast.Says(1.0, at, text) for at, text in words]
        stage.model.p_end_of_partial = 0.9

    stage.setup = setup
    return stage


def first(stage, kind):
    return next(event.at_ms for event in stage.of(kind))


def test_a_reply_is_drafted_before_the_caller_is_silent_and_adopted(cast):
    stage = speaking(cast, 3.0, (2.0, "what time is it"), replies=["It is noon."])
    (turn,) = stage.run().turns
    assert first(stage, events.DraftReady) < 3000 < first(stage, events.SoftEnd)
    assert (turn.caller, turn.agent, turn.speculation) == ("what time is it", "It is noon.", "hit")
    assert stage.model.drafts == 1, "the same words are not answered twice"
    assert stage.model.conversation.due[0][0] is False
    assert ("commit", "It is noon.", None) in stage.log and stage.tasks_left == []


def test_words_that_changed_revise_what_was_drafted(cast):
    heard = {"what time is it": "It is noon.", "what time is it in rome": "It is one."}
    stage = speaking(cast, 3.5, (2.0, "what time is it"), (3.4, "in rome"), by_words=heard)
    (turn,) = stage.run().turns
    assert turn.caller == "what time is it in rome" and turn.agent == "It is one."
    assert ("what time is it in rome", "It is noon.") in stage.model.revised
    assert stage.tasks_left == []


def test_nothing_of_it_runs_a_tool_or_is_heard_before_the_turn_is_over(cast):
    @tool
    async def open_door(name: str) -> str:
        """Open a door."""
        return "open"

    calls = cast.calls(("open_door", {"name": "front"}))
    stage = speaking(cast, 3.0, (2.0, "open the door"), replies=[calls, "It is open."], tools=[open_door])
    (turn,) = stage.run().turns
    assert first(stage, events.DraftReady) < 3000
    assert first(stage, events.ToolStarted) >= first(stage, events.Committed) and turn.agent == "It is open."
    assert min(stage.audible()) > 3.0


def test_without_speculation_nothing_is_drafted_early(cast):
    options = SessionOptions(greeting="", speculate=False)
    stage = speaking(cast, 3.0, (2.0, "what time is it"), replies=["It is noon."], options=options)
    (turn,) = stage.run().turns
    assert first(stage, events.DraftReady) >= first(stage, events.Committed)
    assert (turn.agent, turn.speculation) == ("It is noon.", "off")
