"""The simulated caller on the line: listens to the agent, takes turns like a person, speaks in real time."""

from __future__ import annotations

import asyncio
import copy
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from stretto.agent import events
from stretto.audio.pcm import FRAME, RATE, Frame, Int16
from stretto.demo.caller_voice import AUDIBLE, CallerVoice, Pause, Spoken

FRAME_S = FRAME / RATE
GAP_S = (0.4, 0.9)
"""A person answers so long after the other one stopped."""
HOLD_S = 5.0
"""Asked to hold on, the caller waits so long for what follows."""
UNSURE_S = 1.5
"""Silence after which an utterance counts as over even if nobody said so."""
DEAD_S = 25.0
"""Nothing heard for so long: the caller hangs up."""
FAREWELL_S = 4.0
"""After goodbye the caller stays so long for the agent's."""
TALKING_S = 0.15
"""An agent audible so shortly before the caller's end is still talking."""
_HOLD = re.compile(
    r"\b(moment|second|hold on|let me (check|see|look)|bear with|just a|one minute)\b", re.IGNORECASE
)


class Words(Protocol):
    """What the caller says next; `hang_up` ends the call."""

    @property
    def text(self) -> str: ...
    @property
    def hang_up(self) -> bool: ...


class Mind(Protocol):
    """Knows what to say; `stretto.tools.concierge.caller.TextCaller` is one. It may be copied."""

    def open(self) -> Words: ...
    def reply(self, agent_text: str) -> Words: ...


class Line(Protocol):
    """Where the caller's frames go: a session."""

    def hear(self, frame: Frame) -> None: ...
    async def hang_up(self) -> None: ...


@dataclass(eq=False)
class CallerTurn:
    """What the caller said and when, seconds on the session's clock; the end is that of the clean sound."""

    text: str
    start: float
    end: float
    pauses: tuple[Pause, ...]


@dataclass(eq=False)
class _AgentWords:
    text: str
    over: bool = False


@dataclass(eq=False)
class _Answer:
    """What the caller would say after these words, and the caller's mind after saying it."""

    heard: str
    mind: Mind
    words: Words
    spoken: Spoken | None


class SpokenCaller:
    """One call's caller. It reads only the words that the agent spoke.

    Give its tasks (`send`, `listen`, `converse`) to a task group, and what the agent plays to `hear_agent`.
    """

    def __init__(
        self,
        mind: Mind,
        voice: CallerVoice,
        line: Line,
        clock: Callable[[], float],
        *,
        rng: random.Random,
        sent: Callable[[Int16, float], None],
        said: Callable[[CallerTurn], None] | None = None,
    ) -> None:
        self.turns: list[CallerTurn] = []
        self._mind = mind
        self._voice = voice
        self._line = line
        self._clock = clock
        self._rng = rng
        self._sent = sent
        self._said = said
        self._noise = voice.noise()
        self._noise_at = 0
        self._speech: Int16 | None = None
        self._position = 0
        self._done = asyncio.Event()
        self._words: list[_AgentWords] = []
        self._agent_until = clock()
        self._answer: asyncio.Task[_Answer] | None = None
        self._answering = ""

    # ------------------------------------------------------------------ what is heard

    def hear_agent(self, pcm: Int16, at: float, rate: int) -> None:
        """A frame of the agent's audio, heard from `at` (s) on."""
        loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > AUDIBLE)
        if len(loud):
            self._agent_until = at + (int(loud[-1]) + 1) / rate

    async def listen(self, happened: AsyncIterator[events.Event]) -> None:
        """Take the agent's words from the session's events; nothing else of them."""
        async for event in happened:
            if isinstance(event, events.AgentSpeaking):
                self._words.append(_AgentWords(event.text))
            elif isinstance(event, events.AgentHeard) and self._words:
                self._words[-1].over = True
                if not event.complete and self._words[-1].text != event.text:
                    self._words[-1].text = event.text

    def _heard(self) -> str:
        return " ".join(words.text for words in self._words if words.text)

    def _finished(self, gap: float) -> bool:
        """The agent has said all and the caller's gap has passed."""
        silence = self._clock() - self._agent_until
        if not self._words or silence < gap or (not self._words[-1].over and silence < UNSURE_S):
            return False
        waiting = _HOLD.search(self._words[-1].text) and "?" not in self._words[-1].text
        return not waiting or silence >= HOLD_S

    # ------------------------------------------------------------------ what is sent

    async def send(self) -> None:
        """20 ms every 20 ms, speech or not, until cancelled; the line's noise is always there."""
        began, count = self._clock(), 0
        while True:
            at = began + count * FRAME_S
            # A frame leaves when its last sample has been spoken.
            if (wait := at + FRAME_S - self._clock()) > 0:
                await asyncio.sleep(wait)
            frame = self._next(at)
            self._sent(frame, at)
            self._line.hear(Frame(frame, at))
            count += 1

    def _next(self, at: float) -> Int16:
        if self._speech is not None and self._position == 0:
            # The same noise under the same words: a seed sounds the same however long the agent took.
            self._noise_at = len(self.turns) * RATE
        where = range(self._noise_at, self._noise_at + FRAME)
        frame = np.take(self._noise, where, mode="wrap").astype(np.int32)
        self._noise_at += FRAME
        if self._speech is not None:
            if self._position == 0:
                self.turns[-1].start = at
                self.turns[-1].end = at + len(self._speech) / RATE
            piece = self._speech[self._position : self._position + FRAME]
            frame[: len(piece)] += piece
            self._position += FRAME
            if self._position >= len(self._speech):
                self._speech = None
                self._done.set()
        return np.clip(frame, -32768, 32767).astype(np.int16)

    async def _speak(self, spoken: Spoken) -> None:
        """Say it to its end: whoever speaks into a pause is not listened to."""
        self.turns.append(CallerTurn(spoken.text, self._clock(), self._clock(), spoken.pauses))
        self._done.clear()
        self._speech, self._position = spoken.pcm, 0
        if self._said is not None:
            self._said(self.turns[-1])
        async with asyncio.timeout(len(spoken.pcm) / RATE + 30):
            await self._done.wait()
        if self._clock() - self._agent_until > TALKING_S:
            self._words.clear()  # what the agent said meanwhile was no answer

    # ------------------------------------------------------------------ what is said

    async def converse(self) -> None:
        """Talk until there is nothing more to say, then hang up."""
        try:
            while True:
                answer = await self._turn()
                if answer is None:
                    break
                self._mind = answer.mind
                self._words.clear()
                if answer.spoken is not None:
                    await self._speak(answer.spoken)
                if answer.words.hang_up:
                    await self._farewell(answer.spoken is not None)
                    break
        finally:
            if self._answer is not None:
                self._answer.cancel()
        await self._line.hang_up()

    async def _turn(self) -> _Answer | None:
        """Wait for the end of the agent's turn; the answer is prepared meanwhile. None: the line is dead."""
        gap, since = self._rng.uniform(*GAP_S), self._clock()
        while True:
            heard = self._heard()
            if heard and heard != self._answering:
                self._prepare(heard)
            if self._finished(gap) and self._answer is not None and self._answer.done():
                answer, self._answer, self._answering = self._answer.result(), None, ""
                return answer
            if self._clock() - max(since, self._agent_until) > DEAD_S:
                return None
            await asyncio.sleep(FRAME_S)

    def _prepare(self, heard: str) -> None:
        if self._answer is not None:
            self._answer.cancel()
        self._answering = heard
        self._answer = asyncio.create_task(self._think(heard))

    async def _think(self, heard: str) -> _Answer:
        mind = copy.deepcopy(self._mind)
        words = mind.reply(heard) if self.turns else mind.open()
        paused = sum(bool(turn.pauses) for turn in self.turns)
        spoken = await self._voice.speak(words.text, len(self.turns), paused) if words.text else None
        return _Answer(heard, mind, words, spoken)

    async def _farewell(self, spoke: bool) -> None:
        """Let the agent say goodbye, or have a moment of silence."""
        for _ in range(int((FAREWELL_S if spoke else 0.5) / FRAME_S)):
            if self._finished(0.3):
                break
            await asyncio.sleep(FRAME_S)
