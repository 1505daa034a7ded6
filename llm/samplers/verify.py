"""Draft and verify: a canvas drafts, the causal mode of the same weights decides what stays of it.

(Speculative decoding, Leviathan et al. 2023, with the canvas as the drafter; "linear self-speculation" of
Nemotron-Labs-Diffusion.) Greedy, the tokens are those that the causal mode writes alone, in fewer passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from stretto.llm.samplers.fixed import FixedSteps
from stretto.llm.samplers.sampler import Proposal, Sampler, State
from torch import Tensor


@dataclass(frozen=True)
class DraftAndVerify:
    """`drafter` fills the canvas; by default in one pass.

    `least` < 1 is lossy: a drafted token stays if it is at least so likely beside the likeliest one.
    """

    drafter: Sampler = field(default_factory=lambda: FixedSteps(1))
    least: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ValueError(f"least is more than 0 and at most 1, not {self.least:g}")

    @property
    def passes(self) -> int:
        """Of the draft."""
        return self.drafter.passes

    def initialize(self, count: int, size: int, mask: int) -> State:
        return self.drafter.initialize(count, size, mask)

    def propose(self, scores: Tensor, state: State, drawn: Tensor | None = None) -> Proposal:
        return self.drafter.propose(scores, state, drawn)

    def accept(self, proposal: Proposal, state: State, within: Tensor) -> State:
        return self.drafter.accept(proposal, state, within)

    def verify(self, rows: Tensor, state: State) -> tuple[Tensor, State]:
        """How many tokens of each draft stay (b,), and the canvases: they, one corrected token, then masks.

        `rows` (b, n, vocab): the causal mode's scores of each place, given what the draft has before it. An
        open place never agrees, so that a canvas which ends in one always gets its corrected token.
        """
        scores = rows.float().clone()
        scores[..., state.mask] = -torch.inf
        best, choice = scores.max(-1)
        right = state.canvas == choice
        if self.least < 1:
            drafted = scores.gather(-1, state.canvas[..., None])[..., 0]
            right |= drafted - best >= math.log(self.least)
        agreed = right.long().cumprod(-1).sum(-1)
        places = torch.arange(state.canvas.shape[-1], device=state.canvas.device)
        kept = torch.where(places < agreed[:, None], state.canvas, state.mask)
        canvas = torch.where(places == agreed[:, None], choice, kept)
        return agreed, replace(state, canvas=canvas, forward=state.forward + 1)
