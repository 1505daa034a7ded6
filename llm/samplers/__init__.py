"""Samplers: how a canvas is filled in a few passes. One small file each, `sampler` has what they share.

`EFFORT` is the one table from a level of effort to what each of them does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stretto.llm.language_model import Effort
from stretto.llm.samplers.entropy import EntropyBound
from stretto.llm.samplers.fixed import FixedSteps
from stretto.llm.samplers.remasking import Remasking
from stretto.llm.samplers.sampler import Proposal, Sampler, State
from stretto.llm.samplers.threshold import Threshold
from stretto.llm.samplers.verify import DraftAndVerify

__all__ = [
    "CANVAS_SAMPLERS", "EFFORT", "Budget", "CanvasSampler", "DraftAndVerify", "EntropyBound", "FixedSteps",
    "Proposal", "Remasking", "Sampler", "State", "Threshold",
]  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """How sure a token must be to be committed, and the most passes over one canvas.

    `accept`: what verification lets pass, a drafted token so likely beside the likeliest one (1: only that).
    `bound`: the entropy bound, nats. `doubt`: a written token less likely than this is opened again. `steps`:
    of the sampler with fixed steps.
    """

    threshold: float
    passes: int
    accept: float = 1.0
    bound: float = 0.1
    doubt: float = 0.1
    steps: int = 8


EFFORT: dict[Effort, Budget] = {
    "minimal": Budget(0.5, 3, 0.1, bound=1.0, doubt=0.05, steps=2),
    "low": Budget(0.7, 6, 0.3, bound=0.5, doubt=0.1, steps=4),
    "medium": Budget(0.85, 12, bound=0.2, doubt=0.1, steps=8),
    "high": Budget(0.95, 32, bound=0.05, doubt=0.2, steps=16),
}

CanvasSampler = Literal["fixed", "threshold", "entropy", "remasking"]

CANVAS_SAMPLERS: dict[CanvasSampler, Callable[[Budget], Sampler]] = {
    "fixed": lambda budget: FixedSteps(budget.steps),
    "threshold": lambda budget: Threshold(budget.threshold, budget.passes, "left"),
    "entropy": lambda budget: EntropyBound(budget.bound, budget.passes),
    "remasking": lambda budget: Remasking(budget.threshold, budget.passes, "left", budget.doubt),
}
"""What the house model writes with, by name."""
