"""How a call by telephone ends, over real sockets: nothing is left behind, and what was said is kept."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from stretto.agent import events

WAYS = ("twilio", "audiosocket")


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 250))


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", WAYS)
def test_a_phone_that_hangs_up_in_mid_word_leaves_nothing_behind(phones, way, says, tmp_path):
    phones.brain.policy = lambda thought: "And so it went on and on and on, " * 8
    first, second = (
        says(text, 8000, 0.0) for text in ("Tell me a story.", "I do not want to hear any more of it.")
    )

    async def work():
        async with phones.serving() as url:  # asserts that no task is left
            async with phones.phoning(way, url) as caller:
                await caller.answered()
                await caller.phone.say(first)
                await caller.until(lambda: len(caller.of(events.AgentSpeaking)) == 2)
                saying = asyncio.create_task(caller.phone.say(second))
                await asyncio.sleep(0.7)
                await caller.phone.hang_up()
                await saying
            await phones.quiet()
            assert caller.call.session.record.ended == "caller"
            page = phones.server.metrics.page().decode().splitlines()
            assert 'stretto_calls_total{reason="caller"} 1.0' in page
            assert f'stretto_phone_calls_total{{way="{way}"}} 1.0' in page
        return caller.call.id

    name = run(work())
    lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert [line["role"] for line in lines][:3] == ["system", "assistant", "user"]
    assert "story" in lines[2]["content"].lower()
    assert (tmp_path / f"{name}.wav").stat().st_size > 32_000  # a second


def test_a_server_that_ends_hangs_up_on_its_phones(phones):
    async def work():
        async with AsyncExitStack() as held:
            async with phones.made().listening() as url:
                callers = [await held.enter_async_context(phones.phoning(way, url)) for way in WAYS]
                assert phones.server.doors.sessions == 2
            for caller in callers:
                await caller.until(caller.phone.over.is_set)
                assert caller.call.session.record.ended == "caller"

    run(work())


def test_an_observer_watches_every_call_and_cannot_break_one(phones):
    told: list[tuple[str, str]] = []

    def happened(event: events.Event) -> None:
        if isinstance(event, events.KeysEntered):
            told.append(("keys", event.keys))
        elif isinstance(event, events.Failure):
            told.append((event.part, event.message))

    def observer(session: Any) -> None:
        told.append((session.information.way, session.information.caller))
        session.watch(happened)
        raise TypeError("no such thing")

    async def work():
        phones.options = replace(phones.options, observers=(observer,))
        server = phones.made()
        async with server.listening() as url:
            for way in WAYS:
                options = {"parameters": {"from": "+15550100"}} if way == "twilio" else {}
                async with phones.phoning(way, url, **options) as caller:
                    await caller.phone.press("7#")
                    await caller.until(lambda caller=caller: "You said 7" in caller.said())
                await phones.quiet()

    run(work())
    failed, keys = ("session", "TypeError: no such thing"), ("keys", "7")
    assert told == [("twilio", "+15550100"), failed, keys, ("audiosocket", ""), failed, keys]


@pytest.mark.parametrize("way", WAYS)
def test_a_line_that_breaks_is_a_caller_who_is_gone(phones, way):
    """No goodbye in the protocol: the connection is just not there any more."""

    async def work():
        async with phones.serving() as url, phones.phoning(way, url) as caller:
            await caller.until(lambda: caller.of(events.AgentSpeaking))
            line = caller.phone.line
            (line.socket if way == "twilio" else line.writer).transport.abort()
            await phones.quiet()
            assert caller.call.session.record.ended == "caller"
            assert not caller.of(events.Failure)

    run(work())


def test_an_asterisk_that_takes_no_audio_is_hung_up_on(phones, monkeypatch):
    monkeypatch.setattr("stretto.agent.ways_in.audiosocket.MOST_WAITING", -1)

    async def work():
        async with phones.serving() as url, phones.phoning("audiosocket", url) as caller:
            await caller.until(caller.phone.over.is_set)
            await phones.quiet()
            assert caller.call.session.record.ended == "line"

    run(work())
