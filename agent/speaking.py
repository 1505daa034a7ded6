"""The agent's voice: synthesis held back until released, paced playback, and what of it was heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from stretto.agent.timeline import TurnRecord
from stretto.audio.clauses import clauses
from stretto.audio.pcm import Int16
from stretto.audio.playback import Playback, pace
from stretto.audio.synthesise import Chunk

AUDIBLE = 200
"""Amplitude (of 32768) from which a sample counts as audible: the hiss of a voice stays below."""
AHEAD_MS = 20_000.0
"""Audio that waits to be played before the next clause is synthesised, ms: bounds the queue."""
LONGEST_S = 900.0
"""No utterance waits or lasts longer."""

Sink = Callable[[Int16, float], object]
"""Takes 20 ms of the agent's audio and the time (s, session's clock) at which its first sample is due."""


class Outlet(Protocol):
    """Takes the agent's words as soon as they may be heard and are made, ahead of the paced sink.

    For a line whose other end plays at its own pace: what was heard is still counted at the sink's.
    """

    def begin(self, utterance: Utterance) -> None: ...
    def audio(self, utterance: Utterance, chunk: Chunk) -> None: ...
    def end(self, utterance: Utterance) -> None:
        """All of it is made, or it was stopped (`Utterance.stopped`) or failed (`Utterance.error`)."""
        ...


@runtime_checkable
class PacedOutlet(Outlet, Protocol):
    """An outlet that knows what the other end has played: what was heard is counted as it says."""

    async def pace(
        self, playback: Playback, write: Callable[[Int16, float], None], clock: Callable[[], float]
    ) -> None:
        """As `stretto.audio.playback.pace`: frames are taken as they are played, until cancelled."""
        ...


class Voice(Protocol):
    """A synthesiser: `stretto.audio.synthesise.Synthesiser` is one."""

    @property
    def rate(self) -> int: ...
    def speak(self, clause: str) -> AsyncIterator[Chunk]: ...


@dataclass(eq=False)
class Utterance:
    """Something to say. After `Mouth.speak` returned, `heard` is what of it was played.

    Times are seconds on the session's clock. `complete`: played to its end. `error`: synthesis failed.
    `reply`: the number of the reply that it belongs to. `last`: as far as is known nothing follows in it.
    `message`: the history's, once it is there.
    """

    text: str
    record: TurnRecord
    canned: bool = False
    reply: int = 0
    last: bool = True
    heard: str = ""
    complete: bool = False
    stopped: bool = False
    error: Exception | None = None
    ready_at: float | None = None
    released_at: float | None = None
    audible_at: float | None = None
    heard_until: float | None = None
    message: dict[str, Any] | None = None
    synthesised: bool = False
    held: list[Chunk] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class VoiceListener(Protocol):
    """Who wants to know when the agent's voice is on the line."""

    def voice_released(self, utterance: Utterance) -> None: ...
    def voice_audible(self, utterance: Utterance) -> None: ...
    def voice_over(self, utterance: Utterance) -> None: ...


class Mouth:
    """One per call. At most one utterance is on the line; frames leave every 20 ms, silent ones too."""

    def __init__(
        self,
        voice: Voice,
        sink: Sink,
        clock: Callable[[], float],
        listener: VoiceListener,
        rate: int | None = None,
        timeout_s: float = 15.0,
        outlet: Outlet | None = None,
    ) -> None:
        self.playback = Playback(rate or voice.rate)
        self.current: Utterance | None = None
        self._voice = voice
        self._sink = sink
        self._clock = clock
        self._listener = listener
        self._outlet = outlet
        self._out: Utterance | None = None
        self._timeout_s = timeout_s
        self._recorded: dict[str, list[Chunk]] = {}
        self._played_until = 0.0

    async def run(self) -> None:
        """Send frames until cancelled. Raises what the sink raises: the line is gone then."""
        if isinstance(self._outlet, PacedOutlet):
            await self._outlet.pace(self.playback, self._write, self._clock)
        else:
            await pace(self.playback, self._write, self._clock)

    async def record(self, text: str) -> None:
        """Synthesise a sentence for later, so that it starts at once and even when the voice fails then."""
        if text and text not in self._recorded:
            chunks: list[Chunk] = []
            for clause in clauses(text):
                async with asyncio.timeout(self._timeout_s):
                    chunks.extend([chunk async for chunk in self._voice.speak(clause)])
            if chunks:  # none where the voice is muted: it may speak later
                self._recorded[text] = chunks

    async def speak(self, utterance: Utterance) -> Utterance:
        """Synthesise the first clause, wait for `release`, say all; returns when it was played or stopped.

        A failing voice ends the utterance early, with `error` set. Cancelling it silences it.
        """
        try:
            try:
                await self._synthesise(utterance)
            except Exception as error:
                utterance.error = error
            utterance.synthesised = True
            self._ended(utterance)
            if utterance.ready_at is None:
                utterance.ready_at = self._clock()
            async with asyncio.timeout(LONGEST_S):
                await utterance.released.wait()
                if utterance is self.current and not self.playback.playing:
                    self._finish(utterance, self._played_until)
                await utterance.over.wait()
        finally:
            if self.current is utterance:
                self.stop()
            utterance.held.clear()
        return utterance

    def release(self, utterance: Utterance) -> None:
        """Put an utterance on the line: what is held leaves with the next frame."""
        if utterance.released.is_set():
            return
        self.stop()
        self.current = utterance
        utterance.released_at = self._clock()
        utterance.released.set()
        if self._outlet is not None:
            self._out = utterance
            self._outlet.begin(utterance)
        for chunk in utterance.held:
            self._put(utterance, chunk)
        utterance.held.clear()
        if utterance.synthesised:
            self._ended(utterance)
        self._listener.voice_released(utterance)

    def abandon(self, utterance: Utterance) -> None:
        """Never say it; `speak` returns."""
        utterance.stopped = True
        utterance.released.set()
        utterance.over.set()

    def stop(self) -> Utterance | None:
        """Silence what is on the line, at once; it is returned with what was heard of it."""
        utterance = self.current
        if utterance is None:
            return None
        utterance.heard = self.playback.heard(utterance).text
        self.playback.stop()
        utterance.stopped = True
        self._over(utterance, self._played_until)
        return utterance

    async def _synthesise(self, utterance: Utterance) -> None:
        recorded = self._recorded.get(utterance.text)
        if recorded is not None:
            for chunk in recorded:
                self._take(utterance, chunk)
            return
        for number, clause in enumerate(clauses(utterance.text)):
            if number:  # only the first clause is worth its time before it is known that it will be said
                async with asyncio.timeout(LONGEST_S):
                    await utterance.released.wait()
                await asyncio.sleep(max(0.0, self.playback.buffered_ms - AHEAD_MS) / 1000)
            if utterance.stopped:
                return
            async with asyncio.timeout(self._timeout_s):
                async for chunk in self._voice.speak(clause):
                    self._take(utterance, chunk)

    def _take(self, utterance: Utterance, chunk: Chunk) -> None:
        if utterance.ready_at is None:
            utterance.ready_at = self._clock()
        if self.current is utterance:
            self._put(utterance, chunk)
        elif not utterance.stopped:
            utterance.held.append(chunk)

    def _put(self, utterance: Utterance, chunk: Chunk) -> None:
        self.playback.enqueue(chunk, utterance)
        if self._outlet is not None:
            self._outlet.audio(utterance, chunk)

    def _ended(self, utterance: Utterance) -> None:
        """Tell the outlet, once, that nothing more of this utterance comes."""
        if self._outlet is not None and self._out is utterance:
            self._out = None
            self._outlet.end(utterance)

    def _write(self, frame: Int16, at: float) -> None:
        self._sink(frame, at)
        self._played_until = at + len(frame) / self.playback.rate
        utterance = self.current
        if utterance is None:
            return
        if utterance.audible_at is None:
            loud = np.flatnonzero(np.abs(frame.astype(np.int32)) > AUDIBLE)
            if len(loud):
                utterance.audible_at = at + int(loud[0]) / self.playback.rate
                self._listener.voice_audible(utterance)
        if self.current is utterance and utterance.synthesised and not self.playback.playing:
            self._finish(utterance, self._played_until)

    def _finish(self, utterance: Utterance, at: float) -> None:
        utterance.complete = utterance.error is None
        # All was played: words without a sound of their own (a dash) were heard as well.
        utterance.heard = utterance.text if utterance.complete else self.playback.heard(utterance).text
        self.playback.forget()
        self._over(utterance, at)

    def _over(self, utterance: Utterance, at: float) -> None:
        utterance.heard_until = at
        self.current = None
        utterance.released.set()
        utterance.over.set()
        self._ended(utterance)
        self._listener.voice_over(utterance)
