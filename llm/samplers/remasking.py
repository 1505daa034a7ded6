"""Threshold with second thoughts: a token that has become unlikely goes back to mask (token-to-mask).

It is masked, not overwritten: another token beside the same neighbours mostly repeats their error
(arXiv:2604.18738). A place goes back a stated number of times, or canvases would flicker (COVER, 2602.06161).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from stretto.llm.samplers.sampler import Proposal, State
from stretto.llm.samplers.threshold import Threshold
from torch import Tensor


@dataclass(frozen=True)
class Remasking(Threshold):
    """`doubt`: a written token less likely than this, now that others stand beside it, is open again; each
    place at most `times`, and none in the last of the `passes`."""

    doubt: float = 0.2
    times: int = 1

    def accept(self, proposal: Proposal, state: State, within: Tensor) -> State:
        open_ = state.open & within
        doubted = ~state.open & within & (proposal.kept < self.doubt) & (state.reopened < self.times)
        # Only what was written before this pass; and a pass that has nothing to write opens nothing.
        doubted &= (state.forward < self.passes - 2) & open_.any(-1, keepdim=True)
        written = super().accept(proposal, state, within)
        return replace(
            written,
            canvas=torch.where(doubted, state.mask, written.canvas),
            reopened=state.reopened + doubted,
        )
