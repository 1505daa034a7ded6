"""Deterministic byte automata taken together: intersection, complement, and as a part of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .automaton import DEAD, ByteAutomaton, Fragment, Nfa, TooManyStates, minimal


def intersection(left: ByteAutomaton, right: ByteAutomaton, max_states: int = 20_000) -> ByteAutomaton:
    """What both accept. Raises TooManyStates."""
    columns, byte_class = np.unique(
        np.concatenate([left.transitions, right.transitions]), axis=1, return_inverse=True
    )
    lefts, rights = columns[: len(left.accepting)], columns[len(left.accepting) :]
    width = len(right.accepting)
    known = frontier = np.zeros(1, dtype=np.int64)
    begun: list[NDArray[np.int64]] = []
    targets: list[NDArray[np.int64]] = []
    while len(frontier):
        of_left, of_right = lefts[frontier // width], rights[frontier % width]
        both = (of_left != DEAD) & (of_right != DEAD)
        pairs = np.where(both, of_left.astype(np.int64) * width + of_right, DEAD)
        begun.append(frontier)
        targets.append(pairs)
        frontier = np.setdiff1d(pairs[pairs != DEAD], known)
        known = np.union1d(known, frontier)
        if len(known) > max_states:
            raise TooManyStates(f"more than {max_states} states")
    states, moves = np.concatenate(begun), np.concatenate(targets)
    order = np.argsort(states, kind="stable")
    found = order[np.searchsorted(states[order], np.maximum(moves, 0))]
    table = np.where(moves != DEAD, found, DEAD).astype(np.int32)
    accepting = left.accepting[states // width] & right.accepting[states % width]
    return minimal(table, accepting, byte_class.reshape(256))


def complement(automaton: ByteAutomaton) -> ByteAutomaton:
    """All other byte strings."""
    sink = len(automaton.accepting)
    table = np.where(automaton.transitions == DEAD, sink, automaton.transitions)
    table = np.concatenate([table, np.full((1, 256), sink)]).astype(np.int32)
    return minimal(table, ~np.append(automaton.accepting, False), np.arange(256))


def part(automaton: ByteAutomaton) -> Fragment:
    """The automaton as a part of a regular expression."""
    moves: list[tuple[int, int, int]] = []
    for source, row in enumerate(automaton.transitions):
        for target in np.unique(row[row != DEAD]):
            packed = np.packbits(row == target, bitorder="little").tobytes()
            moves.append((source, int.from_bytes(packed, "little"), int(target)))
    accepting = np.flatnonzero(automaton.accepting).tolist()

    def add(nfa: Nfa, entry: int) -> int:
        states = [nfa.state() for _ in range(len(automaton.accepting))]
        leave = nfa.state()
        nfa.skip(entry, states[0])
        for source, mask, target in moves:
            nfa.read(states[source], mask, states[target])
        for state in accepting:
            nfa.skip(states[state], leave)
        return leave

    return add
