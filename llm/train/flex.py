"""FlexAttention over canvases: the mask as a rule, so that a GPU skips what is not seen.

Dong et al. 2024, "Flex Attention: a programming model for generating optimized attention kernels". On a CPU
the same rule runs unfused, which is slow, and right for a comparison with the dense mask.
"""

from __future__ import annotations

import torch
from stretto.llm.train.canvases import Batch
from stretto.llm.transformer import Attend
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


def flex_attend(batch: Batch) -> Attend:
    """Attention of the canvas tokens of a batch on what they see (`Batch.sees`)."""
    b, m = batch.canvas.shape
    length = batch.clean.shape[1]
    limit, group, ordered = batch.limit, batch.group, batch.ordered

    def sees(row: Tensor, head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        at = kv - length
        mine = group[row, q] == group[row, at.clamp(min=0)]
        later = ordered[row, q] & (at > q)
        return torch.where(kv < length, kv < limit[row, q], mine & ~later)

    blocks = create_block_mask(sees, b, None, m, length + m, device=str(batch.canvas.device))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = flex_attention(q, k, v, block_mask=blocks, enable_gqa=True)
        assert isinstance(out, Tensor)
        return out

    return attend
