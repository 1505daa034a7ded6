"""Both sides of a call on one clock, as one stereo file: the caller left, the agent right."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import cast

import numpy as np
import soxr
from stretto.audio.pcm import RATE, Int16, write_wav

SLACK_S = 0.02
"""What a listener's buffer forgives: an agent's frame that comes later than this makes a gap."""

RATE_OUT = 24_000
"""Sample rate of recordings, Hz."""


class StereoRecorder:
    """Collects what was sent and what was played, with times on `clock` (seconds, monotonic).

    The agent's frames are laid where a listener hears them: a frame that comes too late leaves a gap of
    silence (an under-run) and delays what follows, until the agent is silent again. `rate`: of the file and
    of the agent's frames, Hz; the caller's are 16 kHz.
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.underruns = 0
        self._clock = clock
        self._caller: list[tuple[float, Int16]] = []
        self._agent: list[tuple[float, Int16]] = []
        self._free = float("-inf")

    def caller(self, pcm: Int16, at: float) -> None:
        """int16 at 16 kHz whose first sample the caller's telephone sent at `at` (s)."""
        self._caller.append((at, pcm))

    def agent(self, pcm: Int16, at: float) -> float:
        """int16 at `rate`, due at `at` (s) and there now; returns when it is heard (s)."""
        played = max(at, self._free)
        if (now := self._clock()) > played + SLACK_S and pcm.any():
            self.underruns += 1
            played = now
        if pcm.any():
            self._agent.append((played, pcm))
            self._free = played + len(pcm) / self.rate
        return played

    def agent_heard(self, pcm: Int16, at: float) -> None:
        """int16 at `rate` that a listener is known to have heard from `at` (s) on."""
        if pcm.any():
            self._agent.append((at, pcm))

    def stereo(self, started: float) -> Int16:
        """int16 of shape (n, 2) at `rate`; sample 0 is at `started` (s). What lies before it is left out."""
        caller = lay(self._caller, started, RATE)
        if self.rate != RATE and len(caller):
            caller = cast(Int16, soxr.resample(caller, RATE, self.rate))
        agent = lay(self._agent, started, self.rate)
        both = np.zeros((max(len(caller), len(agent)), 2), np.int16)
        both[: len(caller), 0] = caller
        both[: len(agent), 1] = agent
        return both

    def save(self, path: str | PathLike[str], started: float) -> Int16:
        """Write the stereo WAV file and return its samples."""
        both = self.stereo(started)
        write_wav(path, both, self.rate)
        return both


def lay(pieces: list[tuple[float, Int16]], started: float, rate: int) -> Int16:
    """One channel from pieces with their times; silence between them."""
    placed: list[tuple[int, Int16]] = []
    following = 0
    for at, pcm in pieces:
        start = round((at - started) * rate)
        if placed and abs(start - following) <= 2:
            start = following  # rounding must not tear what belongs together
        following = start + len(pcm)
        placed.append((start, pcm))
    # Nothing lies after `started` where every piece ends before it.
    channel = np.zeros(max([0, *(start + len(pcm) for start, pcm in placed)]), np.int16)
    for start, pcm in placed:
        pcm = pcm[max(0, -start) :]
        start = max(0, start)
        channel[start : start + len(pcm)] = pcm
    return channel
