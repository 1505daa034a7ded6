"""The most probable accepted call on a canvas (DINGO, arXiv:2505.23061, over classes of tokens)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .class_scores import FLOOR, ClassScores, class_scores
from .tokens import TokenAutomaton


class Infeasible(ValueError):
    """No accepted call fits the canvas with its fixed tokens."""


@dataclass(frozen=True, eq=False)
class Path:
    """One accepted path over a canvas.

    `tokens`: int64 [B]; behind the terminator the cycle of pads (the best token where there are no pads).
    `logp` sums the free positions up to the terminator. `length`: positions up to and with the terminator
    (B where there is none). `end_state` goes into the next canvas where `finished` is False.
    """

    tokens: NDArray[np.int64]
    logp: float
    end_state: int
    finished: bool
    length: int


def best_path(
    log_probs: NDArray[np.float32],
    automaton: TokenAutomaton,
    fixed: Sequence[int | None] | None = None,
    state: int = 0,
    *,
    open_end: bool = False,
    budget_after: int = 0,
    score_fill: bool = False,
) -> Path:
    """The most probable token string that the automaton accepts, committed positions kept.

    `log_probs`: [B, V], V at least the vocabulary's size. `fixed`: the committed token or None for each
    position; behind the terminator only pads may be committed (anything, if the vocabulary has no pads). With
    `open_end` the path may stop in a state from which `budget_after` more tokens reach acceptance. Positions
    behind the terminator score 0, or, with `score_fill`, as their best pad, which takes away the advantage of
    short calls. Raises Infeasible, and ValueError for wrong shapes, ids out of range and NaN.
    """
    ways = lattice(log_probs, automaton, fixed, state, score_fill)
    return best_way(ways, _reach(open_end, budget_after))


@dataclass(frozen=True, eq=False)
class Lattice:
    """All ways over a canvas from a state.

    `held`: int64 [B], the committed tokens, -1 where there is none. `edges`: [B, edges], the log-probability
    of each edge's best token. `reached`: [B + 1, states], that of the best way into each state.
    """

    automaton: TokenAutomaton
    held: NDArray[np.int64]
    scores: ClassScores
    edges: NDArray[np.float64]
    reached: NDArray[np.float64]

    def goals(self, reach: int) -> NDArray[np.bool_]:
        """[states]: where a way may stop, with so many more tokens to come."""
        return self.automaton.distance <= reach


def _reach(open_end: bool, budget_after: int) -> int:
    return budget_after if open_end else 0


def lattice(
    log_probs: NDArray[np.float32],
    automaton: TokenAutomaton,
    fixed: Sequence[int | None] | None,
    state: int,
    score_fill: bool,
) -> Lattice:
    """The ways over a canvas; raises ValueError as `best_path` does."""
    held = held_tokens(log_probs, automaton, fixed, state)
    scores = class_scores(log_probs, automaton, held, score_fill)
    edges = scores.best.take(automaton.token_class, axis=1)
    reached = np.full((len(held) + 1, automaton.states), -np.inf)
    reached[0, state] = 0.0
    heads, source = automaton.heads, automaton.source
    first = automaton.begins[heads]
    for place, row in enumerate(edges):
        reached[place + 1, heads] = np.maximum.reduceat(reached[place].take(source) + row, first)
    return Lattice(automaton, held, scores, edges, reached)


def held_tokens(
    log_probs: NDArray[np.float32], automaton: TokenAutomaton, fixed: Sequence[int | None] | None, state: int
) -> NDArray[np.int64]:
    """[B]: the committed token of each position, -1 where there is none. Raises as `best_path` does."""
    length = len(log_probs)
    if log_probs.ndim != 2 or log_probs.shape[1] < automaton.vocabulary_size:
        raise ValueError(
            f"log_probs has shape {log_probs.shape}, expected [canvas, {automaton.vocabulary_size} or more]"
        )
    held = np.full(length, -1, dtype=np.int64)
    if fixed is not None:
        if len(fixed) != length:
            raise ValueError(f"fixed has {len(fixed)} positions, the canvas {length}")
        held[:] = [-1 if token is None else token for token in fixed]
        if any(token is not None and not 0 <= token < automaton.vocabulary_size for token in fixed):
            raise ValueError(f"fixed tokens must be None or 0 to {automaton.vocabulary_size - 1}")
    if not 0 <= state < automaton.states:
        raise ValueError(f"state {state} is none of the automaton's {automaton.states}")
    return held


def best_way(ways: Lattice, reach: int) -> Path:
    """The best path of a lattice that stops within so many tokens of acceptance. Raises Infeasible."""
    automaton, last = ways.automaton, ways.reached[-1]
    allowed = np.where(ways.goals(reach), last, -np.inf)
    goal = int(np.argmax(allowed))
    if allowed[goal] == -np.inf:
        needed = int(automaton.distance[np.isfinite(last)].min()) if np.isfinite(last).any() else None
        why = "the committed tokens fit no call" if needed is None else f"{needed} more tokens are needed"
        raise Infeasible(f"no call fits the canvas: {why}")
    return _path(ways, goal, _classes(ways, goal))


def _classes(ways: Lattice, state: int) -> NDArray[np.int64]:
    """[B]: the classes of the best way into a state."""
    automaton = ways.automaton
    edges = np.empty(len(ways.held), dtype=np.int64)
    for place in range(len(edges) - 1, -1, -1):
        edge, end = automaton.begins[state], automaton.begins[state + 1]
        if end - edge > 1:
            before = ways.reached[place].take(automaton.source[edge:end]) + ways.edges[place, edge:end]
            edge += before.argmax()
        state = automaton.source[edge]
        edges[place] = edge
    return automaton.token_class[edges]


def _path(ways: Lattice, goal: int, classes: NDArray[np.int64]) -> Path:
    automaton, log_probs = ways.automaton, ways.scores.log_probs
    fill = classes >= automaton.classes
    length = int(np.argmax(fill)) if fill.any() else len(fill)
    tokens = np.where(ways.held >= 0, ways.held, ways.scores.best_tokens(classes))
    chosen = np.flatnonzero((ways.held < 0) & ~fill)
    logp = np.maximum(log_probs[chosen, tokens[chosen]], FLOOR, dtype=np.float64).sum()
    for place in np.flatnonzero((ways.held < 0) & fill):
        if automaton.pads:
            tokens[place] = automaton.pads[(place - length) % len(automaton.pads)]
        else:
            tokens[place] = np.argmax(log_probs[place, : automaton.vocabulary_size])
    return Path(tokens, float(logp), goal, automaton.is_final(goal), length)
