"""Entropy bound: as many tokens at once as can hardly contradict each other (EB-Sampler, arXiv:2505.24857).

The places with the least entropy are committed together as long as the sum of their entropies, without the
largest, stays within a bound: it limits how far the product of their marginals is from their joint
distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from stretto.llm.samplers.sampler import CanvasByPass, Proposal, State, commit
from torch import Tensor


@dataclass(frozen=True)
class EntropyBound(CanvasByPass):
    """`bound`: in nats, of all that is committed in one pass but the most uncertain of it."""

    bound: float = 0.1
    passes: int = 32

    def accept(self, proposal: Proposal, state: State, within: Tensor) -> State:
        open_ = state.open & within
        spread, order = proposal.spread.masked_fill(~open_, torch.inf).sort(dim=-1, stable=True)
        before = spread.cumsum(-1) - spread  # in ascending order the last one is the largest
        fits = before.nan_to_num(torch.inf) <= self.bound
        return commit(state, proposal, open_ & torch.zeros_like(open_).scatter(-1, order, fits))
