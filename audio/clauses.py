"""Where to cut a reply, so that its first words can be spoken while the rest is still synthesised."""

from __future__ import annotations

import re
from itertools import pairwise

FIRST_WORDS = (2, 6)
"""Fewest and most words that the first clause should have, where punctuation allows."""
LONGEST_WORDS = 22
"""A sentence with more words is cut at its punctuation."""

_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Za-z]|mr|mrs|ms|dr|st|prof|no|vs|etc|ave|rd|approx|[ap]\.m|e\.g|i\.e|u\.s))\.$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*\s+")
_INNER = re.compile(r"(?:[,;:][\"')\]]*|\s[-–—])\s+|—")


def clauses(text: str) -> list[str]:
    """Split a reply into clauses for synthesis; joined, they give `text` back exactly.

    The first clause is short (2-6 words where punctuation allows), so that speaking starts early; then come
    whole sentences, which sound better, and long sentences are cut at their commas.
    """
    result: list[str] = []
    for sentence in _sentences(text):
        if not result and (cut := _first_cut(sentence)):
            result.append(sentence[:cut])
            sentence = sentence[cut:]
        result.extend(_cut_long(sentence))
    # Punctuation alone makes no sound: it stays with its neighbour.
    joined: list[str] = []
    for piece in result:
        if joined and not (any(c.isalnum() for c in piece) and any(c.isalnum() for c in joined[-1])):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _sentences(text: str) -> list[str]:
    cuts = [0]
    for match in _SENTENCE_END.finditer(text):
        before = text[: match.start() + 1]
        follows = text[match.end() : match.end() + 1]
        if before.endswith(".") and _ABBREVIATION.search(before) and not _ends_anyway(before, follows):
            continue
        cuts.append(match.end())
    cuts.append(len(text))
    return [text[a:b] for a, b in pairwise(cuts) if b > a]


def _ends_anyway(before: str, follows: str) -> bool:
    """ "At 7 p.m. Shall I" ends a sentence, "Dr. Brown" and "7 p.m. today" do not."""
    return follows.isupper() and re.search(r"\b[ap]\.m\.$", before, re.IGNORECASE) is not None


def _inner_cuts(sentence: str) -> list[int]:
    return [m.end() for m in _INNER.finditer(sentence) if m.end() < len(sentence)]


def _first_cut(sentence: str) -> int:
    """Where to cut off a short first clause; 0 where the sentence is short itself or has no place for it."""
    if len(sentence.split()) <= FIRST_WORDS[1]:
        return 0
    fewest, most = FIRST_WORDS
    return next((c for c in _inner_cuts(sentence) if fewest <= len(sentence[:c].split()) <= most), 0)


def _cut_long(sentence: str) -> list[str]:
    words = len(sentence.split())
    if words <= LONGEST_WORDS:
        return [sentence]
    cuts = [c for c in _inner_cuts(sentence) if 4 <= len(sentence[:c].split()) <= words - 4]
    if not cuts:
        return [sentence]
    middle = min(cuts, key=lambda c: abs(c - len(sentence) / 2))
    return _cut_long(sentence[:middle]) + _cut_long(sentence[middle:])
