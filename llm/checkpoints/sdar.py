"""SDAR 1.7B to 8B (JetLM): Qwen3 in blocks of 4 (the variants `-b8` to `-b64`: give `block`)."""

from __future__ import annotations

from functools import partial

from stretto.llm.checkpoints.chat import CHATML
from stretto.llm.checkpoints.recipe import Layout, Recipe, llama_names, llama_shape

SDAR = Recipe(
    family="SDAR",
    model_type="sdar",
    architectures=("SDARForCausalLM",),
    attention="block-causal",
    mask=151669,
    stops=(151645, 151643),
    block=4,
    layout=Layout(partial(llama_shape, qk_norm=True), llama_names("model", "lm_head")),
    chat=CHATML,
    only={"hidden_act": ("silu",), "use_sliding_window": (False,), "attention_bias": (False,)},
)
