"""Packed weights give what plain ones give."""

from __future__ import annotations

import pytest
import torch
from stretto.llm.packed import PackedNorm, can_pack, pack
from stretto.llm.transformer import Config, Transformer
from torch import nn

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


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_packed_norms_are_nearer_to_the_truth_than_a_rounding(scale: float) -> None:
    torch.manual_seed(0)
    norm = nn.RMSNorm(64, 1e-5)
    nn.init.uniform_(norm.weight, -2, 2)
    x = (torch.randn(3, 5, 64) * scale).bfloat16()
    found = PackedNorm(norm.bfloat16())(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), norm.float()(x.float()), rtol=2**-8, atol=0)
    zeros = torch.zeros(1, 64, dtype=torch.bfloat16)
    assert torch.equal(PackedNorm(norm.bfloat16())(zeros), zeros)


def test_full_precision_stays_as_it_is() -> None:
    model = made(torch.float32)
    assert pack(model) is model and hasattr(model.blocks[0], "up_proj")
