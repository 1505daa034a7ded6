"""The time of a caller's audio on a line that need not keep to real time."""

from __future__ import annotations

import time
from collections.abc import Callable

GAP_S = 1.0
"""Audio that comes later than this after what came before begins anew; less is jitter of the network."""
AHEAD_S = 0.25
"""Audio may be so far ahead of the clock before the clock follows it."""


class StreamClock:
    """A monotonic clock (s) that runs with the audio: sent faster than it was spoken, it takes time along.

    So a recording that is sent at once is heard like a call, only sooner.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lead = 0.0
        self._end: float | None = None
        self._sent_s = 0.0

    def __call__(self) -> float:
        return self._clock() + self._lead

    def place(self, seconds: float) -> float:
        """When the next piece of audio, so many seconds long, was spoken: the time of its first sample."""
        now = self()
        if self._end is None or now - self._end > GAP_S:
            self._end = now - seconds
        begin = self._end
        self._end += seconds
        self._sent_s += seconds
        self._lead += max(0.0, self._end - now - AHEAD_S)
        return begin

    def position_ms(self, at: float) -> int:
        """Where in all the audio that was sent a time lies, ms."""
        if self._end is None:
            return 0
        return max(0, round((self._sent_s - (self._end - at)) * 1000))
