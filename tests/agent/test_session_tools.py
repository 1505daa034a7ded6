"""Tools in a call: never before the commit, in parallel, once, and no barge-in loses them."""

from __future__ import annotations

import asyncio
import json

import pytest
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.tools.tool import tool


def test_tools_run_after_the_commit_and_the_result_is_spoken(cast):
    ran = []

    @tool
    async def book(day: str) -> dict[str, str]:
        """Book a table."""
        ran.append((day, asyncio.get_running_loop().time()))
        await asyncio.sleep(0.2)
        return {"booked": day}

    script = [cast.Says(1.0, 2.0, "book it"), cast.Says(2.3, 3.0, "for friday")]
    stage = cast.Stage(
        script,
        ["It is booked."],
        by_words={
            "book it": cast.calls(("book", {"day": "any"})),
            "book it for friday": cast.calls(("book", {"day": "friday"}), start=5),
        },
        tools=[book],
        until=8.0,
    )
    record = stage.run()
    (turn,) = record.turns
    assert [day for day, _ in ran] == ["friday"]
    assert (ran[0][1] - stage.session.started) * 1000 >= turn.committed_ms
    assert turn.tools[0].result == '{"booked":"friday"}' and turn.tools[0].error is None
    assert turn.to_json()["tools"][0]["result"] == {"booked": "friday"}
    assert 190 <= turn.tools[0].ms <= 230
    assert turn.heard == "It is booked."
    kinds = [entry[0] for entry in stage.log if entry[0] not in ("hear",)]
    assert kinds == ["draft", "draft", "commit", "result", "draft", "commit"]
    roles = [m["role"] for m in record.messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    assert [s.name for s in stage.of(events.ToolStarted)] == ["book"]
    assert stage.of(events.ToolFinished)[0].result == '{"booked":"friday"}'


def test_words_before_calls_are_spoken_while_tools_run(cast):
    @tool
    async def look() -> str:
        """Look it up."""
        await asyncio.sleep(3.0)
        return "found"

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "look it up")],
        [cast.calls(("look", {}), text="One moment."), "Found it."],
        tools=[look],
        until=9.0,
    )
    record = stage.run()
    (turn,) = record.turns
    assert turn.agent == turn.heard == "One moment. Found it."
    assert not turn.canned and turn.fillers == []
    assert turn.voice_to_voice_ms < 600
    assistant = [m["content"] for m in record.messages if m["role"] == "assistant"]
    assert assistant[-1] == "Found it." and "One moment." in assistant


def test_a_slow_tool_without_words_is_covered_by_a_canned_sentence(cast):
    @tool
    async def look() -> str:
        """Look it up."""
        await asyncio.sleep(3.0)
        return "found"

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "look it up")], [cast.calls(("look", {})), "Found it."], tools=[look], until=9.0
    )
    (turn,) = stage.run().turns
    assert turn.fillers == [stage.options.canned.one_moment]
    assert turn.heard == "Found it." and not turn.canned
    assert turn.first_audio_ms < turn.first_reply_ms


def test_the_reply_is_written_while_one_moment_is_still_being_said(cast):
    @tool
    async def look() -> str:
        """Look it up."""
        await asyncio.sleep(SessionOptions().one_moment_ms / 1000 + 0.1)
        return "found"

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "look it up")], [cast.calls(("look", {})), "Found it."], tools=[look], until=9.0
    )
    (turn,) = stage.run().turns
    filler, reply = [e for e in stage.events if isinstance(e, events.AgentHeard) and e.turn == turn.turn]
    assert (filler.text, reply.text) == (stage.options.canned.one_moment, "Found it.")
    (written,) = [e for e in stage.events if isinstance(e, events.DraftReady) and e.text == "Found it."]
    assert written.at_ms < filler.at_ms < turn.first_reply_ms


def test_calls_run_in_parallel_and_results_keep_their_order(cast):
    meeting = {}

    @tool
    async def one() -> str:
        """First."""
        meeting.setdefault("met", asyncio.Event())
        await meeting["met"].wait()
        return "one"

    @tool
    async def two() -> str:
        """Second."""
        meeting.setdefault("met", asyncio.Event()).set()
        return "two"

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "both")],
        [cast.calls(("one", {}), ("two", {})), "Done."],
        tools=[one, two],
        until=7.0,
    )
    (turn,) = stage.run().turns
    assert [(t.name, t.result) for t in turn.tools] == [("one", '"one"'), ("two", '"two"')]
    assert [entry[1:] for entry in stage.log if entry[0] == "result"] == [("c0", '"one"'), ("c1", '"two"')]


def test_at_most_three_rounds_then_an_apology(cast):
    ran = []

    @tool
    async def again() -> str:
        """Again."""
        ran.append(1)
        return "more"

    replies = [cast.calls(("again", {}), start=n) for n in range(6)]
    stage = cast.Stage([cast.Says(1.0, 2.0, "go on")], replies, tools=[again], until=9.0)
    (turn,) = stage.run().turns
    assert len(ran) == 3
    assert turn.heard == stage.options.canned.apology and turn.canned


def test_a_barge_in_never_cancels_a_tool_and_the_model_learns_its_result(cast):
    done = []

    @tool
    async def book() -> str:
        """Book."""
        await asyncio.sleep(2.0)
        done.append(1)
        return "booked"

    script = [cast.Says(1.0, 2.0, "book it"), cast.Says(3.2, 3.8, "and make it quick")]
    stage = cast.Stage(
        script,
        by_words={
            "book it": cast.calls(("book", {}), text="One moment."),
            "and make it quick": "It is booked.",
        },
        tools=[book],
        until=9.0,
    )
    record = stage.run()
    assert done == [1]
    assert [t.heard for t in record.turns][-1] == "It is booked."
    kinds = [entry[0] for entry in stage.log]
    result = kinds.index("result")
    after = next(n for n, e in enumerate(stage.log) if e[:2] == ("hear", "and make it quick"))
    assert result < after
    assert record.turns[0].tools[0].result == '"booked"'


def test_no_second_round_of_tools_begins_once_the_caller_has_the_floor(cast):
    ran = []

    @tool
    async def look() -> str:
        """Look it up."""
        await asyncio.sleep(SessionOptions().one_moment_ms / 1000 + 0.1)
        return "found"

    @tool
    async def book() -> str:
        """Book."""
        ran.append(1)
        return "booked"

    replies = [cast.calls(("look", {})), cast.calls(("book", {}), text="I book it.", start=1), "What then?"]
    script = [cast.Says(1.0, 2.0, "look and book"), cast.Says(4.7, 5.5, "no wait")]
    stage = cast.Stage(script, replies, tools=[look, book], until=9.0)
    record = stage.run()
    first, *_, last = record.turns
    assert first.fillers and ran == [] and last.heard == "What then?"


def test_a_tool_under_way_is_finished_when_the_caller_hangs_up(cast):
    done = []

    @tool
    async def book() -> str:
        """Book."""
        await asyncio.sleep(1.0)
        done.append(1)
        return "booked"

    stage = cast.Stage([cast.Says(1.0, 2.0, "book it")], [cast.calls(("book", {}))], tools=[book], until=2.8)
    record = stage.run()
    assert done == [1] and record.ended == "caller"
    assert record.turns[0].tools[0].result == '"booked"'
    assert stage.tasks_left == []


def test_a_tool_that_raises_hangs_or_floods_is_something_the_model_can_speak_about(cast):
    @tool
    async def bad() -> str:
        """Bad."""
        raise RuntimeError("no such table")

    @tool(timeout_s=1.0)
    async def hangs() -> str:
        """Hangs."""
        await asyncio.sleep(3600)
        return ""

    @tool
    async def floods() -> str:
        """Floods."""
        return "x" * 1_000_000

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "try them")],
        [cast.calls(("bad", {}), ("hangs", {}), ("floods", {}), ("unknown", {})), "That did not work."],
        tools=[bad, hangs, floods],
        until=9.0,
    )
    record = stage.run()
    (turn,) = record.turns
    errors = {t.name: t.error for t in turn.tools}
    assert "no such table" in errors["bad"] and "1 seconds" in errors["hangs"] and errors["floods"] is None
    assert errors["unknown"]
    contents = [entry[2] for entry in stage.log if entry[0] == "result"]
    assert "error" in json.loads(contents[0]) and "error" in json.loads(contents[1])
    assert len(contents[2]) < 10_000
    assert turn.heard == "That did not work."
    assert stage.tasks_left == []


def test_built_in_names_are_refused(cast):
    @tool
    async def hang_up() -> str:
        """Mine."""
        return ""

    with pytest.raises(ValueError, match="built in"):
        cast.Stage([], tools=[hang_up]).run()


def test_built_in_tools_are_always_offered(cast):
    stage = cast.Stage([], options=SessionOptions(greeting=""), until=0.1)
    stage.run()
    assert stage.model.tools == ["hang_up", "transfer"]


def test_a_cough_while_a_tool_runs_does_not_lose_the_answer(cast):
    @tool
    async def book() -> str:
        """Book."""
        await asyncio.sleep(3.0)
        return "booked"

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "book it"), cast.Says(2.8, 3.1, "")],
        [cast.calls(("book", {})), "It is booked."],
        tools=[book],
        until=9.0,
    )
    (turn,) = stage.run().turns
    assert turn.heard == "It is booked." and len(turn.tools) == 1
