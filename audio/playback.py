"""Paced playback that knows to the sample what has been heard. No device in it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import soxr
from stretto.audio.pcm import Int16
from stretto.audio.synthesise import Chunk, Word

FADE_MS = 5.0
"""Length of the ramps of `stop` and `duck`: short enough for a barge-in, long enough not to click."""

HISTORY = 1000
"""Played chunks that are remembered at most."""


class PlaybackFull(RuntimeError):
    """More audio than the buffer may hold; see `Playback.room`."""


@dataclass(frozen=True)
class Heard:
    """What was played: `samples` at the output rate, and the words of which more than half was played."""

    samples: int
    text: str
    words: tuple[Word, ...] = ()


@dataclass
class _Item:
    pcm: Int16
    words: list[tuple[int, Word]]
    """Words, each with the count of played samples from which on it counts as heard."""
    mark: object
    played: int = 0


class Playback:
    """A pure machine: chunks in, frames of `frame_ms` out, and at any time what has been heard.

    Bounded: at most `limit_s` seconds wait. A frame counts as heard when it was taken.
    """

    def __init__(self, rate_out: int = 22_050, frame_ms: int = 20, limit_s: float = 120.0) -> None:
        if rate_out * frame_ms % 1000:
            raise ValueError(f"{frame_ms} ms is no whole number of samples at {rate_out} Hz")
        self.rate = rate_out
        self.frame_ms = frame_ms
        self.frame_samples = rate_out * frame_ms // 1000
        self._limit = int(limit_s * rate_out)
        self._items: deque[_Item] = deque()
        self._done: deque[_Item] = deque(maxlen=HISTORY)
        self._buffered = 0
        self._gain = 1.0
        self._target = 1.0
        self._fading: Int16 = np.zeros(0, np.int16)

    @property
    def playing(self) -> bool:
        """Something waits to be played."""
        return self._buffered > 0

    @property
    def buffered_ms(self) -> float:
        """Audio that waits, ms."""
        return self._buffered * 1000 / self.rate

    def room(self) -> float:
        """Seconds of audio that still fit."""
        return max(0.0, (self._limit - self._buffered) / self.rate)

    def enqueue(self, chunk: Chunk, mark: object = None) -> None:
        """Append a chunk; `mark` tells later which reply it belongs to. Raises `PlaybackFull` beyond the
        limit."""
        pcm = chunk.pcm
        if chunk.rate != self.rate:
            pcm = cast(Int16, soxr.resample(pcm, chunk.rate, self.rate))
        if self._buffered and self._buffered + len(pcm) > self._limit:
            raise PlaybackFull(
                f"{self.buffered_ms:.0f} ms wait already, {len(pcm) * 1000 / self.rate:.0f} ms more do not "
                f"fit; wait until room() is large enough"
            )
        words = [(self._due(word, chunk, len(pcm)), word) for word in chunk.words]
        self._items.append(_Item(pcm, words, mark))
        self._buffered += len(pcm)

    def _due(self, word: Word, chunk: Chunk, length: int) -> int:
        """More than half of the word: one sample after its middle; rounding must not carry it past the
        chunk."""
        middle = ((word.start + word.end) / 2 - chunk.start) * self.rate
        return min(max(1, int(middle) + 1), length)

    def next_frame(self) -> Int16:
        """The next `frame_ms` of audio, int16[frame_samples]; silence where nothing waits."""
        frame = np.zeros(self.frame_samples, np.int16)
        filled = min(len(self._fading), self.frame_samples)
        frame[:filled], self._fading = self._fading[:filled], self._fading[filled:]
        start = filled
        while filled < self.frame_samples and self._items:
            item = self._items[0]
            piece = item.pcm[item.played : item.played + self.frame_samples - filled]
            frame[filled : filled + len(piece)] = piece
            filled += len(piece)
            item.played += len(piece)
            self._buffered -= len(piece)
            if item.played >= len(item.pcm):
                self._done.append(self._items.popleft())
        self._apply_gain(frame, start)
        return frame

    def _apply_gain(self, frame: Int16, start: int) -> None:
        """Scale `frame[start:]` in place, moving towards the wanted gain by a full swing in `FADE_MS`."""
        if self._gain == self._target == 1.0:
            return
        steps = np.arange(1, len(frame) - start + 1) / (FADE_MS * self.rate / 1000)
        if self._target < self._gain:
            gains = np.maximum(self._gain - steps, self._target)
        else:
            gains = np.minimum(self._gain + steps, self._target)
        if len(gains):
            frame[start:] = np.rint(frame[start:] * gains).astype(np.int16)
            self._gain = float(gains[-1])

    def duck(self, gain: float) -> None:
        """Play at `gain` (0..1) from now on; 1 restores. Takes effect over a few milliseconds."""
        if not 0.0 <= gain <= 1.0:
            raise ValueError(f"gain lies between 0 and 1, not {gain}")
        self._target = gain

    def stop(self) -> Heard:
        """Drop all that waits, at once, with a fade of 5 ms; what was heard since the last `stop` or
        `forget`."""
        heard = self.heard()
        count = int(FADE_MS * self.rate / 1000)
        if self._items:
            item = self._items[0]
            rest = item.pcm[item.played : item.played + count]
            ramp = np.linspace(self._gain, 0.0, len(rest), endpoint=False)
            self._fading = np.rint(rest * ramp).astype(np.int16)
        self._items.clear()
        self._buffered = 0
        self._gain = self._target = 1.0
        self.forget()
        return heard

    def forget(self) -> None:
        """Begin a new account of what is heard; what waits keeps waiting, and its played part is
        forgotten."""
        self._done.clear()
        if self._items and self._items[0].played:
            item = self._items[0]
            rest = [(due - item.played, word) for due, word in item.words if due > item.played]
            self._items[0] = _Item(item.pcm[item.played :], rest, item.mark)

    def heard(self, mark: object = None) -> Heard:
        """What was heard since the last `stop` or `forget`; with `mark`, of the chunks with that mark
        only."""
        samples = 0
        words: list[Word] = []
        for item in (*self._done, *self._items):
            if item.played == 0 and item.pcm.size:
                break
            if mark is None or item.mark == mark:
                samples += item.played
                words.extend(word for due, word in item.words if item.played >= due)
        return Heard(samples, " ".join(word.text for word in words), tuple(words))


async def pace(
    playback: Playback,
    write: Callable[[Int16, float], Awaitable[None] | None],
    clock: Callable[[], float],
    frame_ms: int | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Take a frame from `playback` every `frame_ms` and hand it to `write(frame, at)`, until cancelled.

    `at` is the time on `clock` (monotonic, seconds) at which the frame is due. Times are counted from the
    start, so they do not drift; after a stall the missed frames follow at once.
    """
    if frame_ms is not None and frame_ms != playback.frame_ms:
        raise ValueError(f"the playback cuts frames of {playback.frame_ms} ms, not of {frame_ms} ms")
    start, count = clock(), 0
    while True:
        at = start + count * playback.frame_ms / 1000
        if (wait := at - clock()) > 0:
            await sleep(wait)
        elif count % 50 == 0:
            await sleep(0)  # a long stall is made up for in pieces, the event loop stays alive
        written = write(playback.next_frame(), at)
        if written is not None:
            await written
        count += 1
