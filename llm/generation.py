"""Writing with any family's checkpoint: prompts in, tokens out, several prompts at once, in plain PyTorch.

A canvas of masks is put behind the prompt and filled window by window, in each pass as many places as the
sampler is sure of. What a pass has to compute depends on what the family sees:

- full (LLaDA, Dream): everything sees everything, so nothing can be kept: every pass computes the whole
  sequence. The canvas is all that may be written, its windows are the blocks (semi-autoregressive).
- block-causal (Fast-dLLM v2, SDAR, LLaDA2): a canvas is one block. Finished blocks never change, so their
  keys and values are kept, exactly. A prompt's last, partial block stands fixed in the first canvas.
- causal+canvas (Nemotron, our own): what is finished is read causally, exactly kept token by token. The same
  weights can also write from left to right, or check what a canvas drafted (`DraftAndVerify`).

Finished tokens are read in the pass that begins the next canvas, not in one of their own. Only a shifted
block-causal model reads them first: its next block begins with what they predict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from stretto.llm.cache import ContextOverflow
from stretto.llm.canvas_pass import Passes, Text
from stretto.llm.checkpoints.diffusion_gemma import DiffusionGemma
from stretto.llm.checkpoints.load import Checkpoint
from stretto.llm.samplers import DraftAndVerify, FixedSteps, Remasking, Sampler, State, Threshold
from stretto.llm.samplers.sampler import commit
from torch import Tensor

PUBLISHED = Threshold(0.9, 1024)
"""The rule that most families are published with: every token likelier than 0.9, at least one a pass."""


@dataclass(frozen=True)
class Generation:
    """Tokens behind a prompt up to its first stop, and the passes that it took part in.

    `stopped`: by a stop, and not because there were enough of them.
    """

    ids: list[int]
    forwards: int
    stopped: bool


@dataclass(frozen=True)
class Step:
    """One prompt after one pass. `ids`: what is written behind it, masks where it is open.

    The first `settled` of them no later pass changes. `scores` (n, vocab): of the places from `begin` on, as
    the pass gave them.
    """

    prompt: int
    forward: int
    ids: list[int]
    settled: int
    begin: int
    scores: Tensor


def generate(
    checkpoint: Checkpoint | DiffusionGemma,
    prompts: Sequence[Sequence[int]],
    sampler: Sampler | None = None,
    *,
    max_tokens: int = 256,
    block: int | None = None,
    window: int | None = None,
    stops: Sequence[int] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    on_pass: Callable[[Step], None] | None = None,
    late: Callable[[int], bool] | None = None,
) -> list[Generation]:
    """Write behind each of the prompts (ids), all at once.

    Args:
        sampler: `PUBLISHED` if None. `DraftAndVerify` is for families with a causal mode.
        block: tokens of a block, where it is not the checkpoint's.
        window: places of a block that are filled before those behind them, where it is not the family's.
        stops: ids that end a text (None: the checkpoint's).
        temperature: above 0 tokens are drawn, the same ones for the same `seed`; each prompt draws its own.
        on_pass: sees each prompt after each of its passes. What it raises ends the generation.
        late: after so many passes, whether to end now; what is open in the windows at work is written first.

    Raises ValueError for what cannot be, ContextOverflow for prompts that leave no room.
    """
    if not prompts:
        return []
    longest = max(map(len, prompts))
    if min(map(len, prompts)) < 1 or max_tokens < 1:
        raise ValueError("a prompt has at least one token, and max_tokens is at least 1")
    if longest + max_tokens > checkpoint.context:
        raise ContextOverflow(
            f"a prompt of {longest} tokens and {max_tokens} more do not fit the {checkpoint.context} that "
            "this checkpoint was made for: shorten the prompt, or write less"
        )
    if isinstance(checkpoint, DiffusionGemma):
        return [
            _delegated(checkpoint, number, list(prompt), sampler, max_tokens, seed, on_pass, late)
            for number, prompt in enumerate(prompts)
        ]
    writing = _Writing(
        checkpoint,
        sampler or PUBLISHED,
        checkpoint.block if block is None else block,
        checkpoint.recipe.window if window is None else window,
        frozenset(checkpoint.stops if stops is None else stops),
        temperature,
        seed,
        on_pass,
        late,
    )
    texts = [Text(number, list(prompt), len(prompt), max_tokens) for number, prompt in enumerate(prompts)]
    with torch.inference_mode():
        writing.write(texts)
    return [writing.result(text) for text in texts]


@dataclass
class _Writing:
    """How one call of `generate` writes."""

    checkpoint: Checkpoint
    sampler: Sampler
    block: int
    window: int | None
    stops: frozenset[int]
    temperature: float
    seed: int
    on_pass: Callable[[Step], None] | None
    late: Callable[[int], bool] | None
    hurried: bool = False

    def __post_init__(self) -> None:
        self.mask, self.kind = self.checkpoint.mask, self.checkpoint.recipe.attention
        self.device = self.checkpoint.model.device
        self.passes = Passes(self.checkpoint, self.block)
        if self.block < 1 or (self.window is not None and self.window < 1):
            raise ValueError("a block has at least one token, and so has a window of it")
        if isinstance(self.sampler, DraftAndVerify) and self.kind != "causal+canvas":
            raise ValueError(
                f"{self.checkpoint.recipe.family} has no causal mode that could check a draft: take another "
                "sampler, for instance threshold"
            )

    def write(self, texts: list[Text]) -> None:
        """Until each has its stop, or is full."""
        for text in texts:
            self.passes.begin(text)
        if isinstance(self.sampler, DraftAndVerify):
            self._draft_and_verify(texts, self.sampler)
            return
        while (texts := self._unfinished(texts)) and not self.hurried:
            if self.kind == "block-causal" and self.checkpoint.config.shifted:
                self._first_tokens([text for text in texts if len(text.ids) % self.block == 0])
                texts = self._unfinished(texts)
            for text in texts:
                self._open(text)
            size = len(texts[0].ids) - texts[0].start if texts else 0  # the same for all
            step = self.window or self.block
            for begin in range(0, size, step):
                self._fill(self._unfinished(texts), begin, min(step, size - begin))

    def result(self, text: Text) -> Generation:
        """What was written, without what lies behind the first stop."""
        ids = text.ids[text.prompt : text.end]
        end = self._first(ids, self.stops | {self.mask})
        return Generation(ids[:end], text.forwards, end < len(ids) and ids[end] in self.stops)

    # -- canvases -----------------------------------------------------------------------------------

    def _open(self, text: Text) -> None:
        """Put the next canvas behind what is finished."""
        text.start = text.fixed = len(text.ids)
        size = self.block
        if self.kind == "full":
            size = text.most
        if self.kind == "block-causal":
            text.start -= text.start % self.block
        text.ids += [self.mask] * (text.start + size - len(text.ids))

    def _fill(self, texts: list[Text], begin: int, size: int) -> None:
        """Fill `size` places of each canvas from its place `begin` on."""
        if not texts or self.hurried:
            return
        drafts, takes_back = isinstance(self.sampler, DraftAndVerify), isinstance(self.sampler, Remasking)
        state = self._state(self.sampler, [text.ids[text.start + begin :][:size] for text in texts])
        while True:
            within = self._within(texts, begin, state)
            left = (state.open & within).any(-1)
            texts = [text for text, open_ in zip(texts, left.tolist(), strict=True) if open_]
            if not texts:
                return
            state = State(state.canvas[left], state.mask, state.reopened[left], state.forward)
            within = within[left]
            scores = self.passes.canvas(texts, begin, size)
            drawn = None if self.temperature <= 0 else self._drawn(scores, texts, begin).argmax(-1)
            proposal = self.sampler.propose(scores, state, drawn)
            self._hurry()
            if self.hurried or state.forward >= self.sampler.passes - 1:
                state = commit(state, proposal, within)
            else:
                state = self.sampler.accept(proposal, state, within)
            for i, text in enumerate(texts):
                text.ids[text.start + begin : text.start + begin + size] = state.canvas[i].tolist()
                # A draft settles nothing, and a sampler that takes tokens back does so with the last of them.
                loose = drafts or (takes_back and bool((state.open & within)[i].any()))
                first = text.start + begin
                self._tell(text, first, scores[i], max(first, text.fixed) if loose else None)
            if self.hurried:
                return

    def _state(self, sampler: Sampler, canvases: list[list[int]]) -> State:
        made = sampler.initialize(len(canvases), len(canvases[0]), self.mask)
        return State(torch.tensor(canvases, device=self.device), self.mask, made.reopened.to(self.device))

    def _within(self, texts: list[Text], begin: int, state: State) -> Tensor:
        """The places (b, n) that count: behind what is fixed, not behind a stop, nor more than are wanted."""
        size = state.canvas.shape[1]
        places = torch.tensor([text.start + begin for text in texts], device=self.device)[:, None]
        places = places + torch.arange(size, device=self.device)
        fixed = torch.tensor([text.fixed for text in texts], device=self.device)[:, None]
        end = torch.tensor([text.end for text in texts], device=self.device)[:, None]
        within = (places >= fixed) & (places < end)
        stops = torch.tensor(sorted(self.stops), device=self.device, dtype=torch.long)
        stopped = torch.isin(state.canvas, stops) & within
        return within & (stopped.cumsum(-1) - stopped.long() == 0)

    def _first_tokens(self, texts: list[Text]) -> None:
        """Read the finished blocks; the last token of each predicts the first of the next."""
        if not texts:
            return
        for text in texts:
            text.start = text.fixed = len(text.ids)
        self._append(texts)

    def _append(self, texts: list[Text]) -> None:
        """Read each text, and write the one token that it predicts."""
        scores = self.passes.behind(texts)
        for i, token in enumerate(self._drawn(scores, texts, 0).argmax(-1)[:, 0].tolist()):
            texts[i].ids.append(token)
            self._tell(texts[i], texts[i].start, scores[i])

    # -- draft and verify ---------------------------------------------------------------------------

    def _draft_and_verify(self, texts: list[Text], sampler: DraftAndVerify) -> None:
        """The causal mode's token, then drafts behind it of which it keeps what it would have written.

        With blocks of one token nothing is drafted: that is the causal mode alone.
        """
        for text in texts:
            text.start = len(text.ids)
        self._append(texts)
        while (texts := self._unfinished(texts)) and not self.hurried:
            for text in texts:
                text.start = len(text.ids) - 1
                text.fixed = len(text.ids)
                text.ids += [self.mask] * (self.block - 1)
            if self.block > 1:
                self._fill(texts, 1, self.block - 1)
            self._verify(texts, sampler)

    def _verify(self, texts: list[Text], sampler: DraftAndVerify) -> None:
        """Read each canvas causally, and keep of it what the causal mode agrees with."""
        scores = self.passes.causal(texts)
        drafts = [[*text.ids[text.start + 1 :], self.mask] for text in texts]
        agreed, state = sampler.verify(self._drawn(scores, texts, 1), self._state(sampler, drafts))
        for i, (text, count) in enumerate(zip(texts, agreed.tolist(), strict=True)):
            text.ids[text.start + 1 :] = state.canvas[i, : count + 1].tolist()
            text.cache.crop(len(text.ids) - 1)
            self._tell(text, text.start + 1, scores[i])
        self._hurry()

    def _drawn(self, scores: Tensor, texts: list[Text], begin: int) -> Tensor:
        """Scores (b, n, vocab) whose largest are drawn by chance (Gumbel-max), where there is a temperature.

        The chance belongs to a place of a text: a draft and its verification draw the same.
        """
        if self.temperature <= 0:
            return scores
        noise = torch.empty(scores.shape)
        for i, text in enumerate(texts):
            for n in range(scores.shape[1]):
                place = text.start - text.prompt + begin + n
                key = (self.seed * 1_000_003 + text.number) * 1_000_003 + place
                generator = torch.Generator().manual_seed(key % 2**64)
                noise[i, n] = torch.rand(scores.shape[-1], generator=generator)
        noise = -torch.log(-torch.log(noise.clamp(1e-12, 1 - 1e-7)))
        return scores / self.temperature + noise.to(scores.device)

    # -- what is written ----------------------------------------------------------------------------

    def _unfinished(self, texts: list[Text]) -> list[Text]:
        """Those without a stop that has no mask before it, and with fewer tokens than they may have."""
        return [text for text in texts if not self._finished(text)]

    def _finished(self, text: Text) -> bool:
        ids = text.ids[text.prompt :]
        end = self._first(ids, self.stops | {self.mask})
        return end >= text.most or (end < len(ids) and ids[end] in self.stops)

    @staticmethod
    def _first(ids: list[int], among: frozenset[int]) -> int:
        return next((place for place, token in enumerate(ids) if token in among), len(ids))

    def _hurry(self) -> None:
        self.hurried = self.hurried or (self.late is not None and self.late(self.passes.count))

    def _tell(self, text: Text, begin: int, scores: Tensor, settled: int | None = None) -> None:
        """`begin` and `settled` are places of the text."""
        if self.on_pass is None:
            return
        ids = text.ids[text.prompt : text.end]
        first = self._first(ids, frozenset([self.mask]))
        sure = first if settled is None else min(first, max(settled - text.prompt, 0))
        self.on_pass(Step(text.number, text.forwards, ids, sure, begin - text.prompt, scores))


class _Enough(Exception):
    """What is drafted so far is taken."""


def _delegated(
    gemma: DiffusionGemma,
    number: int,
    prompt: list[int],
    sampler: Sampler | None,
    max_tokens: int,
    seed: int,
    on_pass: Callable[[Step], None] | None,
    late: Callable[[int], bool] | None,
) -> Generation:
    """By the loop of `transformers`: its sampler and its temperatures are the published ones."""
    if sampler is not None and not isinstance(sampler, FixedSteps):
        raise ValueError("DiffusionGemma writes with its own sampler: leave the sampler out")
    done: list[int] = []
    draft: list[int] = []
    passes = 0

    def show(canvas: list[int]) -> None:
        nonlocal passes
        passes += 1 if draft else 2  # before a new canvas what is finished is read
        draft[:] = canvas
        if on_pass is not None:
            ids = [*done, *canvas]
            on_pass(Step(number, passes, ids, len(done), len(done), torch.zeros(0)))
        if late is not None and late(passes):
            raise _Enough

    def finished(canvas: list[int]) -> None:
        done.extend(canvas)
        draft.clear()

    steps = None if sampler is None else sampler.passes
    with suppress(_Enough):
        gemma.generate(prompt, max_tokens, steps=steps, seed=seed, show=show, finished=finished)
    ids = [*done, *draft][:max_tokens]
    end = next((place for place, token in enumerate(ids) if token in gemma.stops), len(ids))
    return Generation(ids[:end], passes, end < len(ids))
