"""Start a model with a copying circuit (induction heads) instead of waiting for one to form.

A small model forms these heads late (Olsson et al., "In-context learning and induction heads", 2022): at
0.6M tokens ours copied a third of what it had to. The circuit is three heads and only a beginning; training
changes every weight of it.

    layer 0, head 0    attends to the token before (a constant query, turned by one position) and notes
                       there what it was, in a subspace of the residual stream
    layer 1, head 0    reading: looks for the place whose note equals this token, and copies what stands there
    layer 1, head 1    writing: looks for the place whose note equals this place's note (the canvas holds a
                       mask here, but its left neighbour may be known), and copies what stands there
"""

from __future__ import annotations

import torch
from stretto.llm.rope import rope_table, rotate
from stretto.llm.transformer import Transformer
from torch import Tensor

SHARP_PAIRS = 6
"""Fastest rotary pairs of a head: they tell one position from the next."""
STEADY_FROM = 0.62
"""Share of the rotary pairs, from the fastest, that turn too fast to carry an identity over a dialogue."""


def _rows(count: int, width: int) -> Tensor:
    """`count` orthonormal rows of `width` numbers."""
    q, _ = torch.linalg.qr(torch.randn(width, count))
    rows: Tensor = q.T
    return rows


@torch.no_grad()
def seed_copying(model: Transformer, note: float = 0.15, copy: float = 0.4) -> None:
    """Write the circuit into a fresh model. `note`, `copy`: how loud the two steps are.

    Raises ValueError if the model has no query and key bias, or fewer than two layers or two query heads
    for each key head.
    """
    c = model.config
    if not c.qkv_bias or c.layers < 2 or c.heads < 2 * c.kv_heads:
        raise ValueError(
            "a copying circuit needs qkv_bias, two layers, and two query heads for each key head"
        )
    d, half = c.head_width, c.head_width // 2
    for block in model.blocks:  # what is not the circuit starts silent
        block.self_attn.o_proj.weight.mul_(0.1)
        block.down_proj.weight.mul_(0.1)
    before, match = model.blocks[0].self_attn, model.blocks[1].self_attn

    constant = torch.zeros(d)
    constant[:SHARP_PAIRS] = constant[half : half + SHARP_PAIRS] = 1.0
    cos, sin = rope_table(torch.tensor([-1]), d, c.rope_theta)
    before.q_proj.weight[:d].mul_(0.05)
    before.k_proj.weight[:d].mul_(0.05)
    before.q_proj.bias[:d] = rotate(constant[None], cos, sin)[0]
    before.k_proj.bias[:d] = constant
    sharp = constant > 0
    for norm, gain in ((before.q_norm, 3.0), (before.k_norm, 2.0)):
        if isinstance(norm.weight, Tensor):
            norm.weight[sharp] = gain
    what, where = _rows(d, c.width), _rows(d, c.width)
    before.v_proj.weight[:d] = what
    before.o_proj.weight[:, :d] = note * where.T

    if isinstance(match.q_norm.weight, Tensor):
        match.q_norm.weight.fill_(3.0)
    slow = int(half * STEADY_FROM)
    steady = [*range(slow, half), *range(half + slow, d)]
    for weight, rows in ((match.q_proj.weight, 2 * d), (match.k_proj.weight, d)):
        weight[:rows].mul_(0.05)
    match.q_proj.weight[steady] = what[: len(steady)]
    match.q_proj.weight[[d + i for i in steady]] = where[: len(steady)]
    match.k_proj.weight[steady] = where[: len(steady)]
    copied = _rows(d, c.width)
    match.v_proj.weight[:d] = copied
    match.o_proj.weight[:, :d] = copy * copied.T
    match.o_proj.weight[:, d : 2 * d] = copy * copied.T
