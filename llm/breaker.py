"""When a server that keeps failing is left alone for a while: a circuit breaker, pure.

`feed(event, now)`, where `now` is seconds on any monotonic clock. Closed, requests go. After `failures` of
them in a row it opens and refuses at once; after `pause_s` one request at a time may try whether the server
is back (half-open): a success closes the breaker, a failure opens it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RequestEvent(Enum):
    """What became of a request. `LEFT`: it ended without saying anything about the server's health."""

    ASKED = "asked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LEFT = "left"


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class BreakerOptions:
    """`failures` in a row that open it, and seconds until it is tried again. Raises ValueError."""

    failures: int = 5
    pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.failures < 1 or self.pause_s < 0:
            raise ValueError(f"a breaker needs failures >= 1 and pause_s >= 0, not {self}")


class Breaker:
    """One per server, shared by all its conversations."""

    def __init__(self, options: BreakerOptions | None = None) -> None:
        self.options = options or BreakerOptions()
        self.state = BreakerState.CLOSED
        self._failures = 0
        self._opened = 0.0
        self._trying = False

    def feed(self, event: RequestEvent, now: float) -> bool:
        """Take an event at `now` seconds; for `ASKED`: whether the request may go (else nothing is noted)."""
        match event:
            case RequestEvent.ASKED:
                return self._ask(now)
            case RequestEvent.SUCCEEDED:
                # Also one that began before the breaker opened shows that the server is back.
                self.state, self._failures, self._trying = BreakerState.CLOSED, 0, False
            case RequestEvent.FAILED:
                self._fail(now)
            case RequestEvent.LEFT:
                self._trying = False
        return True

    def wait_s(self, now: float) -> float:
        """Seconds until a request may go again, 0 if it may go now."""
        return max(0.0, self._opened + self.options.pause_s - now) if self.state is BreakerState.OPEN else 0.0

    def _ask(self, now: float) -> bool:
        if self.state is BreakerState.OPEN and self.wait_s(now) <= 0:
            self.state, self._trying = BreakerState.HALF_OPEN, False
        if self.state is BreakerState.HALF_OPEN and not self._trying:
            self._trying = True
            return True
        return self.state is BreakerState.CLOSED

    def _fail(self, now: float) -> None:
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or (
            self.state is BreakerState.CLOSED and self._failures >= self.options.failures
        ):
            self.state, self._opened, self._trying = BreakerState.OPEN, now, False
