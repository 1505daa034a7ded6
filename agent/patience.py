"""How long the agent waits for a silent caller, and how long a call may last. Pure: no clock, no asyncio."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Prompt(Enum):
    """What to say when nothing happens."""

    STILL_THERE = "still_there"
    GOODBYE = "silence"
    TOO_LONG = "too_long"


@dataclass(frozen=True)
class PatienceOptions:
    """Seconds; after `prompts` unanswered questions the agent says goodbye."""

    silence_s: float = 8.0
    prompts: int = 3
    longest_call_s: float = 600.0


class Patience:
    """`feed` says what is due; a goodbye that was drowned out is said again, the longest call ends once."""

    def __init__(self, options: PatienceOptions, started: float) -> None:
        self._options = options
        self._started = started
        self._quiet_since = started
        self._asked = 0
        self._turn = 0
        self._too_long = False

    def feed(self, busy: bool, turn: int, now: float) -> Prompt | None:
        """`busy`: somebody speaks, or a reply is on its way. A new `turn` of the caller ends the asking."""
        if turn != self._turn:
            self._turn, self._asked = turn, 0
        if self._too_long:
            return None
        if now - self._started >= self._options.longest_call_s:
            self._too_long = True
            return Prompt.TOO_LONG
        if busy:
            self._quiet_since = now
        if now - self._quiet_since < self._options.silence_s:
            return None
        self._quiet_since = now
        if self._asked < self._options.prompts:
            self._asked += 1
            return Prompt.STILL_THERE
        return Prompt.GOODBYE
