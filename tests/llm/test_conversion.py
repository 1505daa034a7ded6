"""Starting from SmolLM2: its rows in our order, and the layers that are missed least left out."""

from __future__ import annotations

import random

import torch
from stretto.llm.format import Segment
from stretto.llm.rope import rope_table, rotate
from stretto.llm.tokenizer import END, SAY, SYSTEM
from stretto.llm.train.canvases import make_batch
from stretto.llm.train.conversion import prune, reading_loss, rotated_halves
from stretto.llm.transformer import Config, Transformer

TINY = Config(vocab=50, layers=4, width=32, heads=2, kv_heads=1, head_width=16, hidden=48, shifted=True)


def test_rows_of_a_rotary_projection_turn_alike_in_both_orders() -> None:
    torch.manual_seed(0)
    heads, width = 2, 8
    theirs = torch.randn(heads * width, 12)
    x = torch.randn(5, 12)
    cos, sin = rope_table(torch.arange(5), width, 10_000.0)
    ours = rotate((x @ rotated_halves(theirs, heads).T).view(5, heads, width).transpose(0, 1), cos, sin)
    pairs = torch.view_as_complex((x @ theirs.T).view(5, heads, width // 2, 2))
    turned = torch.view_as_real(pairs * torch.complex(cos, sin)[:, None, width // 2 :])
    left, right = ours.transpose(0, 1).chunk(2, -1)
    torch.testing.assert_close(torch.stack([left, right], -1), turned)


def test_layers_that_do_nothing_are_the_first_to_go() -> None:
    torch.manual_seed(0)
    model = Transformer(TINY).eval().requires_grad_(False)
    for idle in (1, 3):
        for name, weight in model.blocks[idle].named_parameters():
            if "o_proj" in name or "down_proj" in name:
                torch.nn.init.zeros_(weight)
    ids = [SYSTEM, 20, 21, END, SAY]  # what the whole model says is what it must go on saying
    for _ in range(12):
        ids.append(int(model.logits(model.read(torch.tensor(ids), model.new_cache(64))[-1]).argmax()))
    segments = [Segment("system", (SYSTEM,), (20, 21, END)), Segment("say", (SAY,), tuple(ids[5:]))]
    batch = make_batch([segments], TINY.vocab, random.Random(0), shifted=True)
    before = reading_loss(model, [[batch]])
    assert prune(model, [[batch]], 2) == [0, 2]
    assert model.config.layers == len(model.blocks) == 2
    assert abs(reading_loss(model, [[batch]]) - before) < 1e-3
