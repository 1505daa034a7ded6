"""A menu by the keys of the telephone, for callers whom the agent cannot make out. Keys in, actions out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

MENU = (
    "For the status of an order press one. For our opening hours press two. "
    "To speak with a colleague press zero."
)
ORDER = "Please enter the four digits of your order, then the hash key."
AGAIN = "That is not a choice."
TROUBLES = 2
"""Turns in a row that were not understood, behind which the menu is offered."""


@dataclass(frozen=True)
class Say:
    """These words."""

    text: str


@dataclass(frozen=True)
class TellStatus:
    """What becomes of an order."""

    order: str


@dataclass(frozen=True)
class TellHours:
    """When the shop is open."""


@dataclass(frozen=True)
class HandOver:
    """To a person."""


Action = Say | TellStatus | TellHours | HandOver


class _At(Enum):
    TALK = auto()
    MENU = auto()
    ORDER = auto()


class KeypadMenu:
    """One per call. Keys always open the menu; it is offered where the caller was not understood twice."""

    def __init__(self) -> None:
        self._at = _At.TALK
        self._troubles = 0

    def understood(self) -> None:
        """A turn of the caller was answered."""
        self._troubles = 0
        self._at = _At.TALK

    def not_understood(self) -> list[Action]:
        """Nothing could be made of a turn."""
        self._troubles += 1
        if self._troubles < TROUBLES:
            return []
        self._troubles = 0
        self._at = _At.MENU
        return [Say(MENU)]

    def entered(self, keys: str) -> list[Action]:
        """The caller entered keys, up to `#` or a pause."""
        if self._at is _At.ORDER and len(keys) == 4 and keys.isdigit():
            self._at = _At.MENU
            return [TellStatus(keys)]
        match keys:
            case "1":
                self._at = _At.ORDER
                return [Say(ORDER)]
            case "2":
                self._at = _At.MENU
                return [TellHours()]
            case "0":
                self._at = _At.TALK
                return [HandOver()]
        told = ORDER if self._at is _At.ORDER else MENU
        known = self._at is not _At.TALK
        self._at = self._at if known else _At.MENU
        return [Say(f"{AGAIN} {told}" if known else told)]
