"""Strings that are stretches of what was said, word by word: nothing else can be written in them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .automaton import ByteAutomaton, Fragment, Nfa, determinise, mask_of, text
from .call_text import compact_json

KEYWORD = "x-spans-only"
"""`true` beside `"type": "string"`: the string is a stretch of the conversation."""
MOST_CHARACTERS = 600
"""Of the conversation, its last ones, as whole words: for each an automaton has up to two states a string."""
_START = re.compile(r"(?<![\w'])\w")
_END = re.compile(r"(?<=\w)(?!\w|'\w)")


def span_strings(texts: Sequence[str], max_states: int) -> ByteAutomaton | None:
    """The quoted strings, each behind the space of free text, that are whole words of one of the texts.

    In any case of ASCII letters; a run of spaces is one. None if no word was said. Raises TooManyStates.
    """
    kept = _last_words(texts)
    return determinise(_stretches(kept), max_states) if kept else None


def _last_words(texts: Sequence[str]) -> list[str]:
    kept: list[str] = []
    room = MOST_CHARACTERS
    for said in reversed(texts):
        words = " ".join(said.split())
        if len(words) > room:
            words = words[len(words) - room :].partition(" ")[2]
        if _START.search(words) and words not in kept:
            kept.append(words)
        room -= len(words)
        if room <= 0:
            break
    return kept


def _stretches(texts: Sequence[str]) -> Fragment:
    def add(nfa: Nfa, entry: int) -> int:
        begin, close = text('" ')(nfa, entry), nfa.state()
        for said in texts:
            starts = {match.start() for match in _START.finditer(said)}
            ends = {match.end() for match in _END.finditer(said)}
            here = nfa.state()
            for place, sign in enumerate(said):
                if place in starts:
                    nfa.skip(begin, here)
                here = _character(nfa, here, sign)
                if place + 1 in ends:
                    nfa.skip(here, close)
        return text('"')(nfa, close)

    return add


def _character(nfa: Nfa, entry: int, sign: str) -> int:
    if sign.isascii() and sign.isalpha():
        leave = nfa.state()
        nfa.read(entry, mask_of(ord(sign.lower()), ord(sign.upper())), leave)
        return leave
    return text(compact_json(sign)[1:-1])(nfa, entry)
