"""Packed weights give what plain ones give."""

from __future__ import annotations

import pytest
import torch
from stretto.llm.packed import can_pack, pack
from stretto.llm.transformer import Config, Transformer

SHAPE = {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "head_width": 16, "hidden": 96}


def made(dtype: torch.dtype, **options: bool) -> Transformer:
    torch.manual_seed(0)
    config = Config(vocab=50, **{**SHAPE, **options})  # type: ignore[arg-type]
    return Transformer(config).eval().requires_grad_(False).to(dtype)


@pytest.mark.skipif(not can_pack(), reason="this build of PyTorch packs no weights")
@pytest.mark.parametrize("options", [{}, {"qkv_bias": True}, {"shifted": True, "tied": False}])
def test_packed_weights_read_and_write_as_plain_ones(options: dict[str, bool]) -> None:
    plain, packed = made(torch.bfloat16, **options), pack(made(torch.bfloat16, **options))
    assert not hasattr(packed.blocks[0], "up_proj") and not hasattr(packed.blocks[0].self_attn, "q_proj")
    for count in (1, 7, 40):
        ids = torch.arange(count) % 50
        caches = [model.new_cache(64) for model in (plain, packed)]
        pairs = list(zip((plain, packed), caches, strict=True))
        read = [model.logits(model.read(ids, cache)) for model, cache in pairs]
        torch.testing.assert_close(*read, rtol=0.05, atol=0.05)
        canvas = torch.tensor([3] * 8)
        wrote = [model.logits(model.write(canvas, cache)) for model, cache in pairs]
        torch.testing.assert_close(*wrote, rtol=0.05, atol=0.05)


def test_full_precision_stays_as_it_is() -> None:
    model = made(torch.float32)
    assert pack(model) is model and hasattr(model.blocks[0], "up_proj")
