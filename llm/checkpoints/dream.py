"""Dream-7B and its kin (Dream-org, DiffuCoder): Qwen2.5 read in both directions, logits one place early."""

from __future__ import annotations

from functools import partial

from stretto.llm.checkpoints.chat import CHATML
from stretto.llm.checkpoints.recipe import Layout, Recipe, llama_names, llama_shape

QWEN2 = partial(llama_shape, qk_norm=False, qkv_bias=True, shifted=True)

DREAM = Recipe(
    family="Dream",
    model_type="Dream",
    architectures=("DreamModel",),
    attention="full",
    mask=151666,
    stops=(151645, 151643),
    block=32,
    layout=Layout(QWEN2, llama_names("model", "lm_head")),
    chat=CHATML,
    only={"hidden_act": ("silu",), "use_sliding_window": (False,), "use_mrope": (False,)},
)
