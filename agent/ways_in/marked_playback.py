"""The agent's voice on a line that buffers it and tells by marks how far it has played: Twilio's streams.

The marks are the playback clock: what counts as heard, when the agent has finished, and so when it hangs up,
follow the telephone and not what was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from stretto.agent.realtime.audio_format import Encoder
from stretto.agent.speaking import Utterance
from stretto.audio.g711 import G711_RATE
from stretto.audio.pcm import Int16
from stretto.audio.playback import Playback
from stretto.audio.synthesise import Chunk

log = logging.getLogger("stretto.server")

ECHO_S = 4.0
"""A mark that is overdue by so much never comes back: from then on time alone tells what was played."""
STEP_S, SHORTEST_STEP_S = 0.02, 0.002
"""How often the clock is looked at: at least, and at most."""


class MarkedLine(Protocol):
    """The other end: it plays what it gets in order, and gives every mark back once it has come to it."""

    def media(self, payload: str) -> None:
        """Audio, µ-law in base64."""
        ...

    def mark(self, name: str) -> None: ...
    def clear(self) -> None:
        """Forget what waits to be played."""
        ...


class MarkClock:
    """How much of an utterance was played, s. Pure: `now` is seconds.

    Between two marks time tells, but never more than the next mark that is still out.
    """

    def __init__(self) -> None:
        self.sent = 0.0
        """Audio of the utterance that was sent, s."""
        self._out: deque[tuple[str, float]] = deque()
        self._anchor = (0.0, 0.0)  # played up to here, at that time
        self._played = 0.0
        self._count = 0
        self._deaf = False

    @property
    def waiting(self) -> bool:
        """Marks are out."""
        return bool(self._out)

    def begin(self, now: float) -> None:
        """Another utterance: nothing of it was sent; marks that are out are void."""
        self.sent = self._played = 0.0
        self._out.clear()
        self._anchor = (0.0, now)

    def mark(self) -> str:
        """Name of a mark behind all that was sent."""
        self._count += 1
        name = str(self._count)
        self._out.append((name, self.sent))
        return name

    def echoed(self, name: str, now: float) -> bool:
        """A mark came back; False for one that is not out (any more)."""
        place = next((position for out, position in self._out if out == name), None)
        if place is None:
            return False
        while self._out.popleft()[0] != name:
            pass
        self._deaf = False
        self._anchor = (place, now)
        return True

    def played(self, now: float) -> float:
        """Never goes back within an utterance."""
        if self._out and not self._deaf:
            played, at = self._anchor
            due = at + self._out[0][1] - played
            if now - due > ECHO_S:
                log.warning("the line does not tell what it has played: time alone counts")
                self._deaf = True
                self._anchor = (self._out[0][1], due)
        played, at = self._anchor
        until = self._out[0][1] if self._out and not self._deaf else self.sent
        self._played = max(self._played, min(played + max(0.0, now - at), until))
        while self._deaf and self._out and self._out[0][1] < self._played:
            self._out.popleft()
        return self._played

    def finished(self, now: float) -> bool:
        """All that was sent is played."""
        return self.played(now) >= self.sent and (self._deaf or not self._out)


class MarkedPlayback:
    """A `PacedOutlet`: sends ahead, with a mark behind every piece, and paces by what comes back."""

    def __init__(self, line: MarkedLine, clock: Callable[[], float]) -> None:
        self._line = line
        self._clock = clock
        self._marks = MarkClock()
        self._encoder: Encoder | None = None
        self._taken = 0.0
        self._ended = True
        self._news = asyncio.Event()

    def echoed(self, name: str) -> None:
        """The line gave a mark back. Those of what was cleared are void, and so are unknown ones."""
        if self._marks.echoed(name, self._clock()):
            self._news.set()

    # ------------------------------------------------------------------ what is sent

    def begin(self, utterance: Utterance) -> None:
        self._clear()
        self._marks.begin(self._clock())
        self._taken, self._ended = 0.0, False

    def audio(self, utterance: Utterance, chunk: Chunk) -> None:
        if self._encoder is None:
            self._encoder = Encoder("audio/pcmu", chunk.rate)
        self._send(self._encoder.feed(chunk.pcm))

    def end(self, utterance: Utterance) -> None:
        encoder, self._encoder, self._ended = self._encoder, None, True
        if utterance.stopped:
            self._clear()
        elif encoder is not None:
            self._send(encoder.flush())

    def _send(self, payloads: list[str]) -> None:
        for payload in payloads:
            if not self._marks.waiting:  # nothing is being played: this mark comes back when the sound begins
                self._line.mark(self._marks.mark())
            self._line.media(payload)
            self._marks.sent += (len(payload) * 3 // 4 - payload.count("=")) / G711_RATE
            self._line.mark(self._marks.mark())

    def _clear(self) -> None:
        """Have the line forget what it has not played."""
        now = self._clock()
        if not self._marks.finished(now):
            self._line.clear()
            self._marks.begin(now)

    # ------------------------------------------------------------------ what was played

    async def pace(
        self, playback: Playback, write: Callable[[Int16, float], None], clock: Callable[[], float]
    ) -> None:
        """Take frames as the line plays them; in silence one every 20 ms."""
        while True:
            if not playback.playing:
                if self._ended:  # cut short after all of it had been sent
                    self._clear()
                write(playback.next_frame(), clock())
            while playback.playing and self._due(playback, clock()):
                before, now = playback.buffered_ms, clock()
                at = min(now, now - (self._marks.played(now) - self._taken))
                frame = playback.next_frame()
                self._taken += (before - playback.buffered_ms) / 1000
                write(frame, at)
            self._news.clear()
            ahead = self._taken - self._marks.played(clock()) if playback.playing else STEP_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(STEP_S, max(SHORTEST_STEP_S, ahead))):
                    await self._news.wait()

    def _due(self, playback: Playback, now: float) -> bool:
        """The line has come to the next frame; to have played the last one it must have played all."""
        if self._ended and self._marks.finished(now):
            return True
        last = self._ended and playback.buffered_ms <= playback.frame_ms
        return not last and self._marks.played(now) > self._taken
