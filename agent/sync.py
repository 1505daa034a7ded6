"""`Agent` for programs without asyncio: its event loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from stretto.agent import events
from stretto.agent.agent import SYSTEM, Agent, AgentCall
from stretto.agent.call import SessionOptions
from stretto.agent.caller_id import CallInformation
from stretto.agent.hearing import Recogniser
from stretto.agent.keypad import check_key
from stretto.agent.speaking import Sink, Voice
from stretto.agent.timeline import CallRecord
from stretto.audio.pcm import RATE, Int16
from stretto.llm.language_model import LanguageModel
from stretto.tools.mcp import McpServers
from stretto.tools.runner import AnyTool

if TYPE_CHECKING:
    from stretto.agent.server.opening import ServeOptions
    from stretto.agent.settings import MqttSettings

T = TypeVar("T")
EVENTS = 2000
"""Events that wait for a slow reader at most; the oldest are dropped."""


class SyncAgent:
    """As `Agent`, with the same arguments; enter it with `with`. Safe to use from several threads.

    `play` of a call is called in the loop's thread: it must return at once.
    """

    def __init__(
        self,
        system: str = SYSTEM,
        tools: Sequence[Callable[..., Any] | AnyTool | McpServers] = (),
        *,
        model: LanguageModel | str | Path | None = None,
        recogniser: Recogniser | str | Path | None = None,
        voice: Voice | str | Path | None = None,
        facts: str | Path | None = None,
        options: SessionOptions | None = None,
        bias: Sequence[str] = (),
        mqtt: MqttSettings | str | None = None,
    ) -> None:
        self.agent = Agent(
            system,
            tools,
            model=model,
            recogniser=recogniser,
            voice=voice,
            facts=facts,
            options=options,
            bias=bias,
            mqtt=mqtt,
        )
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
        self,
        play: Sink,
        *,
        rate: int | None = None,
        transcript: str | Path | None = None,
        information: CallInformation | None = None,
        journal: str | Path | None = None,
    ) -> Iterator[SyncCall]:
        """As `Agent.call`."""
        held = SyncCall(self._loop)
        call = self.agent.call(
            play, rate=rate, transcript=transcript, information=information, journal=journal
        )
        with self._entered(self._watched(held, call)):
            yield held

    @asynccontextmanager
    async def _watched(
        self, held: SyncCall, call: AbstractAsyncContextManager[AgentCall]
    ) -> AsyncIterator[None]:
        async with call as held.call:
            held.call.session.watch(held.put)
            yield

    @contextmanager
    def serving(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        keys: Sequence[str] = (),
        **options: Unpack[ServeOptions],
    ) -> Iterator[str]:
        """As `Agent.serving`; what it calls runs in the agent's thread."""
        with self._entered(self.agent.serving(host, port, keys, **options)) as url:
            yield url

    @contextmanager
    def _entered(self, block: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """What is held by one task of the loop, from its beginning to its end, while the block runs here."""
        ready: Future[T] = Future()
        left = asyncio.Event()

        async def hold() -> None:
            async with block as value:
                ready.set_result(value)
                await left.wait()

        done = asyncio.run_coroutine_threadsafe(hold(), self._loop)
        done.add_done_callback(lambda ended: _fail(ready, ended))
        value = ready.result()
        try:
            yield value
        finally:
            self._loop.call_soon_threadsafe(left.set)
            done.result()

    def answer(self, recording: str | Path, record: str | Path | None = None) -> CallRecord:
        """As `Agent.answer`."""
        return self._do(self.agent.answer(recording, record))


class SyncCall:
    """As `AgentCall`, from any thread."""

    call: AgentCall

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
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

    def press(self, key: str) -> None:
        """The caller pressed a key of the telephone. Raises ValueError for what is no key."""
        check_key(key)
        self._loop.call_soon_threadsafe(self.call.press, key)

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

    def wait(self, timeout_s: float | None = None) -> CallRecord:
        """Until somebody hangs up. Raises TimeoutError."""
        return asyncio.run_coroutine_threadsafe(self.call.wait(timeout_s), self._loop).result()

    def hang_up(self) -> CallRecord:
        """End the call and wait until it is over."""
        return asyncio.run_coroutine_threadsafe(self.call.hang_up(), self._loop).result()


def _fail(ready: Future[T], ended: Future[None]) -> None:
    """What never began: whoever waits for it learns why."""
    if not ready.done():
        ready.set_exception(ended.exception() or RuntimeError("it never began"))
