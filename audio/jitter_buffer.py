"""Audio between the event loop that writes it evenly and a device callback that takes it. No device in it."""

from __future__ import annotations

from collections import deque

import numpy as np
from stretto.audio.pcm import Int16

SILENT = 8
"""Amplitude (of 32768) below which audio may be left out or doubled without being missed."""


class JitterBuffer:
    """Bounded, one writer and one reader, who may be two threads: nobody ever waits for a lock.

    After it ran dry it hands out silence until `target` samples wait. Writer and reader have clocks of their
    own: what waits is brought back to about `target` by leaving out or doubling silent pieces. Beyond `limit`
    samples, pieces are lost and counted.
    """

    def __init__(self, target: int, limit: int) -> None:
        if not 0 < target < limit:
            raise ValueError(f"the target lies between 0 and the limit of {limit} samples, not at {target}")
        self.underruns = 0
        """How often the reader found too little in the middle of sound."""
        self.dropped = 0
        """Samples lost because too many waited."""
        self._target, self._limit = target, limit
        self._pieces: deque[Int16] = deque()
        self._rest: Int16 = np.zeros(0, np.int16)
        self._put = 0  # the writer's alone
        self._taken = 0  # the reader's alone
        self._flowing = False
        self._sounding = False

    @property
    def waiting(self) -> int:
        """Samples that wait."""
        return self._put - self._taken

    def put(self, pcm: Int16) -> None:
        """Append a piece, int16 of any length."""
        if not len(pcm):
            return
        silent = int(np.abs(pcm.astype(np.int32)).max()) < SILENT
        if silent and self.waiting >= self._target + len(pcm):
            return
        if self.waiting + len(pcm) > self._limit:
            self.dropped += len(pcm)
            return
        self._append(pcm)
        if silent and self.waiting <= self._target // 2:
            self._append(pcm)
        self._sounding = not silent

    def _append(self, pcm: Int16) -> None:
        self._pieces.append(pcm)
        self._put += len(pcm)

    def take(self, count: int) -> Int16:
        """The next `count` samples; silence for what is not there."""
        out = np.zeros(count, np.int16)
        if not self._flowing:
            if self.waiting < self._target:
                return out
            self._flowing = True
        filled = 0
        while filled < count:
            if not len(self._rest):
                try:
                    self._rest = self._pieces.popleft()
                except IndexError:
                    self._flowing = False
                    self.underruns += self._sounding
                    break
            piece, self._rest = self._rest[: count - filled], self._rest[count - filled :]
            out[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._taken += filled
        return out
