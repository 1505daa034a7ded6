"""Fixed steps: every pass commits the same number of places, the surest first (LLaDA, low confidence)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from stretto.llm.samplers.sampler import CanvasByPass, Proposal, State, commit
from torch import Tensor


@dataclass(frozen=True)
class FixedSteps(CanvasByPass):
    """`passes` forwards a canvas, whatever is on it."""

    passes: int = 8

    def accept(self, proposal: Proposal, state: State, within: Tensor) -> State:
        open_ = state.open & within
        left = max(self.passes - state.forward, 1)
        due = (open_.sum(-1, keepdim=True) + left - 1) // left
        order = proposal.sure.masked_fill(~open_, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        rank = order.argsort(-1)
        return commit(state, proposal, open_ & (rank < due))
