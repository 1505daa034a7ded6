"""What samplers share: a canvas in work, what a pass proposes for it, and the three steps of each of them.

`initialize` makes the canvas, `propose` reads a pass's scores, `accept` decides which proposals stay. All of
it runs over a batch of canvases at once; none of it knows of grammars, which may change a proposal between
the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class State:
    """Canvases in work: `canvas` (b, n) ids, `mask` where they are open; `reopened` (b, n): how often a place
    was sent back to mask."""

    canvas: Tensor
    mask: int
    reopened: Tensor
    forward: int = 0

    @property
    def open(self) -> Tensor:
        """(b, n), bool."""
        return self.canvas == self.mask


@dataclass(frozen=True)
class Proposal:
    """What a pass holds of each place (b, n): its likeliest token, how likely that is (`sure`, 0..1), the
    entropy there (`spread`, nats), and how likely what is committed there still is (`kept`; 1 where open)."""

    tokens: Tensor
    sure: Tensor
    spread: Tensor
    kept: Tensor


class Sampler(Protocol):
    """One way to fill a canvas in a few passes."""

    @property
    def passes(self) -> int:
        """Most forwards over one canvas; the last one commits all that is open."""
        ...

    def initialize(self, count: int, size: int, mask: int) -> State:
        """So many canvases of so many open places."""
        ...

    def propose(self, scores: Tensor, state: State, drawn: Tensor | None = None) -> Proposal:
        """What scores (b, n, vocab) say; `drawn` (b, n): tokens to take instead of the likeliest."""
        ...

    def accept(self, proposal: Proposal, state: State, within: Tensor) -> State:
        """The canvases after a pass. `within` (b, n): the places that count; the others are left as they are.

        Of every canvas with an open place within at least one is committed.
        """
        ...


def opened(count: int, size: int, mask: int) -> State:
    """Canvases without a token."""
    canvas = torch.full((count, size), mask)
    return State(canvas, mask, torch.zeros_like(canvas))


def read(scores: Tensor, state: State, drawn: Tensor | None = None) -> Proposal:
    """The likeliest token of each place. `scores` (b, n, vocab); a mask is never proposed.

    `drawn` (b, n): tokens to take instead, as likely as the scores say.
    """
    scores = scores.float().clone()
    scores[..., state.mask] = -torch.inf
    logs = torch.log_softmax(scores, -1)
    probs = logs.exp()
    tokens = logs.argmax(-1) if drawn is None else drawn
    spread = -(probs * logs.clamp(min=-1e4)).sum(-1)
    sure, held = (probs.gather(-1, ids[..., None])[..., 0] for ids in (tokens, state.canvas))
    return Proposal(tokens, sure, spread, torch.where(state.open, 1.0, held))


@dataclass(frozen=True)
class CanvasByPass:
    """What samplers have alike: they begin with open canvases, and propose the likeliest tokens."""

    def initialize(self, count: int, size: int, mask: int) -> State:
        return opened(count, size, mask)

    def propose(self, scores: Tensor, state: State, drawn: Tensor | None = None) -> Proposal:
        return read(scores, state, drawn)


def commit(state: State, proposal: Proposal, taken: Tensor) -> State:
    """The canvases with the proposals at `taken` (b, n) written; one more forward was spent."""
    canvas = torch.where(taken & state.open, proposal.tokens, state.canvas)
    return replace(state, canvas=canvas, forward=state.forward + 1)


def surest(values: Tensor, among: Tensor) -> Tensor:
    """(b, n): of each row the one place among those given that has the largest value, if there are any."""
    best = values.masked_fill(~among, -torch.inf).argmax(-1, keepdim=True)
    return torch.zeros_like(among).scatter(-1, best, True) & among
