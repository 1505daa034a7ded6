"""The time of a device's samples, from callbacks that come late and in bursts. No device in it."""

from __future__ import annotations

from collections import deque

WINDOW_S = 5.0
"""Callbacks of so many seconds are looked at."""
JITTER_S = 0.010
"""Callbacks may contradict the times by so much: a moved time tears the stream for who compares samples."""
DRIFT_S = 0.040
"""So far the device's clock may run away before it is followed."""


class StreamClock:
    """One per stream: counts its samples, and says when the first one of every block was due.

    A sample that was captured cannot be younger than the callback that brought it; one that is played cannot
    be older than the callback that asked for it. The tightest of these bounds counts; late callbacks by up to
    `jitter_s` move nothing. All times are seconds on one monotonic clock.
    """

    def __init__(self, rate: int, *, playing: bool, jitter_s: float = JITTER_S) -> None:
        self._rate = rate
        self._sign = 1.0 if playing else -1.0
        self._jitter_s = jitter_s
        self._count = 0
        self._bounds: deque[tuple[float, float]] = deque()
        self._start: float | None = None

    def block(self, samples: int, called: float, silent: bool = True) -> float:
        """The time of the first sample of the next block, whose callback came at `called`.

        A clock that ran away is followed in a `silent` block only: there nobody hears it.
        """
        due = self._count / self._rate
        self._count += samples
        bound = self._sign * (called - due - (0.0 if self._sign > 0 else samples / self._rate))
        while self._bounds and self._bounds[0][0] < called - WINDOW_S:
            self._bounds.popleft()
        self._bounds.append((called, bound))
        if self._start is None or bound > self._start + self._jitter_s:
            self._start = bound
        elif silent and called - self._bounds[0][0] > WINDOW_S / 2:
            tightest = max(each for _, each in self._bounds)
            if tightest < self._start - DRIFT_S:
                self._start = tightest
        return self._sign * self._start + due

    def lost(self) -> None:
        """Samples were lost, or the stream begins only now: what was known does not hold any more."""
        self._bounds.clear()
        self._start = None
