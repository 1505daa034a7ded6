"""Push-to-talk in a terminal, which tells when a key goes down but never when it comes up.

A key that is held repeats: first after 250 to 660 ms, then every 30 to 50 ms. So one key can do both: held,
the line is open until the repeats stop; tapped, it is open until the next tap.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from enum import Enum

from stretto.agent.cli import UsageError

REPEAT_S = 0.1
"""Presses closer than this are a held key: fingers are slower."""
FIRST_REPEAT_S = 0.75
"""A second press within this may be a tap or the first repeat; the one after it tells."""
RELEASE_S = 0.25
"""A held key that repeats no more for so long was let go."""


class Line(Enum):
    """What the key did to the line."""

    CLOSED = "closed"
    TAPPED = "tapped"
    DOUBTFUL = "doubtful"
    HELD = "held"


class PushToTalk:
    """A pure machine: presses in, at any time whether the line is open. Times are seconds, monotonic."""

    def __init__(self) -> None:
        self._line = Line.CLOSED
        self._opened = 0.0
        self._last = float("-inf")

    def press(self, now: float) -> None:
        """The key went down, or repeats."""
        open_now, gap, self._last = self.talking(now), now - self._last, now
        if not open_now:
            self._line, self._opened = Line.TAPPED, now
        elif self._line is Line.HELD or gap < REPEAT_S:
            self._line = Line.HELD
        elif now - self._opened < FIRST_REPEAT_S:
            self._line = Line.DOUBTFUL
        else:
            self._line = Line.CLOSED

    def talking(self, now: float) -> bool:
        """The line is open."""
        quiet = now - self._last
        if (self._line is Line.HELD and quiet > RELEASE_S) or (
            self._line is Line.DOUBTFUL and quiet > REPEAT_S
        ):
            self._line = Line.CLOSED
        return self._line is not Line.CLOSED


def check_keys() -> None:
    """Raises `UsageError` where no keys can be read."""
    try:
        import termios  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("--push-to-talk reads single keys, which this system's terminal cannot") from error
    if not sys.stdin.isatty():
        raise UsageError("--push-to-talk reads the space bar: standard input must be a terminal")


@contextlib.contextmanager
def space_bar(pressed: Callable[[], None]) -> Iterator[None]:
    """Call `pressed` on the running loop for every press of the space bar; other keys do nothing."""
    import termios
    import tty

    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read() -> None:
        keys = os.read(terminal, 256)
        if not keys:  # the terminal is gone
            loop.remove_reader(terminal)
        for _ in range(keys.count(b" ")):
            pressed()

    tty.setcbreak(terminal)  # Ctrl-C still interrupts
    loop.add_reader(terminal, read)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
