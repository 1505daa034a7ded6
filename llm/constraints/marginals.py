"""How sure each token of a call is, given the grammar: forward-backward over the canvas.

A call on the canvas has the probability of its tokens, each place by itself, among all calls that the
automaton accepts and that hold what is committed. A token's marginal is the share of the calls that have it
at its place: what the model finds likely but no call can have there counts for nothing. (Sum-product beside
the max-product of `viterbi`; the same edges, over classes of tokens.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .tokens import TokenAutomaton
from .viterbi import Infeasible, forward, held_tokens, hold

RULED_OUT = 1e-30
"""Probability that a token has at least, however sure the model is of others: the grammar alone rules out."""


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
    the probability that the call has ended before. Raises Infeasible, ValueError for wrong shapes and NaN.
    """
    length = len(log_probs)
    held = held_tokens(log_probs, automaton, fixed, state)
    probs = np.maximum(np.exp(log_probs[:, : automaton.vocabulary_size], dtype=np.float64), RULED_OUT)
    if np.isnan(probs).any():
        raise ValueError("log_probs contain NaN: the model's output is broken")
    weights = _masses(probs, automaton, held, score_fill)
    source, target, edge_class = automaton.source, automaton.target, automaton.token_class
    before = forward(weights, automaton, state, _log_sums)
    goals = automaton.distance <= (budget_after if open_end else 0)
    behind = _backward(weights, automaton, goals)
    total = _log_sum(before[length][goals])
    if total == -np.inf:
        raise Infeasible("no call fits the canvas with its fixed tokens")
    found = np.ones(length)
    for place in np.flatnonzero(held < 0):
        token = int(tokens[place])
        classes = automaton.classes_of(token)
        # Pads are no part of a call, and what is no pad is no fill.
        weight = np.log(probs[place, token]) if len(classes) else weights[place, automaton.classes]
        has = np.zeros(automaton.classes + 1, dtype=np.bool_)
        has[classes if len(classes) else automaton.classes] = True
        mine = has[edge_class]
        paths = before[place, source[mine]] + behind[place + 1, target[mine]]
        found[place] = np.exp(_log_sum(paths) + weight - total)
    return np.minimum(found, 1.0)


def _masses(
    probs: NDArray[np.float64], automaton: TokenAutomaton, held: NDArray[np.int64], score_fill: bool
) -> NDArray[np.float64]:
    """[B, classes + 1]: log-probability of a class's tokens together, -inf without the fixed one."""
    length, real = len(probs), automaton.classes
    weights = np.full((length, real + 1), -np.inf)
    free = np.flatnonzero(held < 0)
    if len(free):
        gathered = np.take(probs[free], automaton.class_tokens, axis=1)
        weights[free, :real] = np.log(np.add.reduceat(gathered, automaton.class_start[:-1], axis=1))
        weights[free, real] = 0.0
        if score_fill and automaton.pads:
            weights[free, real] = np.log(probs[np.ix_(free, np.array(automaton.pads))].max(axis=1))
    hold(weights, automaton, held)
    return weights


def _log_sum(values: NDArray[np.float64]) -> float:
    """log(sum(exp(values))); -inf for none."""
    most = values.max(initial=-np.inf)
    return float(most) if most == -np.inf else float(most + np.log(np.exp(values - most).sum()))


def _log_sums(values: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """`_log_sum` of each segment; `first` is where they begin."""
    most = np.maximum.reduceat(values, first)
    base = np.where(np.isfinite(most), most, 0.0)
    counts = np.diff(np.append(first, len(values)))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.add.reduceat(np.exp(values - np.repeat(base, counts)), first)) + base)


def _backward(
    weights: NDArray[np.float64], automaton: TokenAutomaton, goals: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[B + 1, states]: log-probability of all ways from each state to a goal."""
    found = np.full((len(weights) + 1, automaton.states), -np.inf)
    found[-1, goals] = 0.0
    order = automaton.by_source
    source, target, edge_class = (
        column[order] for column in (automaton.source, automaton.target, automaton.token_class)
    )
    first = np.flatnonzero(np.diff(source, prepend=-1))
    heads = source[first]
    for place in range(len(weights) - 1, -1, -1):
        found[place, heads] = _log_sums(found[place + 1, target] + weights[place, edge_class], first)
    return found
