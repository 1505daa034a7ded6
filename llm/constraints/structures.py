"""JSON arrays and objects as regular expressions over bytes."""

from __future__ import annotations

from collections.abc import Sequence

from .automaton import Fragment, Nfa, either, repeat, sequence, text
from .literals import BOOLEAN, NULL, any_number, member_name, string


def items(item: Fragment, low: int, high: int | None) -> Fragment:
    """An array of `low` to `high` items (None: no limit)."""
    return _separated(item, low, high, "[", "]")


def mapping(value: Fragment) -> Fragment:
    """An object with any names."""
    return _separated(sequence(member_name(), text(":"), value), 0, None, "{", "}")


def _separated(item: Fragment, low: int, high: int | None, opening: str, closing: str) -> Fragment:
    if high == 0:
        return text(opening + closing)
    if high is None:
        many = _chain(item, max(low, 1))
    else:
        more = repeat(sequence(text(","), item), max(low - 1, 0), high - 1)
        many = sequence(item, more)
    return sequence(text(opening), many if low > 0 else repeat(many, 0, 1), text(closing))


def _chain(item: Fragment, low: int) -> Fragment:
    """`low` or more items with commas between; the last one is the loop, so that it is built once."""

    def add(nfa: Nfa, entry: int) -> int:
        for _ in range(low - 1):
            entry = text(",")(nfa, item(nfa, entry))
        begin = nfa.state()
        nfa.skip(entry, begin)
        leave = item(nfa, begin)
        nfa.skip(text(",")(nfa, leave), begin)
        return leave

    return add


def listed(members: Sequence[tuple[Fragment, bool]], opening: str, closing: str) -> Fragment:
    """Members in order, separated by commas; those that are not required may be left out."""

    def add(nfa: Nfa, entry: int) -> int:
        # Two lanes, so that each member is built once: nothing written yet, or something and a comma is due.
        empty: int | None = text(opening)(nfa, entry)
        filled: int | None = None
        for fragment, required in members:
            begin, done = nfa.state(), nfa.state()
            if empty is not None:
                nfa.skip(empty, begin)
            if filled is not None:
                nfa.skip(text(",")(nfa, filled), begin)
            nfa.skip(fragment(nfa, begin), done)
            if required:
                empty = None
            elif filled is not None:
                nfa.skip(filled, done)
            filled = done
        leave = nfa.state()
        for lane in (empty, filled):
            if lane is not None:
                nfa.skip(text(closing)(nfa, lane), leave)
        return leave

    return add


def free(depth: int) -> Fragment:
    """Any JSON value nested at most `depth` deep."""
    scalar = either(string(0), any_number(), BOOLEAN, NULL)
    if depth <= 0:
        return scalar
    inner = free(depth - 1)
    return either(scalar, items(inner, 0, None), mapping(inner))
