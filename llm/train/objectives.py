"""What a training step lowers: the losses of reading a clean stream and of writing canvases, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from stretto.llm.tokenizer import MASK
from stretto.llm.train.canvases import Batch
from stretto.llm.train.flex import flex_attend
from stretto.llm.transformer import Transformer
from torch import Tensor

Pass = Callable[..., tuple[Tensor, Tensor]]
"""`Transformer.train_pass`, compiled or not."""


def losses(
    model: Transformer,
    batches: Sequence[Batch],
    run: Pass | None = None,
    flex: bool = False,
    certainty: float = 0.0,
    twice: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Next-token loss of what is read and denoising loss of the canvases (nats), batch by batch.

    Each is a part of the weighted mean over all batches: their sum is the loss of the step. `certainty`: the
    weight of the entropy where the likeliest token of a canvas is the right one. `twice`: canvases are
    written once more, knowing what came of the first time.
    """
    run = run or model.train_pass
    # What was heard before a pause stands beside the stream, but it is read.
    nexts_in_all = sum(float(b.next_weight.sum() + (b.weight * b.ordered).sum()) for b in batches)
    masks_in_all = sum(float((b.weight * ~b.ordered).sum()) for b in batches) or 1.0
    for batch in batches:
        sees = flex_attend(batch) if flex else batch.sees
        belief = None
        if twice:
            with torch.no_grad():
                _, writing = run(batch.clean, batch.canvas, batch.positions, sees)
                belief = beliefs(model, writing, batch)
            torch.clear_autocast_cache()  # weights that were cast without a gradient must not serve again
        reading, writing = run(batch.clean, batch.canvas, batch.positions, sees, belief)
        nexts = torch.roll(batch.clean, -1, 1)
        causal = _weighted(model, reading, nexts, batch.next_weight)
        causal = causal + _weighted(model, writing, batch.target, batch.weight * batch.ordered)
        denoise = _weighted(model, writing, batch.target, batch.weight * ~batch.ordered, certainty)
        yield causal / nexts_in_all, denoise / masks_in_all


def beliefs(model: Transformer, writing: Tensor, batch: Batch) -> Tensor:
    """What a pass believes of the masks of a batch's canvases (b, m, width), from its hidden states."""
    open_ = (batch.canvas == MASK) & (batch.group >= 0) & ~batch.ordered
    if model.config.shifted:  # a token is predicted one place before it
        writing = torch.roll(writing, 1, 1)
        open_ &= batch.group == torch.roll(batch.group, 1, 1)
        open_[:, 0] = False
    belief = torch.zeros_like(writing)
    belief[open_] = model.believed(model.logits(writing[open_])).to(belief.dtype)
    return belief


def _weighted(
    model: Transformer, hidden: Tensor, target: Tensor, weight: Tensor, certainty: float = 0.0
) -> Tensor:
    """The sum of the losses (nats) where there is a weight, each times its weight."""
    at = weight > 0
    scores = model.logits(hidden[at]).float()
    loss = F.cross_entropy(scores, target[at], reduction="none")
    if certainty:
        logs = F.log_softmax(scores, -1)
        right = scores.argmax(-1) == target[at]
        loss = loss - certainty * right * (logs.exp() * logs).sum(-1)
    return (loss * weight[at]).sum()


def mean_losses(model: Transformer, steps: Sequence[Sequence[Batch]]) -> tuple[float, float]:
    """Both losses, averaged over steps."""
    found = [(c.item(), d.item()) for batches in steps for c, d in losses(model, batches)]
    return sum(c for c, _ in found) / len(steps), sum(d for _, d in found) / len(steps)
