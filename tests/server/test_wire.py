"""Events on their way: in order, in JSON that can be read, no more than a slow client may cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from stretto.agent.realtime import wire as module
from stretto.agent.realtime.wire import TooSlow, Wire

LARGE = "x" * 100_000


class Client:
    """Takes events while it is `reading`."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.wire = Wire(self.write)

    async def write(self, text: str) -> None:
        await self.reading.wait()
        text.encode()  # as a socket does
        self.got.append(text)

    def events(self) -> list[dict]:
        return [json.loads(text, parse_constant=pytest.fail) for text in self.got]

    @asynccontextmanager
    async def sending(self):
        task = asyncio.create_task(self.wire.run())
        await asyncio.sleep(0)
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, TooSlow):
                await task


def run(work: Callable[[Client], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20):
            await work(Client())

    asyncio.run(whole())


def test_a_client_that_takes_nothing_costs_no_more_than_it_may():
    async def work(client):
        client.reading.clear()
        async with client.sending() as task:
            for _ in range(500):
                client.wire.send("large", text=LARGE)
                held = sum(map(len, client.wire._waiting))
                assert held <= module.MOST_CHARACTERS
            assert held == 0, "what cannot be sent any more is forgotten"
            with pytest.raises(TooSlow, match=r"8[45] events of 8\d{6} bytes wait"):
                await task  # at once, though the client is still being written to

    run(work)


def test_events_are_counted_when_they_are_sent(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 50)

    async def work(client):
        client.reading.clear()
        async with client.sending() as task:
            for _ in range(200):
                client.wire.send("small")
            assert not client.wire._waiting
            with pytest.raises(TooSlow, match="51 events"):
                await task

    run(work)


def test_a_client_that_takes_its_events_gets_any_number_of_them():
    async def work(client):
        async with client.sending() as task:
            for number in range(300):
                await client.wire.room()
                client.wire.send("large", number=number, text=LARGE)
            client.wire.finish()
            await task
        assert [event["number"] for event in client.events()] == list(range(300))

    run(work)


def test_there_is_room_again_when_the_client_goes_on_reading_or_is_gone():
    async def work(client):
        client.reading.clear()
        async with client.sending():
            while client.wire._characters <= module.MANY_CHARACTERS:
                await client.wire.room()
                client.wire.send("large", text=LARGE)
            waiting = asyncio.create_task(client.wire.room())
            await asyncio.sleep(0.05)
            assert not waiting.done()
            client.reading.set()
            await waiting
            assert client.wire._characters <= module.MANY_CHARACTERS
            client.reading.clear()
            client.wire.send("large", text=LARGE * 30)
            waiting = asyncio.create_task(client.wire.room())
            await asyncio.sleep(0.05)
            assert not waiting.done()
        await waiting
        client.wire.send("late", text=LARGE)
        assert not client.wire._waiting

    run(work)


def test_a_burst_of_small_events_is_no_sign_of_a_slow_client():
    async def work(client):
        async with client.sending() as task:
            for _ in range(2 * module.MOST_WAITING):  # nothing else lets the sender run
                await client.wire.room()
                client.wire.send("small")
            client.wire.finish()
            await task
        assert len(client.got) == 2 * module.MOST_WAITING

    run(work)


def test_audio_that_is_sent_ahead_leaves_room():
    from stretto.agent.speaking import AHEAD_MS

    base64_bytes = AHEAD_MS / 1000 * 24_000 * 2 * 4 / 3
    assert 1.2 * base64_bytes < module.MANY_CHARACTERS


def test_whatever_is_in_an_event_can_be_sent_and_read():
    async def work(client):
        async with client.sending() as task:
            client.wire.send("odd", text="half \ud800 of it", rest=[float("nan"), {"n": float("inf")}, 1.5])
            client.wire.send("plain", text="né 日 🎉")
            client.wire.finish()
            await task
        odd, plain = client.events()
        assert odd["text"].startswith("half") and odd["rest"] == [None, {"n": None}, 1.5]
        assert plain["text"] == "né 日 🎉"

    run(work)


def test_a_client_that_takes_one_event_for_ever_is_left(monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT_S", 0.05)

    async def work(client):
        client.reading.clear()
        async with client.sending() as task:
            client.wire.send("small")
            with pytest.raises(TooSlow, match="no event was taken"):
                await task

    run(work)
