"""Writing with the checkpoints of other families: tiny random weights, every way to attend, every sampler."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from stretto.llm import canvas_pass
from stretto.llm.cache import ContextOverflow
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoints.dream import DREAM
from stretto.llm.checkpoints.fast_dllm import FAST_DLLM
from stretto.llm.checkpoints.house import HOUSE
from stretto.llm.checkpoints.llada import LLADA
from stretto.llm.checkpoints.llada2 import LLADA2
from stretto.llm.checkpoints.load import Checkpoint
from stretto.llm.checkpoints.nemotron import NEMOTRON
from stretto.llm.checkpoints.recipe import Recipe, attention_mask
from stretto.llm.checkpoints.sdar import SDAR
from stretto.llm.experts import Experts
from stretto.llm.generation import Generation, Step, generate
from stretto.llm.samplers import (
    DraftAndVerify,
    EntropyBound,
    FixedSteps,
    Proposal,
    Remasking,
    Sampler,
    State,
    Threshold,
)
from stretto.llm.samplers.sampler import commit
from stretto.llm.transformer import Config, Transformer
from torch import Tensor

MASK, BLOCK = 0, 8
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
FAMILIES = (LLADA, DREAM, FAST_DLLM, SDAR, LLADA2, NEMOTRON)
SAMPLERS: dict[str, Sampler] = {
    "fixed": FixedSteps(3),
    "threshold": Threshold(0.3, 6),
    "left": Threshold(0.3, 6, "left"),
    "entropy": EntropyBound(0.8, 6),
    "remasking": Remasking(0.3, 8, doubt=0.4),
    "verified": DraftAndVerify(),
    "lossy": DraftAndVerify(Threshold(0.3, 3), 0.3),
}
PROMPTS = [[5, 6, 7], [3] * 8, [9, 1, 4, 6, 2, 7, 8, 1, 5, 5, 3], [2], list(range(1, 20))]
FEW = [[1 + token % 6 for token in prompt] for prompt in PROMPTS]
"""Prompts of a vocabulary of 7."""


def made(recipe: Recipe, vocab: int = 24, context: int = 200, seed: int = 0) -> Checkpoint:
    """A checkpoint of a family with random weights, and neither folder nor tokenizer."""
    shifted = recipe in (DREAM, FAST_DLLM, HOUSE)
    shape = Config(vocab, 2, 24, 4, 2, 6, 32, qk_norm=recipe is SDAR, tied=False, shifted=shifted,
                   experts=Experts(4, 2, 12, shared_hidden=12) if recipe is LLADA2 else None)  # fmt: skip
    torch.manual_seed(seed)
    model = Transformer(shape).eval().requires_grad_(False)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.copy_(torch.randn_like(weight) * 0.4)
    none = CheckpointError("no tokenizer")
    return Checkpoint(model, recipe, Path(), MASK, (), BLOCK, context, none)


@dataclass
class Watched:
    """Every pass as it was shown, and the ids of a text before it."""

    steps: list[Step]
    generations: list[Generation]

    def of(self, prompt: int) -> list[Step]:
        return [step for step in self.steps if step.prompt == prompt]


def watched(
    checkpoint: Checkpoint, prompts: list[list[int]], sampler: Sampler, most: int = 24, **options: object
) -> Watched:
    steps: list[Step] = []
    found = generate(checkpoint, prompts, sampler, max_tokens=most, on_pass=steps.append, **options)  # type: ignore[arg-type]
    return Watched(steps, found)


def uncached(checkpoint: Checkpoint, ids: list[int], canvas: int) -> Tensor:
    """Scores (n, vocab) of every place of a sequence, all of it computed at once; the last canvas begins at
    a place."""
    kind, n = checkpoint.recipe.attention, len(ids)
    sees = attention_mask(kind, n, BLOCK, torch.device("cpu"))
    if kind == "causal+canvas":
        assert sees is not None
        sees[canvas:, canvas:] = True
    with torch.no_grad():
        scores = checkpoint.model.logits(checkpoint.model(torch.tensor([ids]), sees))[0]
    scores = torch.cat([scores[:1], scores[:-1]]) if checkpoint.config.shifted else scores
    scores[:, MASK] = -torch.inf
    return scores


@pytest.mark.parametrize("piece", [1024, 8])
@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda recipe: recipe.family)
def test_every_pass_has_the_scores_of_an_uncached_computation(
    recipe: Recipe, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas_pass, "PIECE", piece)
    checkpoint = made(recipe)
    seen = watched(checkpoint, PROMPTS, Threshold(0.3, 6))
    compared = 0
    for number, prompt in enumerate(PROMPTS):
        before: list[int] = []
        canvas = len(prompt)
        for step in seen.of(number):
            if MASK not in before:  # another canvas
                canvas = len(prompt) + len(before)
            whole = [*prompt, *before]
            end = len(prompt) + 24 if recipe.attention == "full" else canvas + BLOCK
            if recipe.attention == "block-causal":
                end = canvas // BLOCK * BLOCK + BLOCK
            whole += [MASK] * (end - len(whole))
            wanted = uncached(checkpoint, whole, canvas)[len(prompt) + step.begin :]
            places = range(len(prompt) + step.begin, len(prompt) + step.begin + len(step.scores))
            open_ = [i for i, place in enumerate(places) if whole[place] == MASK]
            torch.testing.assert_close(step.scores[open_], wanted[open_], **CLOSE)
            compared += len(open_)
            before = step.ids
    assert compared > 100


@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda recipe: recipe.family)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_ends_and_a_batch_is_written_as_each_alone(recipe: Recipe, name: str) -> None:
    checkpoint, sampler = made(recipe), SAMPLERS[name]
    if isinstance(sampler, DraftAndVerify) and recipe.attention != "causal+canvas":
        with pytest.raises(ValueError, match="no causal mode"):
            generate(checkpoint, PROMPTS, sampler, max_tokens=19)
        return
    found = generate(checkpoint, PROMPTS, sampler, max_tokens=19)
    for prompt, one in zip(PROMPTS, found, strict=True):
        assert len(one.ids) == 19 and MASK not in one.ids and not one.stopped
        assert [one] == generate(checkpoint, [prompt], sampler, max_tokens=19)


@pytest.mark.parametrize("recipe", [LLADA, FAST_DLLM, NEMOTRON], ids=lambda recipe: recipe.family)
@pytest.mark.parametrize("name", ["threshold", "remasking", "verified"])
def test_what_is_settled_stays(recipe: Recipe, name: str) -> None:
    if name == "verified" and recipe is not NEMOTRON:
        pytest.skip("it has no causal mode")
    seen = watched(made(recipe), PROMPTS, SAMPLERS[name])
    for number, one in enumerate(seen.generations):
        steps = seen.of(number)
        assert all(step.ids[: step.settled] == one.ids[: step.settled] for step in steps)
        settled = [step.settled for step in steps]
        assert settled == sorted(settled) and settled[-1] == 24
        assert [step.forward for step in steps] == list(range(1, len(steps) + 1))
        assert one.forwards == len(steps)


# ------------------------------------------------------------------ draft and verify


def causal_alone(
    checkpoint: Checkpoint, prompts: list[list[int]], most: int
) -> tuple[list[list[int]], Tensor]:
    """Greedy, token by token, all of it computed for each of them; and by how much each was the best."""
    ids, gaps = [list(prompt) for prompt in prompts], torch.zeros(len(prompts), most)
    for step in range(most):
        longest = max(map(len, ids))
        tokens = torch.tensor([one + [1] * (longest - len(one)) for one in ids])
        sees = torch.ones(longest, longest, dtype=torch.bool).tril()
        with torch.no_grad():
            hidden = checkpoint.model(tokens, sees)
            last = hidden[torch.arange(len(ids)), torch.tensor([len(one) - 1 for one in ids])]
            scores = checkpoint.model.logits(last)
        scores[:, MASK] = -torch.inf
        best = scores.topk(2).values
        gaps[:, step] = best[:, 0] - best[:, 1]
        for one, token in zip(ids, scores.argmax(-1).tolist(), strict=True):
            one.append(token)
    return [one[len(prompt) :] for one, prompt in zip(ids, prompts, strict=True)], gaps


@pytest.mark.parametrize(
    ("recipe", "drafter", "block"),
    [(NEMOTRON, FixedSteps(1), 8), (NEMOTRON, Threshold(0.5, 4), 5), (NEMOTRON, FixedSteps(1), 1),
     (HOUSE, FixedSteps(1), 8)],
)  # fmt: skip
def test_verified_drafts_are_what_the_causal_mode_writes(
    recipe: Recipe, drafter: Sampler, block: int
) -> None:
    checkpoint = made(recipe, vocab=7)
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 12, (200,), generator=generator).tolist()
    prompts = [torch.randint(1, 7, (n,), generator=generator).tolist() for n in lengths]
    wanted, gaps = causal_alone(checkpoint, prompts, 20)
    found = generate(checkpoint, prompts, DraftAndVerify(drafter), max_tokens=20, block=block)
    ties = 0
    for n, one in enumerate(found):
        assert len(one.ids) == 20
        first = next(
            (i for i, pair in enumerate(zip(one.ids, wanted[n], strict=True)) if len({*pair}) > 1), None
        )
        if first is not None:
            assert gaps[n, first] < 1e-4, "another token although one was clearly the best"
            ties += 1
    assert ties <= 3
    forwards = [one.forwards for one in found]
    if block == 1:
        assert set(forwards) == {20}, "a pass a token"
    elif drafter.passes == 1:
        assert min(forwards) < 20, "a draft that is right saves passes"
        assert all(count % 2 for count in forwards), "one pass to read, and then two a draft"


def test_a_lossy_check_lets_likely_tokens_pass() -> None:
    checkpoint = made(NEMOTRON, vocab=7)
    exact, lossy = (
        sum(one.forwards for one in generate(checkpoint, FEW, DraftAndVerify(least=least), max_tokens=24))
        for least in (1.0, 0.2)
    )
    assert lossy < exact
    with pytest.raises(ValueError, match="least"):
        DraftAndVerify(least=0)


# ------------------------------------------------------------------ ends, chance, and what cannot be


@dataclass(frozen=True)
class Scripted(FixedSteps):
    """Writes one given token at one given place a pass, as far as it counts."""

    script: tuple[tuple[int, int], ...] = ()
    passes: int = 99

    def accept(self, proposal: Proposal, state: State, within: Tensor) -> State:
        place, token = self.script[state.forward]
        at = torch.zeros_like(within)
        at[:, place] = within[:, place]
        return commit(state, replace(proposal, tokens=torch.full_like(proposal.tokens, token)), at)


@pytest.mark.parametrize("recipe", [LLADA, SDAR, NEMOTRON], ids=lambda recipe: recipe.family)
def test_it_ends_when_no_mask_is_before_a_stop(recipe: Recipe) -> None:
    script = ((3, 9), (0, 5), (6, 4), (1, 6), (2, 7))
    seen = watched(made(recipe), [[1] * 8], Scripted(script=script), stops=[9])
    assert seen.generations == [Generation([5, 6, 7], 5, True)]
    assert [step.ids[:8] for step in seen.steps][2] == [5, 0, 0, 9, 0, 0, 0, 0], (
        "nothing behind a stop counts"
    )


def test_a_stop_in_the_prompt_is_none_in_the_answer() -> None:
    for recipe in FAMILIES:
        (one,) = generate(made(recipe), [[1, 9, 9]], Threshold(0.3, 6), max_tokens=12, stops=[9])
        assert one.ids


@pytest.mark.parametrize("recipe", [DREAM, FAST_DLLM, NEMOTRON], ids=lambda recipe: recipe.family)
def test_each_text_ends_at_its_own_stop(recipe: Recipe) -> None:
    checkpoint = made(recipe)
    free = generate(checkpoint, PROMPTS, Threshold(0.3, 6), max_tokens=24)
    stops = [free[0].ids[3], free[2].ids[10]]
    found = generate(checkpoint, PROMPTS, Threshold(0.3, 6), max_tokens=24, stops=stops)
    assert any(one.stopped for one in found)
    for one, before in zip(found, free, strict=True):
        assert not set(one.ids) & set(stops)
        assert one.stopped == (len(one.ids) < 24)
        assert one.forwards <= before.forwards


@pytest.mark.parametrize("recipe", [LLADA, SDAR, NEMOTRON], ids=lambda recipe: recipe.family)
@pytest.mark.parametrize("name", ["threshold", "verified"])
def test_the_same_seed_draws_the_same(recipe: Recipe, name: str) -> None:
    if name == "verified" and recipe is not NEMOTRON:
        pytest.skip("it has no causal mode")
    checkpoint, same = made(recipe), [PROMPTS[0], PROMPTS[0]]
    drawn = [
        generate(checkpoint, same, SAMPLERS[name], max_tokens=16, temperature=1.5, seed=seed)
        for seed in (1, 1, 2, 2**63 - 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2] != drawn[3]
    assert drawn[0][0] != drawn[0][1], "each prompt draws its own"
    assert not any(MASK in one.ids for run in drawn for one in run)


def test_what_is_drawn_and_verified_is_what_the_causal_mode_draws() -> None:
    checkpoint = made(NEMOTRON, vocab=7)
    drafted, alone = (
        generate(checkpoint, FEW, DraftAndVerify(), max_tokens=24, temperature=0.8, seed=4, block=block)
        for block in (8, 1)
    )
    assert [one.ids for one in drafted] == [one.ids for one in alone]
    assert sum(one.forwards for one in drafted) != sum(one.forwards for one in alone)


@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda recipe: recipe.family)
def test_in_a_hurry_the_window_is_written_and_that_is_all(recipe: Recipe) -> None:
    (one,) = generate(made(recipe), [[1] * 8], FixedSteps(8), max_tokens=24, late=lambda passes: passes >= 3)
    assert one.forwards == 3 and len(one.ids) == 8 and MASK not in one.ids


def test_windows_are_filled_one_after_another() -> None:
    seen = watched(made(FAST_DLLM), [[1] * 8], FixedSteps(2), most=8, window=4)
    assert [step.begin for step in seen.steps] == [0, 0, 0, 4, 4]
    assert seen.steps[2].ids.index(MASK) == 4
    whole = watched(replace(made(FAST_DLLM), block=16), [[1] * 16], FixedSteps(2), most=16)
    assert [step.begin for step in whole.steps] == [0, 0, 0, 8, 8], "the family's own"


def test_what_is_thrown_by_who_watches_ends_it() -> None:
    def watch(step: Step) -> None:
        if step.forward == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(made(SDAR), PROMPTS, FixedSteps(8), on_pass=watch, max_tokens=24)


def test_what_cannot_be_is_said() -> None:
    checkpoint = made(SDAR, context=40)
    with pytest.raises(ContextOverflow, match=r"30 tokens and 11 more do not fit the 40"):
        generate(checkpoint, [[1] * 30, [1]], max_tokens=11)
    for prompts, options in (([[]], {}), ([[1]], {"max_tokens": 0}), ([[1]], {"block": 0})):
        with pytest.raises(ValueError, match="at least one"):
            generate(checkpoint, prompts, **{"max_tokens": 4, **options})  # type: ignore[arg-type, dict-item]
    assert generate(checkpoint, []) == []
