"""Byte automata: regular expressions as builders, Thompson construction, subset construction, minimisation.

A regular expression is a `Fragment`: a function that adds itself to an `Nfa` from a given state and returns
the state in which it ends. Bytes, not characters, because byte-pair tokens split UTF-8 characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DEAD = -1
"""No transition."""
BEFORE_MERGING = 10
"""A nondeterministic automaton may have so many times the states of the one that is made of it."""


MOST_STEPS = 1_000_000
"""From states to states, until an automaton is deterministic: one that is ambiguous everywhere needs more."""


class TooManyStates(ValueError):
    """The deterministic automaton would grow beyond the given limit."""


@dataclass
class Nfa:
    """A nondeterministic byte automaton under construction; a byte set is a 256-bit mask."""

    epsilon: list[list[int]] = field(default_factory=list)
    edges: list[list[tuple[int, int]]] = field(default_factory=list)
    max_states: int = 20_000
    """Of the deterministic automaton that is to be made of it."""

    def state(self) -> int:
        """A new state. Raises TooManyStates."""
        if len(self.edges) >= self.max_states * BEFORE_MERGING:
            raise TooManyStates(f"more than {self.max_states} states")
        self.epsilon.append([])
        self.edges.append([])
        return len(self.edges) - 1

    def skip(self, source: int, target: int) -> None:
        """Allow going from source to target without reading."""
        self.epsilon[source].append(target)

    def read(self, source: int, mask: int, target: int) -> None:
        """Allow reading one byte of the set `mask`."""
        self.edges[source].append((mask, target))


Fragment = Callable[[Nfa, int], int]
"""Adds itself to the automaton from a state, returns the state in which it ends."""


def mask_of(*ranges: tuple[int, int] | int) -> int:
    """The byte set of single bytes and inclusive ranges."""
    mask = 0
    for item in ranges:
        low, high = item if isinstance(item, tuple) else (item, item)
        mask |= ((1 << (high - low + 1)) - 1) << low
    return mask


def one_of(mask: int) -> Fragment:
    """One byte of a set."""

    def add(nfa: Nfa, entry: int) -> int:
        leave = nfa.state()
        nfa.read(entry, mask, leave)
        return leave

    return add


def text(value: str | bytes) -> Fragment:
    """Exactly these bytes (text as UTF-8)."""
    data = value.encode() if isinstance(value, str) else value

    def add(nfa: Nfa, entry: int) -> int:
        for byte in data:
            leave = nfa.state()
            nfa.read(entry, 1 << byte, leave)
            entry = leave
        return entry

    return add


def sequence(*parts: Fragment) -> Fragment:
    """One part after the other."""

    def add(nfa: Nfa, entry: int) -> int:
        for part in parts:
            entry = part(nfa, entry)
        return entry

    return add


def either(*options: Fragment) -> Fragment:
    """One of the options."""

    def add(nfa: Nfa, entry: int) -> int:
        leave = nfa.state()
        for option in options:
            # A state of its own, so that a loop which starts an option does not lead into the others.
            own = nfa.state()
            nfa.skip(entry, own)
            nfa.skip(option(nfa, own), leave)
        return leave

    return add


def repeat(part: Fragment, low: int, high: int | None) -> Fragment:
    """At least `low` and at most `high` times (None: no limit)."""

    def add(nfa: Nfa, entry: int) -> int:
        for _ in range(low):
            entry = part(nfa, entry)
        leave = nfa.state()
        if high is None:
            nfa.skip(entry, leave)
            nfa.skip(part(nfa, leave), leave)
            return leave
        for _ in range(high - low):
            nfa.skip(entry, leave)
            entry = part(nfa, entry)
        nfa.skip(entry, leave)
        return leave

    return add


@dataclass(frozen=True, eq=False)
class ByteAutomaton:
    """A minimal deterministic byte automaton; state 0 is the start, every state can still accept.

    `transitions`: int32 [states, 256], DEAD where there is none; `accepting`: bool [states].
    """

    transitions: NDArray[np.int32]
    accepting: NDArray[np.bool_]

    def run(self, data: bytes, state: int = 0) -> int:
        """The state after reading `data`, DEAD if it cannot be read."""
        for byte in data:
            state = int(self.transitions[state, byte])
            if state == DEAD:
                break
        return state

    def accepts(self, data: bytes) -> bool:
        """Whether the whole of `data` is in the language."""
        state = self.run(data)
        return state != DEAD and bool(self.accepting[state])


def determinise(fragment: Fragment, max_states: int = 20_000) -> ByteAutomaton:
    """The minimal automaton of a regular expression. Raises TooManyStates."""
    nfa = Nfa(max_states=max_states)
    start = nfa.state()
    final = fragment(nfa, start)
    byte_class = _byte_classes(mask for edges in nfa.edges for mask, _ in edges)
    subsets = _Subsets(nfa, final)
    work = [subsets.after((start,))]
    states = {work[0]: 0}
    rows: list[list[tuple[int, int]]] = []
    for members in work:
        row: dict[int, int] = {}
        for mask, reached in subsets.moves(members):
            target = subsets.after(reached)
            index = states.setdefault(target, len(states))
            if index == len(work):
                work.append(target)
            row[index] = row.get(index, 0) | mask
        rows.append([(mask, index) for index, mask in row.items()])
        if len(work) > max_states:
            raise TooManyStates(f"more than {max_states} states")
    table = np.full((len(work), int(byte_class.max()) + 1), DEAD, dtype=np.int32)
    columns: dict[int, NDArray[np.int64]] = {}
    for row_index, pairs in enumerate(rows):
        for mask, index in pairs:
            if mask not in columns:
                columns[mask] = np.unique(byte_class[_bits(mask)])
            table[row_index, columns[mask]] = index
    accepting = np.array([final in members for members in work], dtype=np.bool_)
    return minimal(table, accepting, byte_class)


def minimal(
    table: NDArray[np.int32], accepting: NDArray[np.bool_], byte_class: NDArray[np.int64]
) -> ByteAutomaton:
    """The minimal automaton of a deterministic one whose table has a column for each class of bytes."""
    table, accepting = _minimise(*_live(table, accepting))
    return ByteAutomaton(np.ascontiguousarray(table[:, byte_class]), accepting)


class _Subsets:
    """What a deterministic automaton knows of the other: sets of its states. Raises TooManyStates."""

    def __init__(self, nfa: Nfa, final: int) -> None:
        self._nfa, self._final = nfa, final
        self._closures: dict[int, frozenset[int]] = {}
        self._steps = 0

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise TooManyStates(f"more than {MOST_STEPS} steps to be told apart")

    def after(self, reached: Iterable[int]) -> frozenset[int]:
        """All that is reached from these without reading."""
        closures = [self._closures.get(state) or self._closure(state) for state in reached]
        self._spend(sum(map(len, closures)))
        return frozenset[int]().union(*closures)

    def _closure(self, state: int) -> frozenset[int]:
        """States that neither read nor accept tell nothing apart: left out."""
        seen = {state}
        stack = [state]
        while stack:
            for target in self._nfa.epsilon[stack.pop()]:
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        self._spend(len(seen))
        found = frozenset(s for s in seen if self._nfa.edges[s] or s == self._final)
        self._closures[state] = found
        return found

    def moves(self, members: Iterable[int]) -> list[tuple[int, set[int]]]:
        """Disjoint byte sets with the states that each leads to."""
        targets: dict[int, set[int]] = {}
        for member in members:
            for mask, target in self._nfa.edges[member]:
                targets.setdefault(mask, set()).add(target)
        parts: list[tuple[int, tuple[int, ...]]] = []
        for mask in targets:
            rest = mask
            split: list[tuple[int, tuple[int, ...]]] = []
            for other, masks in parts:
                both = rest & other
                if both:
                    split.append((both, (*masks, mask)))
                    rest &= ~both
                if other & ~both:
                    split.append((other & ~both, masks))
            if rest:
                split.append((rest, (mask,)))
            parts = split
        return [(part, set[int]().union(*(targets[mask] for mask in masks))) for part, masks in parts]


def _bits(mask: int) -> NDArray[np.bool_]:
    packed = np.frombuffer(mask.to_bytes(32, "little"), dtype=np.uint8)
    return np.unpackbits(packed, bitorder="little").astype(np.bool_)


def _byte_classes(masks: Iterable[int]) -> NDArray[np.int64]:
    """The class of each byte; bytes that no set tells apart share one."""
    members = np.stack([_bits(mask) for mask in sorted(set(masks))])
    byte_class = np.unique(members, axis=1, return_inverse=True)[1]
    return np.asarray(byte_class, dtype=np.int64).reshape(256)


def _live(
    table: NDArray[np.int32], accepting: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Without the states from which nothing can be accepted (never the start) and what leads there.

    And the fewest bytes from each that is left to acceptance.
    """
    distance = _distances(table, accepting)
    live = distance >= 0
    live[0] = True
    renumber = np.where(live, np.cumsum(live) - 1, DEAD)
    kept = table[live]
    return np.where(kept >= 0, renumber[kept], DEAD).astype(np.int32), distance[live]


def _distances(table: NDArray[np.int32], accepting: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The fewest bytes from each state to acceptance, DEAD where there are none."""
    source, column = np.nonzero(table >= 0)
    target = table[source, column]
    order = np.argsort(target, kind="stable")
    source, begin = source[order], np.searchsorted(target[order], np.arange(len(table) + 1))
    distance = np.where(accepting, 0, DEAD).astype(np.int64)
    frontier = np.flatnonzero(accepting).tolist()
    while frontier:
        before = [state for at in frontier for state in source[begin[at] : begin[at + 1]].tolist()]
        step = int(distance[frontier[0]]) + 1
        frontier = sorted({state for state in before if distance[state] == DEAD})
        distance[frontier] = step
    return distance


def _minimise(
    table: NDArray[np.int32], distance: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Moore's partition refinement with hashed rows; the result is checked to be a congruence.

    It begins with what the distances to acceptance tell apart, or a long text would take as many rounds as
    it has bytes.
    """
    random = np.random.default_rng(0)
    weights = random.integers(1, 2**63, size=table.shape[1], dtype=np.uint64) | np.uint64(1)
    accepting = distance == 0
    labels = np.unique(distance, return_inverse=True)[1].reshape(-1).astype(np.int64)
    count = int(labels.max()) + 1
    while True:
        codes = random.integers(1, 2**63, size=count + 1, dtype=np.uint64)  # the last one is DEAD's
        targets = np.where(table >= 0, labels[table], count)
        hashes = (codes[targets] * weights).sum(axis=1, dtype=np.uint64) ^ (codes[labels] << np.uint64(1))
        labels = np.unique(hashes, return_inverse=True)[1].reshape(-1).astype(np.int64)
        grown = int(labels.max()) + 1
        if grown == count:
            break
        count = grown
    # Numbered by first appearance, so that the start stays state 0.
    _, first = np.unique(labels, return_index=True)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(count)
    labels, first = rank[labels], np.sort(first)
    moved = np.where(table >= 0, labels[table], DEAD).astype(np.int32)
    if not (
        np.array_equal(moved[first][labels], moved) and np.array_equal(accepting[first][labels], accepting)
    ):
        return table, accepting
    return moved[first], accepting[first]
