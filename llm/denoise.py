"""Writing a canvas with the house model: free words, or values under a grammar, by any of the samplers.

Every pass scores all places at once; a sampler says which of them are committed. The canvas is done as soon
as everything up to the first committed end mark is; what lies behind it is never paid for. Calls take their
values from the best path of their schema's automaton, so that they parse and validate after any number of
passes; how sure a value is, is its share among all calls that fit.

Both writers are generators: they yield the canvas as it stands and are sent its scores (n, vocab); the last
canvas, with no open place up to its end, is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stretto.llm.cache import KVCache
from stretto.llm.constraints.marginals import marginals, path_and_marginals
from stretto.llm.constraints.tokens import TokenAutomaton
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.engine import Forward, Job
from stretto.llm.samplers.sampler import Proposal, Sampler, State, commit, read
from stretto.llm.tokenizer import CALL, END, MARKS, MASK, PADS
from torch import Tensor

TERMINATORS = (END, CALL)
STILL, STRONGLY, AGREEING = 0.5, 0.1, 3
"""A token of an old reply stays that is so likely; one so unlikely is a strong disagreement, behind which
only runs of so many stay."""

Draw = Callable[[Tensor], Tensor]
"""Scores of a canvas (n, vocab) -> scores whose likeliest tokens are drawn by chance."""


@dataclass(frozen=True)
class Pass:
    """The canvas after one pass: ids with MASK where open; `length` up to and with the end mark, if found."""

    canvas: tuple[int, ...]
    settled: int
    done: bool
    length: int
    state: int | None = None
    """Under a grammar: the automaton's state behind the canvas (None while denoising)."""


def denoised(
    cache: KVCache,
    ids: list[int],
    steps: Generator[Pass, Tensor, Pass],
    show: Callable[[Pass], None] = lambda step: None,
    count: Callable[[], None] = lambda: None,
) -> Job[Pass]:
    """Have a canvas written behind `ids`; each forward is counted, each pass shown, the last one returned."""
    step = next(steps)
    before: Tensor | None = None
    while True:
        count()
        before = (yield Forward(cache, ids, 0, list(step.canvas), len(ids), before)).canvas
        try:
            step = steps.send(before)
        except StopIteration as end:
            last: Pass = end.value
            show(last)
            return last
        show(step)


def end_of(canvas: list[int]) -> int | None:
    """Index of the first committed end mark."""
    return next((place for place, token in enumerate(canvas) if token in TERMINATORS), None)


def _pass(state: State, automaton_state: int | None = None) -> Pass:
    canvas = state.canvas[0].tolist()
    end = end_of(canvas)
    length = len(canvas) if end is None else end + 1
    settled = next((place for place in range(length) if canvas[place] == MASK), length)
    return Pass(tuple(canvas), settled, settled == length, length, automaton_state)


def _up_to(length: int, size: int) -> Tensor:
    return torch.arange(size)[None] < length


def write_words(
    size: int,
    sampler: Sampler,
    late: Callable[[], bool] = lambda: False,
    call_allowed: bool = True,
    draw: Draw | None = None,
    old: Sequence[int] = (),
    pinned: int = 0,
) -> Generator[Pass, Tensor, Pass]:
    """Denoise a reply. `late`: the deadline has come, the next pass is the last one.

    `old`: what stood there for an earlier version of the dialogue. One pass scores it under the new one, and
    what has become doubtful is open again; the first `pinned` of its tokens stay in any case.
    """
    banned = [i for i in range(len(MARKS)) if i != END and i not in PADS and not (i == CALL and call_allowed)]
    state = sampler.initialize(1, size, MASK)
    spent = 0
    if old:
        state = replace(state, canvas=torch.tensor([_padded(old, size)]))
        scores = yield _pass(state)
        state, spent = _doubted(state, scores, pinned), 1
        if (step := _pass(state)).done:
            return step
    for count in range(1 + spent, sampler.passes + 1 + spent):
        scores = (yield _pass(state)).clone()
        scores[:, banned] = -torch.inf
        scores[0, list(PADS)] = -torch.inf
        drawn = None if draw is None else draw(scores).argmax(-1)[None]
        proposal = sampler.propose(scores[None], state, drawn)
        end = end_of(state.canvas[0].tolist())
        within = _up_to(size if end is None else end, size)
        if count == sampler.passes + spent or late():
            return _pass(_ended(commit(state, proposal, within)))
        state = _worded(state, proposal, sampler.accept(proposal, state, within))
        if (step := _pass(state)).done:
            return step
    raise AssertionError("the last pass commits all that is open")


def _padded(old: Sequence[int], size: int) -> list[int]:
    """A reply as it stands on a canvas: behind its end the cycle of pads."""
    body = list(old[:size])
    return body + [PADS[n % len(PADS)] for n in range(size - len(body))]


def _doubted(state: State, scores: Tensor, pinned: int) -> State:
    """The old reply with its doubtful tokens open again.

    A token stays that is as likely as not where it stands: up to the first strong disagreement, and behind it
    in runs of AGREEING that all are.
    """
    old = state.canvas[0].tolist()
    end = end_of(old)
    length = len(old) if end is None else end + 1
    kept = read(scores[None], state).kept[0].tolist()[:length]
    likely = [place < pinned or share >= STILL for place, share in enumerate(kept)]
    first = next((place for place, share in enumerate(kept) if place >= pinned and share < STRONGLY), length)
    canvas, run = [MASK] * len(old), 0
    for place in range(length):
        run = run + 1 if likely[place] else 0
        if place < first and likely[place]:
            canvas[place] = old[place]
        elif run >= AGREEING:
            canvas[place - run + 1 : place + 1] = old[place - run + 1 : place + 1]
    spoken = torch.arange(len(old))[None] < pinned
    never_again = torch.where(spoken, torch.iinfo(torch.long).max, state.reopened)
    return replace(state, canvas=torch.tensor([canvas]), reopened=never_again)


def _ended(state: State) -> State:
    """Out of passes: a pad before the end ends the reply where it stands."""
    canvas = state.canvas[0].tolist()
    end = end_of(canvas)
    inside = canvas if end is None else canvas[:end]
    pad = next((place for place, token in enumerate(inside) if token in PADS), None)
    if pad is None:
        return state
    return replace(state, canvas=torch.tensor([[*canvas[:pad], END, *canvas[pad + 1 :]]]))


def _worded(before: State, proposal: Proposal, state: State) -> State:
    """A pad may only stand behind the end: one that was committed before it is open again.

    Where only pads were sure, the surest word (or the end) is committed, or the same pass would come again.
    """
    old, canvas = before.canvas[0].tolist(), state.canvas[0].tolist()
    end = end_of(canvas)
    inside = range(len(canvas) if end is None else end)
    result = [MASK if token in PADS and place in inside else token for place, token in enumerate(canvas)]
    if result == old:
        tokens, sure = proposal.tokens[0].tolist(), proposal.sure[0].tolist()
        open_ = [place for place in inside if old[place] == MASK]
        words = [place for place in open_ if tokens[place] not in PADS]
        if words:
            place = max(words, key=lambda p: sure[p])
            result[place] = tokens[place]
        elif open_:
            result[open_[0]] = END
    return replace(state, canvas=torch.tensor([result]))


def write_call(
    size: int,
    sampler: Sampler,
    automaton: TokenAutomaton,
    state: int = 0,
    tokens_after: int = 0,
    late: Callable[[], bool] = lambda: False,
    prior: Callable[[NDArray[np.int64]], NDArray[np.float32] | None] = lambda written: None,
    draw: Draw | None = None,
) -> Generator[Pass, Tensor, Pass]:
    """Denoise a call's arguments from an automaton's state; every value lies on one accepted path.

    `tokens_after`: a call that does not fit this canvas may go on for so many tokens on the next one.
    `prior`: log-prior (vocab,) of the token behind the ids written so far, or None.
    """
    work = sampler.initialize(1, size, MASK)
    ends: dict[str, Any] = {"open_end": tokens_after > 0, "budget_after": tokens_after, "score_fill": True}
    for count in range(1, sampler.passes + 1):
        scores = yield _pass(work)
        logs = torch.log_softmax(scores.float(), -1).numpy()
        canvas = work.canvas[0].numpy()
        first = int(np.argmax(canvas == MASK))
        if (expected := prior(canvas[:first])) is not None:
            logs[first] += expected
        fixed = [None if token == MASK else int(token) for token in canvas]
        # Sure beside what else the schema allows there, not beside what it forbids.
        if draw is None:
            path, sure = path_and_marginals(logs, automaton, fixed, state, **ends)
        else:
            path = best_path(draw(torch.from_numpy(logs)).numpy(), automaton, fixed, state, **ends)
            sure = marginals(logs, automaton, path.tokens, fixed, state, **ends)
        within = _up_to(path.length, size)
        kept = marginals(logs, automaton, canvas, None, state, **ends) if _doubts(work, sampler) else sure
        proposal = _under_a_grammar(work, path.tokens, sure, kept)
        if count == sampler.passes or late():
            return _pass(commit(work, proposal, within), path.end_state)
        work = sampler.accept(proposal, work, within)
        if (step := _pass(work, path.end_state)).done:
            return step
    raise AssertionError("the last pass commits all that is open")


def _doubts(state: State, sampler: Sampler) -> bool:
    """Whether a sampler asks how likely written tokens still are."""
    return hasattr(sampler, "doubt") and not bool(state.open.all())


def _under_a_grammar(
    state: State, tokens: NDArray[np.int64], sure: NDArray[np.float64], kept: NDArray[np.float64]
) -> Proposal:
    """What the grammar makes of a pass: the best path and its shares among all calls."""
    share = torch.from_numpy(np.clip(sure, 0.0, 1.0).astype(np.float32))[None]
    other = (1 - share).clamp(min=1e-9)
    spread = -(share * share.clamp(min=1e-9).log() + other * other.log())  # of "this token or another one"
    held = torch.from_numpy(kept.astype(np.float32))[None]
    return Proposal(
        torch.from_numpy(tokens)[None], share, spread.clamp(min=0), torch.where(state.open, 1.0, held)
    )
