"""Scores of tokens on a canvas -> scores of an automaton's classes of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .tokens import TokenAutomaton

FLOOR = -1e4
"""Log-probability of a token that the model rules out: the grammar alone decides what is impossible."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Of each class of tokens, the pads' class last, at each place.

    `best`: [B, classes + 1], log-probability of the best token; -inf where a fixed token is not in it.
    `free`: the places without a fixed token; of these, `tokens` are the log-probabilities in the order of the
    atoms' tokens, and `atoms` that of each atom's best one.
    """

    log_probs: NDArray[np.float32]
    automaton: TokenAutomaton
    free: Ints
    tokens: NDArray[np.float32]
    atoms: Floats
    best: Floats

    @cached_property
    def ways(self) -> Floats:
        """[B, classes + 1]: the probability of all tokens of a class, as a multiple of its best one's."""
        atoms, found = self.automaton.atoms, np.ones_like(self.best)
        if not len(self.free):
            return found
        beside = self.tokens - np.repeat(self.atoms.astype(np.float32), np.diff(atoms.start), axis=1)
        # The best token counts in full, even where the model rules all of them out.
        sums = np.maximum(atoms.join(np.exp(beside, out=beside), "sum"), 1.0)
        best = self.best[self.free].take(atoms.member_class, axis=1)
        sums = sums.take(atoms.members, axis=1) * np.exp(self.atoms.take(atoms.members, axis=1) - best)
        found[self.free, :-1] = atoms.join_classes(sums, "sum")
        return found

    def best_tokens(self, classes: Ints) -> Ints:
        """[B]: the likeliest token of a class of each place, -1 for the pads' class; the places are free."""
        atoms, found = self.automaton.atoms, np.full(len(self.best), -1, dtype=np.int64)
        rows = np.flatnonzero(classes[self.free] < self.automaton.classes)
        places = self.free[rows]
        atom = np.where(atoms.atoms_in(classes[places]), self.atoms[rows], -np.inf).argmax(axis=1)
        begins, ends = atoms.start[atom], atoms.start[atom + 1]
        for n in np.flatnonzero(ends - begins > 1):
            begins[n] += self.tokens[rows[n], begins[n] : ends[n]].argmax()
        found[places] = atoms.tokens[begins]
        return found

    def alone(self, tokens: Ints) -> Floats:
        """[B]: the probability of each place's token without any grammar; 1 where it is fixed."""
        found = np.ones(len(tokens))
        found[self.free] = np.exp(self.log_probs[self.free, tokens[self.free]])
        return np.minimum(found, 1.0)

    def of(self, tokens: Ints) -> Floats:
        """[B, classes + 1]: the share of a place's token in each class that holds it, 0 in the others.

        Pads are no part of a call, and what is no pad is no fill: a token that no class holds is all of it.
        """
        atoms = self.automaton.atoms
        places, classes = atoms.classes_of(atoms.of_token[tokens])
        passes = np.isfinite(self.best[places, classes])
        places, classes = places[passes], classes[passes]
        values = np.maximum(self.log_probs[places, tokens[places]].astype(np.float64), FLOOR)
        found = np.zeros_like(self.best)
        found[places, classes] = np.exp(values - self.best[places, classes]) / self.ways[places, classes]
        found[atoms.of_token[tokens] == atoms.count, -1] = 1.0
        return found


def class_scores(
    log_probs: NDArray[np.float32], automaton: TokenAutomaton, held: Ints, score_fill: bool
) -> ClassScores:
    """The scores of all classes. `held`: [B], the committed token of each place, -1 where there is none.

    Raises ValueError for NaN.
    """
    atoms, free = automaton.atoms, np.flatnonzero(held < 0)
    best = np.full((len(held), automaton.classes + 1), -np.inf)
    tokens = (log_probs if len(free) == len(held) else log_probs[free]).take(atoms.tokens, axis=1)
    of_atoms = np.maximum(atoms.join(tokens, "max"), FLOOR)
    if np.isnan(of_atoms).any():
        raise ValueError("log_probs contain NaN: the model's output is broken")
    if len(free):
        best[free, :-1] = atoms.join_classes(of_atoms.take(atoms.members, axis=1), "max")
        best[free, -1] = 0.0
        if score_fill and automaton.pads:
            pads = log_probs[free[:, None], np.array(automaton.pads)].max(axis=1)
            best[free, -1] = np.maximum(pads, FLOOR)
    # At a committed place nothing but its token passes: its classes, and the fill if it is one.
    for place in np.flatnonzero(held >= 0):
        token = int(held[place])
        best[place, automaton.classes_of(token)] = 0.0
        if not automaton.pads or token in automaton.pads:
            best[place, automaton.classes] = 0.0
    return ClassScores(log_probs, automaton, free, tokens, of_atoms, best)
