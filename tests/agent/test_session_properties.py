"""Random calls in virtual time: what must hold however caller, tools and timing fall."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.tools.tool import tool

PIECES = st.lists(
    st.tuples(
        st.floats(0.14, 3.0),  # silence before
        st.floats(0.2, 1.5),  # length
        st.sampled_from(["", "book a table", "for four and", "yes please", "what is free"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=PIECES,
    shape=st.lists(st.sampled_from(["words", "call", "words+call", "error", "empty"]), max_size=12),
    tool_s=st.floats(0.0, 2.5),
    pass_s=st.floats(0.005, 0.4),
    recogniser_s=st.floats(0.05, 0.5),
    speculate=st.booleans(),
)
def test_random_calls(cast, pieces, shape, tool_s, pass_s, recogniser_s, speculate):
    script, at = [], 1.0
    for gap, length, text in pieces:
        script.append(cast.Says(at + gap, at + gap + length, text))
        at += gap + length
    ran = []

    @tool
    async def book(number: int) -> str:
        """Book."""
        ran.append((number, asyncio.get_running_loop().time()))
        await asyncio.sleep(tool_s)
        return "booked"

    replies = []
    for n, kind in enumerate(shape):
        call = cast.calls(("book", {"number": n}), start=n)
        replies.append(
            {
                "words": f"One two three four five six seven number {n}.",
                "call": call,
                "words+call": cast.calls(("book", {"number": n}), start=n, text=f"One moment for {n}."),
                "error": RuntimeError("broken"),
                "empty": "",
            }[kind]
        )
    stage = cast.Stage(
        script,
        replies,
        tools=[book],
        options=SessionOptions(greeting="Hello there.", speculate=speculate, silence_prompt_s=100),
        until=at + 12,
        recogniser_delay=recogniser_s,
        setup=lambda s: setattr(s.model, "pass_s", pass_s),
    )
    record = stage.run()
    ms = stage.session.started

    # Nothing is left behind.
    assert stage.tasks_left == [] and stage.model.conversation.closed
    assert stage.recogniser.opened == stage.recogniser.closed
    assert not [e for e in stage.of(events.Failure) if e.part == "session"]

    # A tool runs once, and only inside a committed turn.
    assert len({number for number, _ in ran}) == len(ran)
    commits = stage.of(events.Committed)
    for _, when in ran:
        assert any(e.at_ms <= (when - ms) * 1000 + 1e-6 for e in commits)
    started = [e.call_id for e in stage.of(events.ToolStarted)]
    finished = [e.call_id for e in stage.of(events.ToolFinished)]
    assert len(set(started)) == len(started) and sorted(started) == sorted(finished)

    # A revision is committed once; what it says belongs to it.
    keys = [(e.turn, e.revision) for e in commits]
    assert len(set(keys)) == len(keys)
    for turn in record.turns:
        assert turn.agent.startswith(turn.heard) or turn.failures or turn.interrupted
        assert turn.caller == " ".join(turn.caller.split())

    # What is remembered was heard, and the conversation was told no more than that.
    spoken = " ".join(e.text for e in stage.of(events.AgentHeard))
    for message in record.messages:
        if message["role"] == "assistant" and message["content"]:
            assert message["content"] in spoken

    # After a barge-in the agent is silent within 40 ms, until it is its turn again.
    audible = stage.audible()
    for barge_in in stage.of(events.BargeIn):
        begin = barge_in.at_ms / 1000 + 0.0401
        ends = [s.end for s in script if s.end + 0.12 > begin - 0.05]
        assert not [t for t in audible if begin - 0.02 < t < min(ends)]
