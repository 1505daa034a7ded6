"""A stage for whole calls in virtual time: scripted caller, voice and model around a real session.

The turn machine, playback, tool runner and session are the real ones. Seconds pass in microseconds.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from stretto.agent.call import SessionOptions
from stretto.agent.events import Event
from stretto.agent.session import Session
from stretto.agent.timeline import CallRecord
from stretto.audio.pcm import FRAME, RATE, Frame
from stretto.audio.recognise import Partial, Transcript
from stretto.audio.synthesise import Chunk, Word
from stretto.audio.vad import SpeechEnded, SpeechStarted
from stretto.llm.language_model import AUTO, Call, Canvas, Draft, Settled, ToolChoice, TurnSignal


class VirtualSelector(selectors.DefaultSelector):
    """Never waits for time: the clock jumps to the next timer. It stands still while a thread works."""

    now = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(5.0)
        ready = super().select(5.0 if self.threads and timeout > 0 else 0)
        if not ready and timeout > 0:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time` is virtual and starts at 100 s."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return 100.0 + self._virtual.now

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> Any:
        future = super().run_in_executor(executor, function, *args)
        self._virtual.threads += 1
        future.add_done_callback(self._one_less)
        return future

    def _one_less(self, _: Any) -> None:
        self._virtual.threads -= 1


def run_virtual(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


@dataclass(frozen=True)
class Says:
    """The caller speaks from `start` to `end` (s after the pick-up); the recogniser hears `text`."""

    start: float
    end: float
    text: str


class ScriptedVAD:
    """Reports a start 0.1 s into each piece of speech and an end 0.12 s after it."""

    def __init__(self, script: Sequence[Says], started: Callable[[], float]) -> None:
        self._script, self._started = script, started
        self._told: set[tuple[float, str]] = set()

    def feed(self, frame: Frame) -> list[SpeechStarted | SpeechEnded]:
        now = frame.at + FRAME / RATE - self._started()
        found: list[SpeechStarted | SpeechEnded] = []
        for says in self._script:
            for due, kind in ((says.start + 0.1, "start"), (says.end + 0.12, "end")):
                if now + 1e-9 >= due and (due, kind) not in self._told:
                    self._told.add((due, kind))
                    at = self._started() + (says.start if kind == "start" else says.end)
                    found.append(SpeechStarted(at) if kind == "start" else SpeechEnded(at))
        return found

    def reset(self) -> None:
        pass


@dataclass
class ScriptedRecogniser:
    """Hears the words of the script that lie in the audio it was fed."""

    script: Sequence[Says]
    started: Callable[[], float]
    delay: float = 0.15
    broken: Exception | None = None
    opened: int = 0
    closed: int = 0

    def open(self, bias: Sequence[str] = ()) -> ScriptedRecognition:
        self.opened += 1
        return ScriptedRecognition(self)


class ScriptedRecognition:
    def __init__(self, owner: ScriptedRecogniser) -> None:
        self.paused = False
        self._owner = owner
        self._first: float | None = None
        self._frames = 0

    def feed(self, frame: Frame) -> list[Partial]:
        if self._first is None:
            self._first = frame.at
        self._frames += 1
        if self._frames % 20 or self.paused:
            return []
        return [Partial("", self._words(frame.at), frame.at)]

    def _words(self, end: float) -> str:
        assert self._first is not None
        start, first = self._owner.started(), self._first
        inside = [
            s for s in self._owner.script if s.start + start >= first - 0.3 and s.end + start <= end + 0.01
        ]
        return " ".join(s.text for s in inside if s.text)

    async def final(self, end: float | None = None) -> Transcript:
        await asyncio.sleep(self._owner.delay)
        if self._owner.broken is not None:
            raise self._owner.broken
        assert end is not None
        return Transcript(self._words(end), 0.9, 0.0, self._owner.delay * 1000, 1.0)

    def close(self) -> None:
        self._owner.closed += 1


@dataclass
class ScriptedVoice:
    """A quarter of a second of tone for every word."""

    rate: int = 16_000
    delay: float = 0.05
    broken: Exception | None = None
    spoken: list[str] = field(default_factory=list)

    async def speak(self, clause: str) -> AsyncIterator[Chunk]:
        await asyncio.sleep(self.delay)
        if self.broken is not None:
            raise self.broken
        self.spoken.append(clause)
        words = [Word(text, 0.25 * n, 0.25 * (n + 1)) for n, text in enumerate(clause.split())]
        yield Chunk(np.full(len(words) * self.rate // 4, 4000, np.int16), self.rate, tuple(words))


Reply = str | Draft | Exception | Callable[["ScriptedConversation"], Any]


class ScriptedConversation:
    """Answers with the next reply of the script; remembers everything it was told, in order."""

    def __init__(self, owner: ScriptedModel) -> None:
        self._owner = owner
        self.log: list[tuple[Any, ...]] = []
        self.words = ""
        self.due: list[tuple[bool, int]] = []
        """What was said to be due or not, and how long the log was then."""
        self.closed = False
        self._busy = False
        self._revision = 0

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        self._enter()
        try:
            await asyncio.sleep(0.01)
            self.words = " ".join(f"{stable} {tentative}".split())
            self.log.append(("hear", self.words))
            return TurnSignal(self._owner.p_end_of_partial if tentative else self._owner.p_end, 0.5, 0.5)
        finally:
            self._busy = False

    async def draft(
        self, effort: str = "medium", deadline_ms: float | None = None, revise: Draft | None = None
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        self._enter()
        try:
            self._owner.drafts += 1
            if revise is not None:
                self._owner.revised.append((self.words, revise.text))
            reply = self._owner.next_reply(self)
            for forward in (1, 2):
                await asyncio.sleep(self._owner.pass_s)
                yield Canvas((None, "x"), forward)
            if isinstance(reply, Exception):
                raise reply
            self._revision += 1
            if isinstance(reply, str):
                reply = Draft(reply)
            draft = Draft(reply.text, reply.calls, 2, self._revision)
            self.log.append(("draft", self.words, draft.text, tuple(c.name for c in draft.calls)))
            yield draft
        finally:
            self._busy = False

    def _enter(self) -> None:
        assert not self._busy, "a conversation does one thing at a time"
        assert not self.closed
        self._busy = True

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        self._enter()
        self._busy = False
        self.log.append(("commit", draft.text, heard))

    async def say(self, text: str) -> None:
        self.log.append(("say", text))

    async def tool_result(self, call_id: str, content: str) -> None:
        self.log.append(("result", call_id, content))

    async def restore(self, messages: Sequence[Any]) -> None:
        self.log.append(("restore", [(m["role"], m["content"]) for m in messages]))

    def prioritise(self, due: bool) -> None:
        self.due.append((due, len(self.log)))

    def close(self) -> None:
        self.closed = True


@dataclass
class ScriptedModel:
    replies: list[Any]
    pass_s: float = 0.02
    p_end: float = 0.9
    p_end_of_partial: float = 0.1
    """Of words that the recogniser may still change: above a half, a reply is drafted while they are said."""
    drafts: int = 0
    revised: list[tuple[str, str]] = field(default_factory=list)
    by_words: dict[str, Any] = field(default_factory=dict)
    conversation: ScriptedConversation | None = None

    def open(self, system: str, tools: Sequence[Any], choice: ToolChoice = AUTO) -> ScriptedConversation:
        choice.check(tools)
        self.conversation, self.choice = ScriptedConversation(self), choice
        self.tools = [tool.name for tool in tools]
        self.system = system
        return self.conversation

    def next_reply(self, conversation: ScriptedConversation) -> Any:
        if conversation.words in self.by_words and conversation.log[-1][0] == "hear":
            return self.by_words[conversation.words]
        return self.replies.pop(0) if self.replies else "Is there anything else?"


@dataclass
class Stage:
    """One call. `until`: the caller hangs up then (s after the pick-up); `gone`: no frames from then on."""

    script: Sequence[Says] = ()
    replies: list[Any] = field(default_factory=list)
    by_words: dict[str, Any] = field(default_factory=dict)
    tools: Sequence[Any] = ()
    options: SessionOptions = field(default_factory=lambda: SessionOptions(greeting=""))
    until: float | None = None
    gone: float | None = None
    transcript_path: Any = None
    recogniser_delay: float = 0.15
    setup: Callable[[Stage], None] | None = None
    acts: Sequence[tuple[float, Callable[[Session], Any]]] = ()
    """What whoever leads the call does, and when (s after the pick-up)."""
    outlet: Any = None
    events: list[Event] = field(default_factory=list)
    audio: list[tuple[float, np.ndarray]] = field(default_factory=list)
    tasks_left: list[Any] = field(default_factory=list)

    def run(self) -> CallRecord:
        self.model = ScriptedModel(list(self.replies), by_words=self.by_words)
        self.voice = ScriptedVoice()
        self.recogniser = ScriptedRecogniser(self.script, lambda: self.session.started, self.recogniser_delay)
        return run_virtual(self._run())

    async def _run(self) -> CallRecord:
        loop = asyncio.get_running_loop()
        self.session = Session(
            recogniser=self.recogniser,
            synthesiser=self.voice,
            model=self.model,
            tools=self.tools,
            options=self.options,
            vad=ScriptedVAD(self.script, lambda: self.session.started),
            sink=lambda frame, at: self.audio.append((at - self.session.started, frame)),
            clock=loop.time,
            transcript_path=self.transcript_path,
            outlet=self.outlet,
        )
        if self.setup is not None:
            self.setup(self)
        events, picked_up = self.session.events(), self.session.events()
        async with asyncio.TaskGroup() as group:
            call = group.create_task(self.session.run())
            reader = group.create_task(self._read(events))
            caller = group.create_task(self._call(picked_up))
            await asyncio.wait([call])
            caller.cancel()
        self.tasks_left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert reader.done()
        return call.result()

    async def _read(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self.events.append(event)

    async def _call(self, picked_up: AsyncIterator[Event]) -> None:
        loop = asyncio.get_running_loop()
        async for _ in picked_up:
            break
        start, count = self.session.started, 0
        while True:
            at = count * 0.02
            await asyncio.sleep(max(0.0, start + at + 0.02 - loop.time()))
            for _, act in [(when, act) for when, act in self.acts if count == round(when / 0.02)]:
                done = act(self.session)
                if asyncio.iscoroutine(done):
                    await done
            if self.until is not None and at >= self.until:
                await self.session.hang_up()
                return
            if self.gone is None or at < self.gone:
                speaking = any(s.start <= at < s.end for s in self.script)
                self.session.hear(Frame(np.full(FRAME, 3000 if speaking else 0, np.int16), start + at))
            count += 1

    # what a test asks

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    def audible(self) -> list[float]:
        """Times (s) of the frames in which the agent is heard."""
        return [at for at, frame in self.audio if np.abs(frame.astype(int)).max() > 200]

    @property
    def log(self) -> list[tuple[Any, ...]]:
        assert self.model.conversation is not None
        return self.model.conversation.log


def calls(*named: tuple[str, dict[str, Any]], text: str = "", start: int = 0) -> Draft:
    return Draft(text, tuple(Call(f"c{start + n}", name, args) for n, (name, args) in enumerate(named)))


class Cast:
    """What the tests need from here: they cannot import it."""

    Stage = Stage
    Says = Says
    Model = ScriptedModel
    run_virtual = staticmethod(run_virtual)
    calls = staticmethod(calls)


@pytest.fixture
def cast() -> type[Cast]:
    return Cast
