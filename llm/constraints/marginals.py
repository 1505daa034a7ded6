"""How sure each token of a call is, given the grammar: forward-backward over the canvas.

A call on the canvas has the probability of its tokens, each place by itself, among all calls that the
automaton accepts and that hold what is committed. A token's marginal is the share of the calls that have it
at its place: what the model finds likely but no call can have there counts for nothing.

Sum-product beside the max-product of `viterbi`, on the same lattice. The sums into a state are multiples of
its best way, so that they need no logarithms and cannot vanish, however unlikely the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .tokens import TokenAutomaton
from .viterbi import Infeasible, Lattice, Path, best_way, lattice

LEAST = 1e-300
"""One way, among sums of up to 10**4 ways a place: 100 places are far from what a double holds."""


def marginals(
    log_probs: NDArray[np.float32],
    automaton: TokenAutomaton,
    tokens: NDArray[np.int64],
    fixed: Sequence[int | None] | None = None,
    state: int = 0,
    *,
    open_end: bool = False,
    budget_after: int = 0,
    score_fill: bool = False,
) -> NDArray[np.float64]:
    """The probability (0..1) of each of `tokens` [B] at its place of the canvas; 1 where it is committed.

    The other arguments are those of `best_path`, whose tokens these mostly are. Behind the terminator it is
    the probability that the call has ended before. Of an automaton that is too large (its `exact` is False)
    they are the model's own probabilities. Raises Infeasible, ValueError for wrong shapes and NaN.
    """
    ways = lattice(log_probs, automaton, fixed, state, score_fill)
    return shares(ways, tokens, budget_after if open_end else 0)


def path_and_marginals(
    log_probs: NDArray[np.float32],
    automaton: TokenAutomaton,
    fixed: Sequence[int | None] | None = None,
    state: int = 0,
    *,
    open_end: bool = False,
    budget_after: int = 0,
    score_fill: bool = False,
) -> tuple[Path, NDArray[np.float64]]:
    """`best_path` and the `marginals` of its tokens, for less than both apart."""
    ways = lattice(log_probs, automaton, fixed, state, score_fill)
    reach = budget_after if open_end else 0
    path = best_way(ways, reach)
    return path, shares(ways, path.tokens, reach)


def shares(ways: Lattice, tokens: NDArray[np.int64], reach: int) -> NDArray[np.float64]:
    """The marginals of tokens in a lattice whose ways stop within `reach` tokens of acceptance."""
    automaton, reached = ways.automaton, ways.reached
    last = np.where(ways.goals(reach), reached[-1], -np.inf)
    if not np.isfinite(last).any():
        raise Infeasible("no call fits the canvas with its fixed tokens")
    if not automaton.exact:
        return ways.scores.alone(tokens)
    source, target, heads = automaton.source, automaton.target, automaton.heads
    first = automaton.begins[heads]
    base = np.where(np.isfinite(reached), reached, 0.0)
    # [B, edges]: each edge's ways, as a multiple of the best way into its target; at most 1 times `ways`.
    steps = reached[:-1].take(source, axis=1)
    steps += ways.edges
    steps -= base[1:].take(target, axis=1)
    np.exp(steps, out=steps)
    steps *= ways.scores.ways.take(automaton.token_class, axis=1)
    sums = np.zeros_like(reached)
    sums[0, np.isfinite(reached[0])] = LEAST
    for place, row in enumerate(steps):
        row *= sums[place].take(source)
        sums[place + 1, heads] = np.add.reduceat(row, first)
    # Of all ways into an edge's target the share that comes by the edge; then, from the goals back, of all.
    steps /= np.maximum(sums[1:], LEAST).take(target, axis=1)
    behind = sums[-1] * np.exp(last - last.max())
    behind /= behind.sum()
    for row in steps[::-1]:
        row *= behind.take(target)
        behind = np.bincount(source, row, automaton.states)
    mine = ways.scores.of(tokens).take(automaton.token_class, axis=1)
    found: NDArray[np.float64] = np.einsum("be,be->b", steps, mine)
    found[ways.held >= 0] = 1.0
    return np.asarray(np.minimum(found, 1.0), dtype=np.float64)
