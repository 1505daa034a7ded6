"""Names and words that are likely in a call, for the recogniser.

A list in the prompt helps Whisper where it holds what was said and hurts where it does not, the more the
longer it is (measured). So a first pass runs without; the few entries that sound most like something in its
text are put into the prompt of a second one, and that one counts only where it really says one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from jellyfish import metaphone
from rapidfuzz import fuzz

CANDIDATES = 8
"""Entries in the prompt of the second pass."""
ALIKE = 150.0
"""Least likeness of an entry: partial ratio of the letters plus that of the sounds, 0..200."""


class Bias:
    """A list of likely names and words, ready to be compared with what was heard."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = [(entry, *_keys(entry)) for entry in dict.fromkeys(entries) if _letters(entry)]

    def alike(self, text: str) -> list[str]:
        """The entries that may have been meant somewhere in `text`, the likeliest last (next to the speech).

        Empty where the best one is in the text already.
        """
        letters, sounds = _keys(text)
        if not letters:
            return []
        scored = [
            (fuzz.partial_ratio(entry_letters, letters) + fuzz.partial_ratio(entry_sounds, sounds), entry)
            for entry, entry_letters, entry_sounds in self._entries
            if len(entry_letters) <= 2 * len(letters)
        ]
        best = sorted((pair for pair in scored if pair[0] >= ALIKE), key=lambda pair: -pair[0])[:CANDIDATES]
        if not best or says(text, [best[0][1]]):
            return []
        return [entry for _, entry in reversed(best)]


def says(text: str, entries: Sequence[str]) -> bool:
    """Whether `text` has one of the entries in it, word for word."""
    said = f" {_letters(text)} "
    return any(f" {_letters(entry)} " in said for entry in entries)


@lru_cache(maxsize=8)
def prepared(entries: tuple[str, ...]) -> Bias:
    """A `Bias`, kept for the next turn of the call."""
    return Bias(entries)


def _letters(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 ]", "", re.sub(r"[-/]", " ", text.lower())).split())


def _keys(text: str) -> tuple[str, str]:
    """Letters and sounds, without word boundaries: a recogniser's are often wrong ("Be King": Peking)."""
    letters = _letters(text)
    return letters.replace(" ", ""), "".join(metaphone(word) for word in letters.split())
