"""Nemotron-Labs-Diffusion 3B, 8B, 14B (NVIDIA): Ministral 3 with our own layout, and canvases of 32.

Past the context it was first trained on (16,384 tokens) its queries grow with their place. A dialogue is
shorter, so that is not computed: `Checkpoint.context` ends there.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from stretto.llm.checkpoints.chat import CHATML
from stretto.llm.checkpoints.recipe import Layout, Recipe, llama_names, llama_shape

NEMOTRON = Recipe(
    family="Nemotron-Labs-Diffusion",
    model_type="nemotron_labs_diffusion",
    architectures=("NemotronLabsDiffusionModel",),
    attention="causal+canvas",
    mask=100,
    stops=(11,),
    block=32,
    layout=Layout(partial(llama_shape, qk_norm=False), llama_names("encoder", "diffusion_head")),
    chat=replace(CHATML, answer=CHATML.answer + "<think></think>", options={"enable_thinking": False}),
    only={
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "sliding_window": (None,),
    },
)
