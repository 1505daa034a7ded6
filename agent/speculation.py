"""What was prepared before the caller's turn was over: held, adopted or dropped. Pure.

Every artefact carries `(turn, revision)`; committing is one comparison. Nothing here runs a tool or is heard.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from stretto.llm.language_model import Draft

Key = tuple[int, int]
"""(turn, revision)"""


class Outcome(StrEnum):
    """How much of the reply was ready when the turn was over.

    hit: the draft of the first soft end. revised: the draft of a later one (the caller had gone on).
    miss: none was ready. off: no speculation was asked for.
    """

    HIT = "hit"
    REVISED = "revised"
    MISS = "miss"
    OFF = "off"


@dataclass
class Speculative:
    """What is held for one revision; `text` is the transcript it answers."""

    key: Key
    text: str | None = None
    draft: Draft | None = None


def same_words(one: str, other: str) -> bool:
    """Equal but for case and punctuation: the recogniser changes those from pass to pass."""
    return re.findall(r"\w+", one.lower()) == re.findall(r"\w+", other.lower())


@dataclass
class Speculation:
    """The artefacts of the current revision, and the newest finished draft of this turn for adoption."""

    enabled: bool = True
    current: Speculative | None = None
    finished: Speculative | None = field(default=None, repr=False)

    def begin(self, key: Key) -> None:
        """A soft end: everything of earlier revisions is stale from now on."""
        if self.finished is not None and self.finished.key[0] != key[0]:
            self.finished = None
        self.current = Speculative(key)

    def transcribed(self, key: Key, text: str) -> Draft | None:
        """The final transcript of `key`; a finished draft that answers the same words is adopted."""
        if not self.is_current(key):
            return None
        assert self.current is not None
        self.current.text = text
        old = self.finished
        if old is None or old.text is None or not same_words(old.text, text):
            return None
        self.current.draft = old.draft
        return old.draft

    def earlier(self, key: Key) -> Draft | None:
        """The newest finished draft for an earlier revision of the turn: what `key`'s may begin from."""
        old = self.finished
        return old.draft if old is not None and old.key[0] == key[0] else None

    def early(self, key: Key, text: str, draft: Draft) -> None:
        """A draft for `text` was finished while the caller still spoke."""
        self.finished = Speculative(key, text, draft)

    def answers(self, turn: int, text: str) -> bool:
        """A finished draft of this turn answers these words already."""
        old = self.finished
        return old is not None and old.key[0] == turn and old.text is not None and same_words(old.text, text)

    def drafted(self, key: Key, draft: Draft) -> bool:
        """A draft for `key` is finished; False if it is stale and must not be used."""
        if not self.is_current(key):
            return False
        assert self.current is not None
        self.current.draft = draft
        self.finished = self.current
        return True

    def drop(self, key: Key) -> None:
        """The caller goes on: nothing of `key` is current (a finished draft may be adopted later)."""
        if self.is_current(key):
            self.current = None

    def is_current(self, key: Key) -> bool:
        return self.current is not None and self.current.key == key

    def commit(self, key: Key) -> Outcome:
        """The turn is over at `key`: how much was ready."""
        if not self.enabled:
            return Outcome.OFF
        if not self.is_current(key) or self.current is None or self.current.draft is None:
            return Outcome.MISS
        return Outcome.HIT if key[1] == 1 else Outcome.REVISED
