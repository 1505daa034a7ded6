"""Names as a speech recogniser spells them, found among the names that exist.

Letters (rapidfuzz) and sounds (jellyfish's metaphone) are compared together: "copper cattle" shares few
of its letters' order with "Copper Kettle", but nearly all of its sounds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from jellyfish import metaphone
from rapidfuzz import fuzz

ACCEPT = 74.0
"""Least likeness (0..100) of a name that is taken for the one meant."""
SAME_PERSON = 86.0
"""The same for a person, who may as well be someone new."""
SUGGEST = 58.0
_MARGIN = 3.0
_INSIDE_PENALTY = 4.0
_FILLERS = frozenset(
    ("the", "a", "an", "at", "in", "to", "of", "restaurant", "place", "please", "called", "named")
)


class UnknownNameError(ValueError):
    """No name is like the one given; the message says so and what is near."""


@lru_cache(maxsize=16384)
def _key(name: str) -> tuple[str, str, frozenset[str]]:
    """Letters, sounds and words of a name, without fillers."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"['’]", "", name.lower().replace("&", " and ")))
    words = [word for word in words if word not in _FILLERS] or words
    sounds = "".join(metaphone(word) for word in words)
    return " ".join(words), sounds, frozenset(words)


def likeness(heard: str, name: str) -> float:
    """How alike two names look and sound, 0..100."""
    letters, sounds, words = _key(heard)
    other_letters, other_sounds, other_words = _key(name)
    if not letters or not other_letters:
        return 0.0
    if letters == other_letters:
        return 100.0
    joined, other_joined = letters.replace(" ", ""), other_letters.replace(" ", "")
    look = max(fuzz.ratio(joined, other_joined), fuzz.token_sort_ratio(letters, other_letters))
    sound = fuzz.ratio(sounds, other_sounds)
    score = 0.5 * look + 0.5 * sound
    # "the Kettle" for "The Copper Kettle": all words are right, some are missing (or some are extra).
    if words < other_words or other_words < words:
        score = max(score, 80.0)
    return float(min(score, 99.0))


def ranked(heard: str, candidates: Iterable[str]) -> list[tuple[float, str]]:
    """Candidates with their likeness, best first."""
    return sorted(
        ((likeness(heard, name), name) for name in candidates), key=lambda pair: (-pair[0], pair[1])
    )


def _inside(heard: str, name: str) -> float:
    """Likeness of the best run of words in a longer text: "a table if the hidden rows"."""
    words, width = _key(heard)[0].split(), len(_key(name)[0].split())
    if not 0 < width <= len(words) - 2:
        return 0.0
    runs = (" ".join(words[start : start + width]) for start in range(len(words) - width + 1))
    return max(likeness(run, name) for run in runs) - _INSIDE_PENALTY


def _clear(order: list[tuple[float, str]]) -> str | None:
    """The best name where it is like enough and no other comes near."""
    if not order:
        return None
    best, name = order[0]
    second = order[1][0] if len(order) > 1 else 0.0
    return name if best == 100.0 or (best >= ACCEPT and best - second >= _MARGIN) else None


def find_name(heard: str, candidates: Collection[str], what: str = "") -> str:
    """The candidate that is meant.

    Args:
        what: kind of thing ("restaurant"), for the message.

    Raises:
        UnknownNameError: none is like it, or two are equally like it.
    """
    order = ranked(heard, candidates)
    clear = _clear(order) or _clear(
        sorted(((_inside(heard, name), name) for name in candidates), reverse=True)
    )
    if clear:
        return clear
    near = [name for score, name in order[:2] if score >= SUGGEST]
    shown = heard.strip() if len(heard) <= 40 else heard.strip()[:40] + "..."
    message = f"I could not find {f'a {what} called ' if what else ''}{shown or 'an empty name'}."
    if near:
        message += f" Did you mean {' or '.join(near)}?"
    raise UnknownNameError(message)
