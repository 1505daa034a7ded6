"""Calls by telephone, over real sockets: a simulated phone, real ears, a real voice."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.agent.caller_id import call_information
from stretto.llm.language_model import Call, Draft
from stretto.tools.tool import tool

WAYS = ("twilio", "audiosocket")
STORY = (
    "Once upon a time there was a very long story that went on and on, through the forest and over the "
    "hills, past seven rivers and nine castles, and nobody who told it ever came to the end of it by morning."
)
LAST = "Thank you very much for calling us today, and have a very nice day."


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 250))


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", WAYS)
def test_who_speaks_into_the_agents_words_stops_it_and_history_keeps_what_was_heard(phones, way, says):
    phones.brain.policy = lambda thought: STORY if "story" in thought.words.lower() else "Fine."
    story, stop = (
        says(text, 8000, 0.0)
        for text in ("Tell me a story please.", "Wait a moment, stop, that is enough now.")
    )

    async def work():
        async with phones.serving() as url, phones.phoning(way, url) as caller:
            await caller.answered()
            await caller.phone.say(story)
            await caller.until(lambda: len(caller.of(events.AgentSpeaking)) == 2)
            began = caller.of(events.AgentSpeaking)[-1].at_ms / 1000 + caller.call.session.started
            await asyncio.sleep(2.0)
            await caller.phone.say(stop)
            await caller.until(lambda: "Fine." in caller.said())
            assert len(caller.of(events.BargeIn)) == 1
            (cut,) = [heard for heard in caller.of(events.AgentHeard) if not heard.complete]
            loud = [
                at
                for at, pcm in caller.phone.ear.played
                if at > began and np.abs(pcm.astype(int)).max() > 200
            ]
            stopped = next(a for a, b in itertools.pairwise(loud) if b - a > 0.7)
            kept = [m for m in caller.call.session.history.messages if m.get("said") == STORY]
            return cut.text, stopped - began, [m["content"] for m in kept]

    heard, seconds, kept = run(work())
    assert STORY.startswith(heard) and 2 <= len(heard.split()) < len(STORY.split()) - 10
    assert kept == [heard]
    # The ear had about as much as the history says: Piper speaks two to four words a second.
    assert seconds * 1.2 < len(heard.split()) < seconds * 5.0


@pytest.mark.parametrize("way", WAYS)
def test_keys_are_events_and_an_entry_is_answered(phones, way):
    async def work():
        async with phones.serving() as url, phones.phoning(way, url) as caller:
            await caller.until(lambda: caller.of(events.AgentHeard))
            await caller.phone.press("4*2#")
            await caller.until(lambda: "You said 4*2" in caller.said())
            assert [event.key for event in caller.of(events.KeyPressed)] == list("4*2#")
            assert [event.keys for event in caller.of(events.KeysEntered)] == ["4*2"]

    run(work())


def test_a_key_stops_the_agent(phones):
    phones.options = SessionOptions(system="Be brief.", greeting=STORY)

    async def work():
        async with phones.serving() as url, phones.phoning("twilio", url) as caller:
            await caller.until(lambda: caller.of(events.AgentSpeaking))
            await asyncio.sleep(0.7)
            await caller.phone.press("0#")
            await caller.until(lambda: "You said 0" in caller.said())
            assert STORY.startswith(caller.said()[0]) and caller.said()[0] != STORY

    run(work())


def test_keys_may_only_be_told(phones):
    phones.options = SessionOptions(system="Be brief.", greeting="", answer_keys=False, keys_pause_s=0.2)

    async def work():
        async with phones.serving() as url, phones.phoning("audiosocket", url) as caller:
            await caller.phone.press("1")
            await caller.until(lambda: caller.of(events.KeysEntered))
            caller.call.session.say("You pressed one.")
            await caller.until(lambda: caller.of(events.AgentHeard))
            assert caller.said() == ["You pressed one."]

    run(work())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", WAYS)
def test_tools_know_who_calls_and_last_words_are_heard_before_the_agent_hangs_up(phones, way, says):
    @tool
    async def caller_number() -> str:
        """Who calls."""
        who = call_information()
        return f"{who.way} {who.caller} {who.parameters.get('shop', '')}".strip()

    def policy(thought: Any) -> Any:
        if "bye" in thought.words.lower():
            return Draft(LAST, (Call("b", "hang_up", {}),))
        return "There you are." if thought.results else Call("a", "caller_number", {})

    phones.brain.policy, phones.tools = policy, (caller_number,)
    options = {"parameters": {"from": "+15550100", "shop": "7"}} if way == "twilio" else {}
    whole = sum(len(chunk.pcm) for chunk in phones.throat.synthesise(LAST)) / phones.throat.rate

    async def work():
        async with phones.serving() as url, phones.phoning(way, url, **options) as caller:
            await caller.answered()
            await caller.phone.say(says("Who am I?", 8000, 0.0))
            await caller.answered(2)
            (told,) = [event.result for event in caller.of(events.ToolFinished)]
            await caller.phone.say(says("Good bye.", 8000, 0.0))
            await caller.until(caller.phone.over.is_set)
            await phones.quiet()
            assert caller.call.session.record.ended == "hang_up"
            end = caller.phone.said[-1][1]
            loud = [
                at for at, pcm in caller.phone.ear.played if at > end and np.abs(pcm.astype(int)).max() > 200
            ]
            return told.strip('"'), loud[-1] - loud[0], caller.said()[-1]

    told, seconds, last = run(work())
    assert told == ("twilio +15550100 7" if way == "twilio" else "audiosocket")
    assert last == LAST and seconds > whole - 0.6  # a voice begins and ends with a little silence
