"""A feed-forward part of many small experts, of which each token takes a few (mixture of experts).

The router of LLaDA2 and Ling 2.0: sigmoid scores, a bias that only steers the choice (loss-free balancing,
Wang et al. 2024), experts in groups of which the best stay in the running (DeepSeek-V3, section 2.1.2), and a
shared expert that every token takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Experts:
    """Shape of the mixture. `taken` of `count` experts, from the `groups_taken` best of `groups`."""

    count: int
    taken: int
    hidden: int
    groups: int = 1
    groups_taken: int = 1
    shared_hidden: int = 0
    """Width of the expert that all tokens take; 0: there is none."""
    dense_layers: int = 1
    """The first layers, which have a plain feed-forward part."""
    normed: bool = True
    """The shares of a token's experts add up to 1, before `scale`."""
    scale: float = 1.0


class Router(nn.Module):
    """Which experts a token takes, and how much of each; in float32, for close scores decide."""

    def __init__(self, width: int, shape: Experts) -> None:
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(torch.randn(shape.count, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(shape.count))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Experts and shares (n, taken) for tokens x (n, width)."""
        e = self.shape
        scores = F.linear(x.float(), self.weight.float()).sigmoid()
        wanted = scores + self.bias.float()
        if e.groups_taken < e.groups:
            grouped = wanted.view(len(wanted), e.groups, -1)
            best = grouped.topk(2, -1).values.sum(-1).topk(e.groups_taken, -1).indices
            out = torch.ones(len(x), e.groups, dtype=torch.bool, device=x.device)
            wanted = grouped.masked_fill(out.scatter(1, best, False)[..., None], -torch.inf).flatten(1)
        taken = wanted.topk(e.taken, -1).indices
        shares = scores.gather(1, taken)
        if e.normed and e.taken > 1:
            shares = shares / (shares.sum(-1, keepdim=True) + 1e-20)
        return taken, shares * e.scale


class GatedLinear(nn.Module):
    """The shared expert."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class MixtureOfExperts(nn.Module):
    """The experts' matrices are stacked, (count, out, in): one tensor a kind and layer."""

    def __init__(self, width: int, shape: Experts) -> None:
        super().__init__()
        self.router = Router(width, shape)
        wide, narrow = (shape.count, shape.hidden, width), (shape.count, width, shape.hidden)
        self.gate = nn.Parameter(torch.randn(wide) * width**-0.5)
        self.up = nn.Parameter(torch.randn(wide) * width**-0.5)
        self.down = nn.Parameter(torch.randn(narrow) * shape.hidden**-0.5)
        self.shared = GatedLinear(width, shape.shared_hidden) if shape.shared_hidden else None

    def forward(self, x: Tensor) -> Tensor:
        """x (…, width) through the experts of each token, and the shared one."""
        flat = x.flatten(0, -2)
        taken, shares = self.router(flat)
        out = self.shared(flat) if self.shared is not None else torch.zeros_like(flat)
        for expert in taken.unique().tolist():
            rows, slot = (taken == expert).nonzero(as_tuple=True)
            h = flat[rows]
            h = F.silu(F.linear(h, self.gate[expert])) * F.linear(h, self.up[expert])
            done = F.linear(h, self.down[expert]) * shares[rows, slot, None].to(h.dtype)
            out = out.index_add(0, rows, done)
        return out.view_as(x)
