"""Fast-dLLM v2 (Efficient-Large-Model): Qwen2.5 in blocks of 32, logits one place early."""

from __future__ import annotations

from stretto.llm.checkpoints.chat import CHATML
from stretto.llm.checkpoints.dream import QWEN2
from stretto.llm.checkpoints.recipe import Layout, Recipe, llama_names

FAST_DLLM = Recipe(
    family="Fast-dLLM v2",
    model_type="Fast_dLLM_Qwen",
    architectures=("Fast_dLLM_QwenForCausalLM",),
    attention="block-causal",
    mask=151665,
    stops=(151645, 151643),
    block=32,
    block_key="bd_size",
    window=8,
    layout=Layout(QWEN2, llama_names("model", "lm_head")),
    chat=CHATML,
    only={"hidden_act": ("silu",), "use_sliding_window": (False,)},
)
