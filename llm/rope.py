"""Rotary positions (RoPE, Su et al. 2021), in the rotate-half form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rope:
    """Rotary positions that are more than a base: turned in part of a head, or stretched by YaRN.

    `share` of a head's width is turned, the rest knows no place. `factor` > 1 stretches the slow rates of a
    model read on `original` tokens, between those that turn `beta_fast` and `beta_slow` times in them (YaRN,
    Peng et al. 2023, section 3.2); `gain` scales cosines and sines (its section 3.4).
    """

    theta: float
    share: float = 1.0
    factor: float = 1.0
    original: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    gain: float = 1.0

    def rates(self, width: int, device: torch.device) -> Tensor:
        """Radians a token of each pair of turned dimensions."""
        turned = int(width * self.share)
        plain = self.theta ** (-torch.arange(0, turned, 2, device=device).float() / turned)
        if self.factor <= 1:
            return plain

        def bound(turns: float) -> float:
            """The dimension that turns so often in the original length."""
            return turned * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

        low = max(math.floor(bound(self.beta_fast)), 0)
        high = max(min(math.ceil(bound(self.beta_slow)), turned - 1), low + 0.001)
        slow = ((torch.arange(turned // 2, device=device).float() - low) / (high - low)).clamp(0, 1)
        return plain / self.factor * slow + plain * (1 - slow)


def rope_table(positions: Tensor, head_width: int, theta: float | Rope) -> tuple[Tensor, Tensor]:
    """Cosines and sines of RoPE (rotate-half form): (..., positions, the turned share of head_width).

    The sines of the first half are negative, as what is added to it is: a turn is one product more.
    """
    rope = theta if isinstance(theta, Rope) else Rope(theta)
    angles = positions.float()[..., None] * rope.rates(head_width, positions.device)
    cos, sin = angles.cos(), angles.sin()
    if rope.gain != 1:
        cos, sin = cos * rope.gain, sin * rope.gain
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys (batch, heads, tokens, head_width) to their positions."""
    turned = cos.shape[-1]
    if turned < x.shape[-1]:
        return torch.cat([rotate(x[..., :turned], cos, sin), x[..., turned:]], -1)
    return x * cos + x.roll(turned // 2, -1) * sin
