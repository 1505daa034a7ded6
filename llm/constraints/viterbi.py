"""The most probable accepted call on a canvas (DINGO, arXiv:2505.23061, over classes of tokens)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tokens import TokenAutomaton

FLOOR = -1e4
"""Log-probability of a token that the model rules out: the grammar alone decides what is impossible."""


Join = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
"""Values and where their segments begin -> one value a segment."""


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
    length = len(log_probs)
    held = held_tokens(log_probs, automaton, fixed, state)
    weights = _class_weights(log_probs, automaton, held, score_fill)
    scores = forward(weights, automaton, state)
    goal = _goal(scores[length], automaton, open_end, budget_after)
    states, classes = _backward(scores, weights, automaton, goal)
    return _path(log_probs, automaton, held, states, classes)


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


def _class_weights(
    log_probs: NDArray[np.float32], automaton: TokenAutomaton, held: NDArray[np.int64], score_fill: bool
) -> NDArray[np.float64]:
    """[B, classes + 1]: log-probability of a class's best token, -inf where a fixed token is not in it."""
    length, real = len(log_probs), automaton.classes
    weights = np.full((length, real + 1), -np.inf)
    free = np.flatnonzero(held < 0)
    if len(free):
        gathered = np.take(log_probs[free], automaton.class_tokens, axis=1)
        best = np.maximum.reduceat(gathered, automaton.class_start[:-1], axis=1)
        if np.isnan(best).any():
            raise ValueError("log_probs contain NaN: the model's output is broken")
        weights[free, :real] = np.maximum(best, FLOOR)
        weights[free, real] = 0.0
        if score_fill and automaton.pads:
            best = log_probs[np.ix_(free, np.array(automaton.pads))].max(axis=1)
            weights[free, real] = np.maximum(best, FLOOR)
    hold(weights, automaton, held)
    return weights


def hold(weights: NDArray[np.float64], automaton: TokenAutomaton, held: NDArray[np.int64]) -> None:
    """Let at a committed position nothing but its token pass: its classes, and the fill if it is one."""
    for position in np.flatnonzero(held >= 0):
        token = int(held[position])
        weights[position, automaton.classes_of(token)] = 0.0
        if not automaton.pads or token in automaton.pads:
            weights[position, automaton.classes] = 0.0


def forward(
    weights: NDArray[np.float64], automaton: TokenAutomaton, state: int, join: Join = np.maximum.reduceat
) -> NDArray[np.float64]:
    """[B + 1, states]: score of the ways into each state, joined: of the best one, if not told otherwise."""
    scores = np.full((len(weights) + 1, automaton.states), -np.inf)
    scores[0, state] = 0.0
    first = np.flatnonzero(np.diff(automaton.target, prepend=-1))
    heads = automaton.target[first]
    source, token_class = automaton.source, automaton.token_class
    for position, row in enumerate(weights):
        scores[position + 1, heads] = join(scores[position, source] + row[token_class], first)
    return scores


def _goal(last: NDArray[np.float64], automaton: TokenAutomaton, open_end: bool, budget_after: int) -> int:
    reach = budget_after if open_end else 0
    allowed = np.where(automaton.distance <= reach, last, -np.inf)
    goal = int(np.argmax(allowed))
    if allowed[goal] == -np.inf:
        needed = int(automaton.distance[np.isfinite(last)].min()) if np.isfinite(last).any() else None
        why = "the committed tokens fit no call" if needed is None else f"{needed} more tokens are needed"
        raise Infeasible(f"no call fits the canvas: {why}")
    return goal


def _backward(
    scores: NDArray[np.float64], weights: NDArray[np.float64], automaton: TokenAutomaton, goal: int
) -> tuple[list[int], list[int]]:
    """States (B + 1) and edge classes (B) of the best path."""
    states, classes = [goal], []
    begins = np.searchsorted(automaton.target, np.arange(automaton.states + 1))
    for position in range(len(weights) - 1, -1, -1):
        edges = slice(int(begins[states[-1]]), int(begins[states[-1] + 1]))
        candidates = (
            scores[position, automaton.source[edges]] + weights[position, automaton.token_class[edges]]
        )
        edge = edges.start + int(np.argmax(candidates))
        states.append(int(automaton.source[edge]))
        classes.append(int(automaton.token_class[edge]))
    return states[::-1], classes[::-1]


def _path(
    log_probs: NDArray[np.float32],
    automaton: TokenAutomaton,
    held: NDArray[np.int64],
    states: list[int],
    classes: list[int],
) -> Path:
    tokens = held.copy()
    logp = 0.0
    length = len(tokens)
    for position, token_class in enumerate(classes):
        if token_class >= automaton.classes:
            length = min(length, position)
        if tokens[position] >= 0:
            continue
        if token_class < automaton.classes:
            choices = automaton.tokens_of(token_class)
            tokens[position] = choices[int(np.argmax(log_probs[position, choices]))]
            logp += max(float(log_probs[position, tokens[position]]), FLOOR)
        elif automaton.pads:
            tokens[position] = automaton.pads[(position - length) % len(automaton.pads)]
        else:
            tokens[position] = int(np.argmax(log_probs[position, : automaton.vocabulary_size]))
    return Path(tokens, logp, states[-1], automaton.is_final(states[-1]), length)
