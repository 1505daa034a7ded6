"""What the classes of an automaton share: sets of tokens that no class tells apart.

The classes of free strings hold nearly the whole vocabulary each, and nearly the same tokens. Every token is
in one atom, and every class is a few atoms: so the scores of the vocabulary are looked at once, not once a
class, and the largest atom is a whole row of them without the few tokens that are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Join = Literal["max", "sum"]
LARGE = 64
"""Tokens of an atom that is joined by itself: many times faster than as a segment among others."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """`tokens` of atom a: `tokens[start[a]:start[a + 1]]`, sorted; the larger atoms come later.

    `of_token`: int64 [vocabulary], the atom of each token, `count` for one that is in no class. Class c is
    the union of `members[class_start[c]:class_start[c + 1]]`.
    """

    tokens: Ints
    start: Ints
    of_token: Ints
    members: Ints
    class_start: Ints

    @property
    def count(self) -> int:
        return len(self.start) - 1

    @property
    def classes(self) -> int:
        return len(self.class_start) - 1

    @cached_property
    def small(self) -> int:
        """How many atoms are not LARGE."""
        return int(np.searchsorted(np.diff(self.start), LARGE))

    def join(self, values: NDArray[np.float32], how: Join) -> NDArray[np.float64]:
        """[n, tokens], in the order of `tokens` -> [n, atoms]: the largest value or the sum of each."""
        joined = np.empty((len(values), self.count))
        ufunc = np.maximum if how == "max" else np.add
        if self.small:
            head = values[:, : self.start[self.small]]
            joined[:, : self.small] = ufunc.reduceat(head, self.start[: self.small], axis=1)
        for atom in range(self.small, self.count):
            joined[:, atom] = ufunc.reduce(values[:, self.start[atom] : self.start[atom + 1]], axis=1)
        return joined

    def join_classes(self, values: NDArray[np.float64], how: Join) -> NDArray[np.float64]:
        """[n, members] -> [n, classes]."""
        ufunc = np.maximum if how == "max" else np.add
        return np.asarray(ufunc.reduceat(values, self.class_start[:-1], axis=1))

    @cached_property
    def member_class(self) -> Ints:
        """The class of each entry of `members`."""
        return np.repeat(np.arange(self.classes, dtype=np.int64), np.diff(self.class_start))

    @cached_property
    def _by_atom(self) -> tuple[Ints, Ints]:
        """The classes of each atom, one atom behind the other, and where those of each begin."""
        order = np.argsort(self.members, kind="stable")
        return self.member_class[order], np.searchsorted(self.members[order], np.arange(self.count + 2))

    def classes_of(self, atoms: Ints) -> tuple[Ints, Ints]:
        """All pairs (which of the given atoms, a class that it is in)."""
        classes, start = self._by_atom
        rows, entries = expand(start, atoms)
        return rows, classes[entries]

    def atoms_in(self, classes: Ints) -> NDArray[np.bool_]:
        """[n, atoms]: the atoms of each of the given classes."""
        rows, entries = expand(self.class_start, classes)
        found = np.zeros((len(classes), self.count), dtype=np.bool_)
        found[rows, self.members[entries]] = True
        return found


def expand(start: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Indices (into rows, into the CSR data) of all entries of the given rows."""
    counts = start[rows + 1] - start[rows]
    pairs = np.repeat(np.arange(len(rows), dtype=np.int64), counts)
    offset = np.arange(len(pairs), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    return pairs, start[rows][pairs] + offset


def atoms_of(class_tokens: Ints, class_start: Ints, vocabulary_size: int) -> Atoms:
    """The atoms of classes of tokens given one behind the other.

    Tokens are told apart by the sum of random numbers of their classes, and the result is checked.
    """
    sizes = np.diff(class_start)
    token_class = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    used = np.unique(class_tokens)
    random = np.random.default_rng(0)
    while True:
        codes = random.integers(1, 2**63, size=len(sizes), dtype=np.uint64)
        sums = np.zeros(vocabulary_size, dtype=np.uint64)
        np.add.at(sums, class_tokens, codes[token_class])
        atom, counts = np.unique(sums[used], return_inverse=True, return_counts=True)[1:]
        by_size = np.argsort(counts, kind="stable")
        atom, counts = np.argsort(by_size)[atom.reshape(-1)], counts[by_size]
        of_token = np.full(vocabulary_size, len(counts), dtype=np.int64)
        of_token[used] = atom
        pairs = np.unique(token_class * len(counts) + of_token[class_tokens])
        member_class, members = np.divmod(pairs, len(counts))
        if np.array_equal(np.bincount(member_class, counts[members], len(sizes)), sizes):
            break
    return Atoms(
        used[np.argsort(atom, kind="stable")],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        of_token,
        members,
        np.searchsorted(member_class, np.arange(len(sizes) + 1)).astype(np.int64),
    )
