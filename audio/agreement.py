"""LocalAgreement-2: which words of a growing transcript can be relied on.

A word is confirmed when two passes in a row agree on it and on all before it (Liu et al. 2020, "Low-latency
sequence-to-sequence speech recognition and translation by partial hypothesis selection"; Macháček et al.
2023).
"""

from __future__ import annotations

from collections.abc import Sequence


def key(word: str) -> str:
    """What of a word is compared: letters and digits, in lower case."""
    return "".join(c for c in word.lower() if c.isalnum() or c == "'")


class LocalAgreement:
    """Feed it every pass's text over the same growing window."""

    def __init__(self) -> None:
        self.confirmed: list[str] = []
        """Words that two passes agreed on. Only grows."""
        self.rest: list[str] = []
        """The newest pass's words after the confirmed ones."""

    def feed(self, text: str) -> None:
        """Take the text of the next pass."""
        words = text.split()
        rest = words[_matching(self.confirmed, words) :]
        agreed = 0
        for old, new in zip(self.rest, rest, strict=False):
            if key(old) != key(new):
                break
            agreed += 1
        settled = rest[:agreed]
        if settled and agreed == len(rest):
            # A full stop at the end of what was heard so far says nothing: the sentence may go on.
            settled[-1] = settled[-1].rstrip(".,;:!?…") or settled[-1]
        self.confirmed.extend(settled)
        self.rest = rest[agreed:]

    def close(self, text: str) -> list[str]:
        """The window ends, `text` is what its last pass made of it; the words that are settled by that.

        They continue what was confirmed, so that a reader's text only grows. Words already confirmed that lie
        behind the cut stay confirmed for the next window.
        """
        words = text.split()
        known = _matching(self.confirmed, words)
        if known < len(words):
            settled, self.confirmed = [*self.confirmed, *words[known:]], []
        else:
            cut = _matching(words, self.confirmed)
            settled, self.confirmed = self.confirmed[:cut], self.confirmed[cut:]
        self.rest = []
        return settled


def _matching(confirmed: Sequence[str], words: Sequence[str]) -> int:
    """How many of `words` the confirmed ones stand for: the prefix with the least edit distance to them."""
    before = [key(word) for word in confirmed]
    now = [key(word) for word in words]
    if now[: len(before)] == before:
        return len(before)
    row = list(range(len(now) + 1))
    for i, old in enumerate(before, 1):
        last, row[0] = row[0], i
        for j, new in enumerate(now, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (old != new))
    # On a tie the longest prefix: a word too many as tentative would be read twice.
    return min(range(len(now) + 1), key=lambda j: (row[j], -j))
