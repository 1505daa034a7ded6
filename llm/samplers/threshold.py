"""Confidence threshold: a pass commits every token that it is sure of (Fast-dLLM, SDAR, LLaDA2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from stretto.llm.samplers.sampler import CanvasByPass, Proposal, State, commit, surest
from torch import Tensor


@dataclass(frozen=True)
class Threshold(CanvasByPass):
    """Tokens likelier than `threshold` are committed, the surest one in any case.

    `order`: "any" place, or from the "left": the first open place, and those behind it while they are sure.
    A token is surest of itself beside what it follows (block diffusion does so with blocks): on the same
    weights 10 of 14 calls reached their goal so, 8 with the surest anywhere. From the left a token twice in a
    row waits for the next pass: in one pass it is mostly one word that has two places yet.
    """

    threshold: float = 0.9
    passes: int = 32
    order: Literal["any", "left"] = "any"

    def accept(self, proposal: Proposal, state: State, within: Tensor) -> State:
        open_ = state.open & within
        sure = proposal.sure >= self.threshold
        if self.order == "any":
            return commit(state, proposal, open_ & (sure | surest(proposal.sure, open_)))
        return commit(state, proposal, open_ & from_the_left(proposal.tokens, sure, open_))


def from_the_left(tokens: Tensor, sure: Tensor, open_: Tensor) -> Tensor:
    """(b, n): the first open place of each row; if it is sure, those behind it up to one that is not, or that
    has the same token as the one before it."""
    doubled = torch.zeros_like(open_)
    doubled[:, 1:] = (tokens[:, 1:] == tokens[:, :-1]) & open_[:, 1:] & open_[:, :-1]
    first = open_ & (open_.cumsum(-1) == 1)
    stops = open_ & (~sure | (doubled & ~first))
    return first | (open_ & (stops.cumsum(-1) == 0))
