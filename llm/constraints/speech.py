"""What a spoken reply must and must not say, as an automaton of its text; and how long it may take.

Phrases are found word by word: "free" is not in "freedom", and a run of spaces or line breaks is one space. A
word begins and ends beside anything but an ASCII letter or digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from .automaton import (
    ByteAutomaton,
    Fragment,
    TooManyStates,
    determinise,
    either,
    mask_of,
    one_of,
    repeat,
    sequence,
    text,
)
from .literals import MULTIBYTE
from .products import complement, intersection

MOST_STATES = 2_000
"""Of the automaton of a reply, which has one for each letter of a phrase, times two for each required one."""
CHARACTERS_A_SECOND = 15.0
"""Of English speech with its spaces and punctuation: about 180 words a minute."""
CHARACTERS_A_TOKEN = 4.2
"""Of spoken English in the embedded vocabulary."""
_BYTE, _LETTER = mask_of((0, 255)), mask_of((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A))
_ANYTHING = repeat(one_of(_BYTE), 0, None)
_BLANK = mask_of(*b" \t\n\r")
# No-break and other spaces of typography sound the same.
_SPACE = either(one_of(_BLANK), *map(text, "\u00a0\u2002\u2003\u2009\u200a\u202f"))
_APOSTROPHE = either(text("'"), text("\u2019"))
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"')\]\u201d\u2019]*(?=\s|$)")
_WORD_END = re.compile(r"(?<=\S)(?=\s|$)")


class Unsayable(ValueError):
    """No reply keeps to the phrases, or none that can be built; the message says what to do."""


def reply_language(never: Iterable[str] = (), required: Iterable[str] = ()) -> ByteAutomaton:
    """The UTF-8 texts, not blank, that hold no phrase of `never`, and each of `required` in any order.

    `never` is found in any case of ASCII letters; `required` is exact but for the case of its first letter.
    Raises Unsayable.
    """
    never, required = sorted(set(never)), sorted(set(required))
    try:
        found = _texts()
        if never:
            found = intersection(found, complement(_holding(never, any_case=True)), MOST_STATES)
        for phrase in required:
            found = intersection(found, _holding([phrase], any_case=False), MOST_STATES)
    except TooManyStates as error:
        raise Unsayable(f"the phrases need {error}; use fewer or shorter ones") from None
    if not found.accepting.any():
        raise Unsayable("what is required holds what is never said; correct one of the phrases")
    return found


@cache
def _texts() -> ByteAutomaton:
    """Well-formed UTF-8 that is not blank, without control characters but tabs and line ends."""
    signs = either(one_of(_BLANK | mask_of((0x20, 0x7E))), MULTIBYTE)
    blank = determinise(repeat(_SPACE, 0, None))
    return intersection(determinise(repeat(signs, 0, None)), complement(blank))


def _holding(phrases: Sequence[str], any_case: bool) -> ByteAutomaton:
    """All byte strings with one of the phrases in them."""
    # Phrases with the same ends share what stands around them, or each would be looked for by itself.
    sides: dict[tuple[bool, bool], list[Fragment]] = {}
    for phrase in phrases:
        words = phrase.split()
        if not words:
            raise Unsayable("a phrase is blank; leave it out")
        ends = _is_letter(words[0][0]), _is_letter(words[-1][-1])
        sides.setdefault(ends, []).append(_phrase(words, any_case))
    beside = one_of(_BYTE & ~_LETTER)
    options = []
    for (opens, closes), group in sides.items():
        before = repeat(sequence(_ANYTHING, beside), 0, 1) if opens else _ANYTHING
        after = repeat(sequence(beside, _ANYTHING), 0, 1) if closes else _ANYTHING
        options.append(sequence(before, either(*group), after))
    return determinise(either(*options), MOST_STATES)


def _phrase(words: list[str], any_case: bool) -> Fragment:
    parts: list[Fragment] = []
    for number, word in enumerate(words):
        parts += [repeat(_SPACE, 1, None)] if number else []
        parts += [_character(sign, any_case or number == place == 0) for place, sign in enumerate(word)]
    return sequence(*parts)


def _is_letter(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()


def _character(sign: str, any_case: bool) -> Fragment:
    if sign in "'\u2019":
        return _APOSTROPHE
    if any_case and sign.isascii():
        return one_of(mask_of(ord(sign.lower())) | mask_of(ord(sign.upper())))
    return text(sign.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Pace:
    """How much text can be spoken in `most_seconds`, as the voice speaks `rate` characters a second."""

    most_seconds: float
    rate: float = CHARACTERS_A_SECOND

    def __post_init__(self) -> None:
        if not (self.most_seconds > 0 and self.rate > 0):
            raise ValueError(f"{self.most_seconds} s at {self.rate} characters/s is no time to speak")

    @property
    def characters(self) -> int:
        """The most characters of the whole reply."""
        return int(self.most_seconds * self.rate)

    def left(self, written: str) -> int:
        """About how many tokens there is time for behind what is written: at least the one that ends it."""
        return max(int((self.characters - len(written.strip())) / CHARACTERS_A_TOKEN), 1)

    def sentences(self, text: str) -> str:
        """The whole sentences of a text that there is time for."""
        ends = [match.end() for match in _SENTENCE_END.finditer(text) if match.end() <= self.characters]
        return text[: ends[-1]] if ends else ""

    def kept(self, written: str, pieces: Sequence[str]) -> int:
        """How many of the tokens with these texts may follow what is written, and the reply ends behind them.

        All, if there is time for them. Else as many as end the last sentence that there is time for; if there
        is none, the last word. A reply of one word that is too long is kept up to its first token.
        """
        texts = [written]
        for piece in pieces:
            texts.append(texts[-1] + piece)
        whole = texts[-1]
        if len(whole.strip()) <= self.characters:
            return len(pieces)
        lead = len(whole) - len(whole.lstrip())
        for ends in (_SENTENCE_END, _WORD_END):
            stops = {match.end() for match in ends.finditer(whole)}
            for count in range(len(pieces), -1 if written.strip() else 0, -1):
                size = len(texts[count].rstrip())
                if size - lead <= self.characters and size in stops:
                    return count
        return 0 if written.strip() else min(1, len(pieces))
