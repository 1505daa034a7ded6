"""Each sampler's own rule, over batches of canvases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.samplers import DraftAndVerify, EntropyBound, FixedSteps, Remasking, Sampler, Threshold
from stretto.llm.samplers.sampler import Proposal, State, commit, opened, read
from stretto.llm.samplers.threshold import from_the_left

MASK = 0
EVERY: list[Sampler] = [
    FixedSteps(4), Threshold(0.6, 6), Threshold(0.6, 6, "left"), EntropyBound(0.5, 6),
    Remasking(0.6, 6, doubt=0.3),
]  # fmt: skip


def table(seed: int, count: int = 3, size: int = 6, vocab: int = 12, sharp: float = 2.0) -> torch.Tensor:
    return torch.randn(count, size, vocab, generator=torch.Generator().manual_seed(seed)) * sharp


def filled(sampler: Sampler, scores: torch.Tensor, within: torch.Tensor) -> list[State]:
    """The canvases after every pass, the scores always the same."""
    state = sampler.initialize(*scores.shape[:2], MASK)
    seen = []
    while (state.open & within).any():
        proposal = sampler.propose(scores, state)
        last = state.forward == sampler.passes - 1
        state = commit(state, proposal, within) if last else sampler.accept(proposal, state, within)
        seen.append(state)
    return seen


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 9999), st.floats(0.1, 9), st.data())
def test_a_batch_is_filled_as_each_of_its_canvases_alone(
    sampler: Sampler, seed: int, sharp: float, data: st.DataObject
) -> None:
    scores = table(seed, sharp=sharp)
    drawn = data.draw(st.lists(st.booleans(), min_size=18, max_size=18))
    within = torch.tensor(drawn).view(3, 6)
    states = filled(sampler, scores, within)
    assert len(states) <= sampler.passes
    last = states[-1] if states else sampler.initialize(3, 6, MASK)
    assert ((last.canvas != MASK) == within).all(), "what does not count stays open, all else is written"
    for row in range(3):
        alone = filled(sampler, scores[row : row + 1], within[row : row + 1])
        if alone:
            assert torch.equal(alone[-1].canvas[0], last.canvas[row])


def test_fixed_steps_commit_the_same_number_and_the_surest_first() -> None:
    sampler, scores = FixedSteps(3), table(1, size=7)
    states = filled(sampler, scores, torch.ones(3, 7, dtype=torch.bool))
    assert [int(state.open.sum(-1)[0]) for state in states] == [4, 2, 0]
    sure = read(scores, opened(3, 7, MASK)).sure
    first = states[0].canvas != MASK
    assert (sure.masked_fill(~first, 9).min(-1).values >= sure.masked_fill(first, -9).max(-1).values).all()


def test_a_threshold_commits_all_that_is_sure_or_the_surest() -> None:
    proposal = Proposal(torch.tensor([[5, 6, 7]] * 2), torch.tensor([[0.9, 0.2, 0.8], [0.3, 0.4, 0.1]]),
                        torch.zeros(2, 3), torch.ones(2, 3))  # fmt: skip
    state = Threshold(0.7).accept(proposal, opened(2, 3, MASK), torch.ones(2, 3, dtype=torch.bool))
    assert state.canvas.tolist() == [[5, MASK, 7], [MASK, 6, MASK]] and state.forward == 1


@given(st.lists(st.floats(0.0, 1, width=32), min_size=1, max_size=8), st.data())
def test_from_the_left_the_first_open_place_and_the_sure_ones_behind_it(
    confidence: list[float], data: st.DataObject
) -> None:
    sure = np.array(confidence) >= data.draw(st.floats(0, 1, width=32))
    open_ = np.array(data.draw(st.lists(st.booleans(), min_size=len(sure), max_size=len(sure))))
    tokens = torch.arange(len(sure))[None]
    taken = from_the_left(tokens, torch.tensor(sure)[None], torch.tensor(open_)[None])[0].numpy()
    places = np.flatnonzero(open_)
    count = int(taken.sum())
    assert count >= min(1, len(places)) and (np.flatnonzero(taken) == places[:count]).all()
    assert sure[places[1:count]].all() and (count < 2 or sure[places[0]])
    assert count == len(places) or not sure[places[count]] or not sure[places[0]]


def test_a_token_twice_in_a_row_waits_for_the_next_pass() -> None:
    open_, sure = torch.tensor([[False, True, True, True]]), torch.ones(1, 4, dtype=torch.bool)
    left = [from_the_left(torch.tensor([t]), sure, open_)[0].tolist() for t in ([7, 7, 7, 8], [7, 6, 7, 8])]
    assert left == [[False, True, False, False], [False, True, True, True]]


@pytest.mark.parametrize(("bound", "count"), [(0.0, 1), (0.12, 2), (0.35, 3), (9.0, 4)])
def test_the_entropies_of_what_is_committed_but_the_largest_stay_within_the_bound(
    bound: float, count: int
) -> None:
    spread = torch.tensor([[0.3, 0.1, 0.9, 0.2]])
    proposal = Proposal(torch.tensor([[3, 4, 5, 6]]), torch.ones(1, 4), spread, torch.ones(1, 4))
    state = EntropyBound(bound).accept(proposal, opened(1, 4, MASK), torch.ones(1, 4, dtype=torch.bool))
    assert sorted(spread[0][state.canvas[0] != MASK].tolist()) == sorted(spread[0].tolist())[:count]


def test_a_doubtful_token_goes_back_to_mask_once_and_never_at_the_end() -> None:
    sampler, whole = Remasking(0.7, 6, doubt=0.3), torch.ones(1, 3, dtype=torch.bool)
    state = State(torch.tensor([[4, MASK, MASK]]), MASK, torch.zeros(1, 3, dtype=torch.long), forward=1)
    doubtful = Proposal(torch.tensor([[9, 5, 6]]), torch.tensor([[0.9, 0.9, 0.2]]), torch.zeros(1, 3),
                        torch.tensor([[0.1, 1.0, 1.0]]))  # fmt: skip
    after = sampler.accept(doubtful, state, whole)
    assert after.canvas.tolist() == [[MASK, 5, MASK]] and after.reopened.tolist() == [[1, 0, 0]]
    again = State(torch.tensor([[4, MASK, MASK]]), MASK, after.reopened, forward=2)
    assert sampler.accept(doubtful, again, whole).canvas.tolist() == [[4, 5, MASK]], "no flicker"
    late = State(state.canvas, MASK, state.reopened, forward=4)
    assert sampler.accept(doubtful, late, whole).canvas.tolist() == [[4, 5, MASK]]


def test_a_mask_is_never_proposed_and_what_stands_is_judged() -> None:
    scores = torch.full((1, 2, 4), 0.0)
    scores[..., MASK] = 50.0
    scores[0, 1, 3] = 5.0
    state = State(torch.tensor([[MASK, 2]]), MASK, torch.zeros(1, 2, dtype=torch.long))
    proposal = read(scores, state)
    assert MASK not in proposal.tokens and proposal.kept[0, 0] == 1 and proposal.kept[0, 1] < 0.01
    drawn = read(scores, state, torch.tensor([[1, 1]]))
    assert drawn.tokens.tolist() == [[1, 1]] and drawn.sure[0, 1] < 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.sampled_from([1.0, 0.4, 0.1]))
def test_of_a_draft_the_longest_prefix_stays_that_the_rows_agree_with(seed: int, least: float) -> None:
    rows = table(seed, vocab=4)
    rows[..., MASK] = 99.0
    canvas = torch.randint(0, 4, (3, 6), generator=torch.Generator().manual_seed(seed + 1))
    state = State(canvas, MASK, torch.zeros(3, 6, dtype=torch.long), forward=2)
    agreed, after = DraftAndVerify(least=least).verify(rows, state)
    assert after.forward == 3
    chances = rows[..., 1:].softmax(-1)
    for row in range(3):
        count = 0
        for place, token in enumerate(canvas[row].tolist()):
            best = float(chances[row, place].max())
            if token == MASK or float(chances[row, place, token - 1]) < best * least * (1 - 1e-6):
                break
            count += 1
        corrected = [] if count == 6 else [int(chances[row, count].argmax()) + 1]
        kept = canvas[row, :count].tolist() + corrected
        assert int(agreed[row]) == count and after.canvas[row].tolist() == kept + [MASK] * (6 - len(kept))
