"""Tools that need the caller's yes, in whole calls: asked about, understood, run once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.tools.declared import DeclaredTool
from stretto.tools.journal import Journal, read
from stretto.tools.mcp import McpOptions, McpServers
from stretto.tools.tool import ToolError, idempotency_key_variable, tool

QUESTION = "Shall I book a table: day friday, people 2?"


class Booking:
    """A database of one table; each booking with the key that it was made with."""

    def __init__(self, seconds: float = 0.0, fails: bool = False) -> None:
        self.made: list[tuple[str, int]] = []
        self.keys: list[str] = []
        self.begun = 0

        @tool(confirm=True, timeout_s=60.0)
        async def book(day: str, people: int) -> dict[str, object]:
            """Book a table. Ask for the day first."""
            self.begun += 1
            self.keys.append(idempotency_key_variable.get())
            await asyncio.sleep(seconds)
            if fails:
                raise ToolError("The restaurant is full.")
            self.made.append((day, people))
            return {"booked": day}

        self.tool = book


def wants(cast, people=2, start=0, text=""):
    return cast.calls(("book", {"day": "friday", "people": people}), start=start, text=text)


def results(record):
    return [json.loads(m["content"]) for m in record.messages if m["role"] == "tool"]


def agent_said(record):
    return [m["content"] for m in record.messages if m["role"] == "assistant" and m["content"]]


def last_told(stage):
    """What the model was told of the whole dialogue last."""
    return [entry[1] for entry in stage.log if entry[0] == "restore"][-1]


def answer(cast, *words, at=7.0, apart=6.0):
    """The caller asks for a booking, then says these words, each when the agent is silent again."""
    said = [cast.Says(1.0, 2.0, "book a table for two on friday")]
    return said + [cast.Says(at + n * apart, at + n * apart + 1.0, text) for n, text in enumerate(words)]


def test_a_yes_runs_the_call_once_and_nothing_before_it(cast):
    booking = Booking()
    stage = cast.Stage(
        answer(cast, "yes please"), [wants(cast), "It is booked."], tools=[booking.tool], until=12.0
    )
    record = stage.run()
    first, second = record.turns
    assert first.heard == QUESTION and first.canned and first.tools == []
    assert booking.made == [("friday", 2)] and booking.keys == ["c0"]
    (run,) = second.tools
    assert run.result == '{"booked":"friday"}' and run.start_ms >= second.committed_ms
    assert second.heard == "It is booked." and not second.canned
    assert results(record) == [{"confirmed": True, "booked": "friday"}]
    roles = [m["role"] for m in record.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "tool", "assistant"]
    # The model reads its call behind the yes, not where it wrote it.
    assert last_told(stage)[:4] == [
        ("user", "book a table for two on friday"),
        ("assistant", QUESTION),
        ("user", "yes please"),
        ("assistant", ""),
    ]
    (asked,) = stage.of(events.ConfirmationAsked)
    (answered,) = stage.of(events.ConfirmationAnswered)
    assert asked.text == QUESTION and asked.call_ids == answered.call_ids == ("c0",)
    assert answered.answer == "yes"
    assert stage.tasks_left == []


def test_a_yes_to_the_models_own_question_is_enough(cast):
    booking = Booking()
    own = "So you want to book a table for two on Friday. Is that right?"
    stage = cast.Stage(
        answer(cast, "yes please"), [own, wants(cast), "It is booked."], tools=[booking.tool], until=14.0
    )
    record = stage.run()
    assert booking.made == [("friday", 2)] and booking.keys == ["c0"]
    assert agent_said(record) == [own, "It is booked."]
    assert results(record) == [{"confirmed": True, "booked": "friday"}]
    told = [(e.text, e.turn) for e in stage.of(events.ConfirmationAsked)]
    assert told == [(own, 2)] and [e.answer for e in stage.of(events.ConfirmationAnswered)] == ["yes"]
    assert stage.tasks_left == []


def test_a_yes_to_a_question_that_was_cut_short_is_not_enough(cast):
    booking = Booking()
    own = "Shall I book a table for two on Friday? It is by the window, with a view of all of the harbor."
    said = [
        cast.Says(1.0, 2.0, "book a table for two on friday"),
        cast.Says(5.0, 6.0, "yes please"),
    ]
    stage = cast.Stage(said, [own, wants(cast)], tools=[booking.tool], until=11.0)
    record = stage.run()
    assert any("said" in m for m in record.messages)  # the caller cut in
    assert booking.made == [] and stage.of(events.ConfirmationAsked)[-1].text == QUESTION


def test_a_no_runs_nothing_and_the_model_knows(cast):
    booking = Booking()
    stage = cast.Stage(
        answer(cast, "no thanks"), [wants(cast), "All right."], tools=[booking.tool], until=12.0
    )
    record = stage.run()
    assert booking.begun == 0 and record.turns[-1].heard == "All right."
    assert results(record) == [{"declined": "The caller said no. It was not done."}]
    assert record.turns[-1].tools[0].error and record.turns[-1].tools[0].result is None


def test_a_changed_mind_goes_to_the_model_and_its_new_call_is_asked_for_anew(cast):
    booking = Booking()
    stage = cast.Stage(
        answer(cast, "yes but for three people", "yes"),
        [wants(cast), wants(cast, people=3, start=1), "Booked for three."],
        tools=[booking.tool],
        until=19.0,
    )
    record = stage.run()
    assert booking.made == [("friday", 3)] and booking.keys == ["c1"]
    asked = [e.text for e in stage.of(events.ConfirmationAsked)]
    assert asked == [QUESTION, "Shall I book a table: day friday, people 3?"]
    assert [e.answer for e in stage.of(events.ConfirmationAnswered)] == ["other", "yes"]
    assert record.turns[-1].heard == "Booked for three."


def test_an_unclear_answer_is_asked_about_once_more_and_then_not_done(cast):
    booking = Booking()
    stage = cast.Stage(
        answer(cast, "hmm", "maybe", "hello"), [wants(cast), "Hello."], tools=[booking.tool], until=25.0
    )
    record = stage.run()
    assert booking.begun == 0
    said = agent_said(record)
    assert said == [QUESTION, QUESTION, stage.options.canned.not_confirmed, "Hello."]
    assert "no clear answer" in results(record)[0]["declined"]


def test_an_unclear_answer_and_then_a_yes(cast):
    booking = Booking()
    stage = cast.Stage(
        answer(cast, "what was that", "yes"), [wants(cast), "Booked."], tools=[booking.tool], until=19.0
    )
    stage.run()
    assert booking.made == [("friday", 2)]


def test_silence_is_asked_about_once_and_a_late_yes_is_none(cast):
    booking = Booking()
    options = SessionOptions(greeting="", silence_prompt_s=3.0)
    stage = cast.Stage(
        answer(cast, "yes", at=20.0),
        [wants(cast), "Yes what?"],
        tools=[booking.tool],
        options=options,
        until=24.0,
    )
    record = stage.run()
    canned = options.canned
    assert agent_said(record)[:3] == [QUESTION, QUESTION, canned.not_confirmed]
    assert booking.begun == 0
    assert [e.answer for e in stage.of(events.ConfirmationAnswered)] == ["silence", "silence"]


def test_a_yes_into_the_question_counts_only_when_it_was_heard(cast):
    booking = Booking()
    # The question lasts 2.25 s from about 2.6 s on: the caller cuts in after more than a second of it.
    stage = cast.Stage(
        answer(cast, "yes", "yes", at=4.0, apart=5.0),
        [wants(cast), "Booked."],
        tools=[booking.tool],
        until=14.0,
    )
    record = stage.run()
    assert record.turns[0].interrupted and record.turns[0].heard != QUESTION
    asked = stage.of(events.ConfirmationAsked)
    assert [e.text for e in asked] == [QUESTION, QUESTION]
    assert booking.made == [("friday", 2)]
    started = stage.of(events.ToolStarted)[0]
    assert started.at_ms > asked[1].at_ms


def test_a_cough_into_the_question_has_it_put_again(cast):
    booking = Booking()
    script = [*answer(cast), cast.Says(4.0, 4.3, ""), cast.Says(9.0, 9.6, "yes")]
    stage = cast.Stage(script, [wants(cast), "Booked."], tools=[booking.tool], until=13.0)
    stage.run()
    assert [e.text for e in stage.of(events.ConfirmationAsked)] == [QUESTION, QUESTION]
    assert booking.made == [("friday", 2)]


def test_a_caller_who_goes_on_at_once_is_asked_for_what_was_said_in_the_end(cast):
    booking = Booking()
    script = [*answer(cast), cast.Says(3.2, 4.0, "no for three"), cast.Says(9.0, 9.6, "yes")]
    stage = cast.Stage(
        script,
        by_words={
            "book a table for two on friday": wants(cast),
            "book a table for two on friday no for three": wants(cast, people=3, start=1),
        },
        replies=["Booked."],
        tools=[booking.tool],
        until=13.0,
    )
    stage.run()
    assert stage.of(events.DraftDropped)[-1].reopened
    assert booking.made == [("friday", 3)]


def test_a_barge_in_between_call_and_result_neither_stops_nor_repeats_it(cast):
    booking = Booking(seconds=3.0)
    stage = cast.Stage(
        answer(cast, "yes", "did you do it", apart=2.2),
        by_words={"book a table for two on friday": wants(cast), "did you do it": "It is booked."},
        tools=[booking.tool],
        until=16.0,
    )
    record = stage.run()
    assert booking.made == [("friday", 2)] and booking.begun == 1
    assert results(record) == [{"confirmed": True, "booked": "friday"}]
    assert record.turns[-1].heard == "It is booked."


def test_the_line_drops_between_call_and_result_and_the_transcript_has_it(cast, tmp_path):
    booking = Booking(seconds=3.0)
    stage = cast.Stage(
        answer(cast, "yes"),
        [wants(cast)],
        tools=[booking.tool],
        until=9.5,
        transcript_path=tmp_path / "call.jsonl",
    )
    record = stage.run()
    assert record.ended == "caller" and booking.made == [("friday", 2)]
    assert results(record) == [{"confirmed": True, "booked": "friday"}]
    kept = [json.loads(line) for line in (tmp_path / "call.jsonl").read_text().splitlines()]
    assert [m["role"] for m in kept][-2:] == ["assistant", "tool"]
    assert stage.tasks_left == []


def test_a_call_that_outlives_the_grace_is_recorded_as_unknown(cast, tmp_path):
    booking = Booking(seconds=50.0)
    journal = Journal(tmp_path / "tools.jsonl")
    stage = cast.Stage(answer(cast, "yes"), [wants(cast)], tools=[booking.tool], until=9.5, journal=journal)
    record = stage.run()
    journal.close()
    assert booking.begun == 1 and booking.made == []
    assert "not known" in record.turns[-1].tools[0].error
    assert "not known" in results(record)[0]["error"]
    (entry,) = read(tmp_path / "tools.jsonl")
    assert (entry.name, entry.arguments, entry.result) == ("book", {"day": "friday", "people": 2}, None)
    assert stage.tasks_left == []


def test_a_restarted_call_knows_what_was_done(cast, tmp_path):
    path = tmp_path / "tools.jsonl"
    for round_ in range(2):
        booking = Booking()
        journal = Journal(path)
        stage = cast.Stage(
            answer(cast, "yes"), [wants(cast), "Booked."], tools=[booking.tool], until=12.0, journal=journal
        )
        record = stage.run()
        journal.close()
        assert booking.begun == (1 if round_ == 0 else 0)
        assert results(record) == [{"confirmed": True, "booked": "friday"}]


def test_what_cannot_be_recorded_is_not_done(cast, tmp_path):
    booking = Booking()
    journal = Journal(tmp_path / "no such folder" / "tools.jsonl")
    stage = cast.Stage(
        answer(cast, "yes"), [wants(cast), "It failed."], tools=[booking.tool], until=12.0, journal=journal
    )
    record = stage.run()
    assert booking.begun == 0 and "recorded" in results(record)[0]["error"]


def test_the_model_writes_the_same_call_again_at_once_and_gets_its_first_result(cast):
    booking = Booking()
    replies = [wants(cast), wants(cast, start=5), "It is booked."]
    stage = cast.Stage(answer(cast, "yes"), replies, tools=[booking.tool], until=12.0)
    record = stage.run()
    assert booking.begun == 1 and len(stage.of(events.ConfirmationAsked)) == 1
    assert [t.result for t in record.turns[-1].tools] == ['{"booked":"friday"}'] * 2
    assert record.turns[-1].heard == "It is booked."


def test_the_same_again_later_needs_a_yes_of_its_own_and_says_that_it_was_done(cast):
    booking = Booking()
    replies = [wants(cast), "Booked.", wants(cast, start=7), "I leave it at that."]
    stage = cast.Stage(answer(cast, "yes", "yes", "no"), replies, tools=[booking.tool], until=26.0)
    stage.run()
    asked = [e.text for e in stage.of(events.ConfirmationAsked)]
    assert asked[1].startswith("I have done that already.") and len(asked) == 2
    assert booking.made == [("friday", 2)]


def test_a_tool_that_fails_after_the_yes_is_spoken_about_and_may_be_tried_again(cast):
    booking = Booking(fails=True)
    stage = cast.Stage(
        answer(cast, "yes"), [wants(cast), "It is full, sorry."], tools=[booking.tool], until=12.0
    )
    record = stage.run()
    assert booking.begun == 1 and record.turns[-1].heard == "It is full, sorry."
    assert results(record) == [{"confirmed": True, "error": "The restaurant is full."}]


def test_two_calls_are_one_question_and_one_yes(cast):
    booking = Booking()
    sent = []

    @tool(confirm="Shall I text {number}?")
    async def send_text(number: str) -> str:
        """Send a text message."""
        sent.append(number)
        return "sent"

    both = cast.calls(("book", {"day": "friday", "people": 2}), ("send_text", {"number": "555 1234"}))
    stage = cast.Stage(
        answer(cast, "yes", at=8.0), [both, "Both done."], tools=[booking.tool, send_text], until=14.0
    )
    record = stage.run()
    assert [e.text for e in stage.of(events.ConfirmationAsked)] == [f"Shall I text 555 1234? {QUESTION}"]
    assert booking.made == [("friday", 2)] and sent == ["555 1234"]
    assert [t.name for t in record.turns[-1].tools] == ["book", "send_text"]


def test_plain_calls_beside_it_run_at_once(cast):
    booking = Booking()
    looked = []

    @tool
    async def weather(day: str) -> str:
        """The weather."""
        looked.append(day)
        return "sunny"

    both = cast.calls(
        ("weather", {"day": "friday"}), ("book", {"day": "friday", "people": 2}), text="Let me see."
    )
    stage = cast.Stage(
        answer(cast, "yes", at=8.0), [both, "Sunny, and booked."], tools=[booking.tool, weather], until=14.0
    )
    record = stage.run()
    first, second = record.turns
    assert looked == ["friday"] and [t.name for t in first.tools] == ["weather"]
    assert first.heard == f"Let me see. {QUESTION}"
    assert [t.name for t in second.tools] == ["book"] and booking.made == [("friday", 2)]
    told = last_told(stage)
    roles = [role for role, _ in told]
    assert roles == ["user", "assistant", "tool", "assistant", "assistant", "user", "assistant", "tool"]


def test_the_models_own_question_counts_if_it_names_every_value(cast):
    booking = Booking()
    own = "A table for two on Friday, shall I book it?"
    stage = cast.Stage(
        answer(cast, "yes"), [wants(cast, text=own), "Booked."], tools=[booking.tool], until=12.0
    )
    record = stage.run()
    assert record.turns[0].heard == own and not record.turns[0].canned
    assert booking.made == [("friday", 2)]


def test_other_words_of_the_agent_void_the_question(cast):
    booking = Booking()
    stage = cast.Stage(
        answer(cast, "yes", at=10.0),
        [wants(cast), "Yes what?"],
        tools=[booking.tool],
        acts=[(6.5, lambda session: session.say("Do you like music?"))],
        until=14.0,
    )
    record = stage.run()
    assert booking.begun == 0 and record.turns[-1].heard == "Yes what?"


@pytest.mark.parametrize(("typed", "made"), [("yes", [("friday", 2)]), ("no", [])])
def test_a_typed_answer_counts(cast, typed, made):
    booking = Booking()

    def write(session):
        session.write(typed)
        session.respond()

    stage = cast.Stage(
        answer(cast), [wants(cast), "Well."], tools=[booking.tool], acts=[(7.0, write)], until=11.0
    )
    record = stage.run()
    assert booking.made == made and record.turns[-1].heard == "Well."


def test_a_tool_that_somebody_else_runs_is_handed_over_after_the_yes(cast):
    door = DeclaredTool("open_door", "Open the front door.", {}, confirm=True)
    stage = cast.Stage(answer(cast, "yes"), [cast.calls(("open_door", {}))], tools=[door], until=11.0)
    stage.run()
    (asked,) = stage.of(events.ConfirmationAsked)
    (handed,) = stage.of(events.ToolHandedOver)
    assert asked.text == "Shall I open the front door?" and handed.at_ms > asked.at_ms


class Awaited:
    """A tool that takes real time: the virtual clock stands still meanwhile."""

    def __init__(self, tool):
        self.spec, self.read_only, self.confirm, self._tool = tool.spec, tool.read_only, tool.confirm, tool

    async def run(self, arguments, idempotency_key=""):
        clock = asyncio.get_running_loop()._virtual
        clock.threads += 1
        try:
            return await self._tool.run(arguments, idempotency_key)
        finally:
            clock.threads -= 1


def test_a_tool_of_an_mcp_server_is_asked_for_and_its_death_spoken_about(cast, tmp_path):
    program = Path(__file__).parents[1] / "tools" / "mcp_server.py"
    dropped = tmp_path / "dropped"
    options = McpOptions(command=sys.executable, args=(str(program), "stdio"), env={"DROPPED": str(dropped)})
    servers = McpServers({"shelf": options})
    servers.start()
    try:
        replies = [
            cast.calls(("drop", {"table": "orders"})),
            cast.calls(("die", {}), start=1),
            "It is dropped, and then the server broke off.",
        ]
        stage = cast.Stage(
            answer(cast, "yes"), replies, tools=[Awaited(each) for each in servers.tools()], until=14.0
        )
        record = stage.run()
    finally:
        servers.close()
    assert [e.text for e in stage.of(events.ConfirmationAsked)] == ["Shall I drop a table: table orders?"]
    assert dropped.read_text() == "orders\n"
    died = record.turns[-1].tools[-1]
    assert died.name == "die" and "started again" in died.error
    assert record.turns[-1].heard == "It is dropped, and then the server broke off."


def test_a_declared_tool_runs_after_the_yes_with_its_key(cast):
    ran = []

    async def run(call_id, arguments):
        ran.append((call_id, dict(arguments)))
        return '"open"'

    door = DeclaredTool("open_door", "Open the front door.", {}, run, confirm=True)
    stage = cast.Stage(
        answer(cast, "sure"), [cast.calls(("open_door", {})), "It is open."], tools=[door], until=11.0
    )
    stage.run()
    assert ran == [("c0", {})]
