"""`Agent` for programs without asyncio: its event loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from stretto.agent import events
from stretto.agent.agent import Agent, AgentCall
from stretto.agent.speaking import Sink
from stretto.agent.timeline import CallRecord
from stretto.audio.pcm import RATE, Int16

T = TypeVar("T")
EVENTS = 2000
"""Events that wait for a slow reader at most; the oldest are dropped."""


class SyncAgent:
    """As `Agent`, with the same arguments; enter it with `with`. Safe to use from several threads.

    `play` of a call is called in the loop's thread: it must return at once.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.agent = Agent(*arguments, **named)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stretto", daemon=True)

    def __enter__(self) -> SyncAgent:
        self._thread.start()
        try:
            self._do(self.agent.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._do(self.agent.__aexit__(kind, error, trace))
        finally:
            self._stop()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def call(
        self, play: Sink, *, rate: int | None = None, transcript: str | Path | None = None
    ) -> Iterator[SyncCall]:
        """As `Agent.call`."""
        ready: Future[AgentCall] = Future()
        held = SyncCall(self._loop)
        done = asyncio.run_coroutine_threadsafe(self._hold(held, ready, play, rate, transcript), self._loop)
        done.add_done_callback(lambda ended: _fail(ready, ended))
        held.call = ready.result()
        try:
            yield held
        finally:
            self._loop.call_soon_threadsafe(held.left.set)
            done.result()

    async def _hold(
        self,
        held: SyncCall,
        ready: Future[AgentCall],
        play: Sink,
        rate: int | None,
        transcript: str | Path | None,
    ) -> None:
        """The call, in one task of the loop from its beginning to its end."""
        async with self.agent.call(play, rate=rate, transcript=transcript) as call:
            call.session.watch(held.put)
            ready.set_result(call)
            await held.left.wait()

    def answer(self, recording: str | Path, record: str | Path | None = None) -> CallRecord:
        """As `Agent.answer`."""
        return self._do(self.agent.answer(recording, record))


class SyncCall:
    """As `AgentCall`, from any thread."""

    call: AgentCall

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.left = asyncio.Event()
        self._loop = loop
        self._events: queue.Queue[events.Event] = queue.Queue(EVENTS)

    @property
    def over(self) -> bool:
        """Somebody hung up."""
        return self.call.over

    @property
    def record(self) -> CallRecord:
        """What happened so far."""
        return self.call.record

    def put(self, event: events.Event) -> None:
        while True:
            try:
                return self._events.put_nowait(event)
            except queue.Full:
                self._events.get_nowait()

    def hear(self, pcm: Int16 | bytes, rate: int = RATE) -> None:
        """The caller's next audio: see `AgentCall.hear`."""
        self._loop.call_soon_threadsafe(self.call.hear, pcm, rate)

    def say(self, text: str) -> None:
        """Have the agent say these very words."""
        self._loop.call_soon_threadsafe(self.call.say, text)

    def write(self, text: str) -> None:
        """The caller typed something: the agent answers."""
        self._loop.call_soon_threadsafe(self.call.write, text)

    def events(self, timeout_s: float | None = None) -> Iterator[events.Event]:
        """What happened since the call began, then what happens, until the call is over.

        Raises queue.Empty when nothing happened for `timeout_s`.
        """
        while True:
            event = self._events.get(timeout=timeout_s)
            yield event
            if isinstance(event, events.HangUp):
                return

    def hang_up(self) -> CallRecord:
        """End the call and wait until it is over."""
        return asyncio.run_coroutine_threadsafe(self.call.hang_up(), self._loop).result()


def _fail(ready: Future[AgentCall], ended: Future[None]) -> None:
    """A call that never began: whoever waits for it learns why."""
    if not ready.done():
        ready.set_exception(ended.exception() or RuntimeError("the call never began"))
