"""LLaDA2.0 and 2.1 mini and flash (inclusionAI): Ling 2.0, a mixture of experts, in blocks of 32."""

from __future__ import annotations

from stretto.llm.checkpoints.chat import LING
from stretto.llm.checkpoints.recipe import Described, Layout, Names, Recipe, llama_shape
from stretto.llm.experts import Experts
from stretto.llm.transformer import Config


def _shape(c: Described) -> Config:
    hidden = int(c["moe_intermediate_size"])
    shared_hidden = int(c.get("moe_shared_expert_intermediate_size") or hidden)
    experts = Experts(
        count=int(c["num_experts"]),
        taken=int(c["num_experts_per_tok"]),
        hidden=hidden,
        groups=int(c.get("n_group") or 1),
        groups_taken=int(c.get("topk_group") or c.get("n_group") or 1),
        shared_hidden=shared_hidden * int(c.get("num_shared_experts") or 0),
        dense_layers=int(c.get("first_k_dense_replace", 0)),
        normed=bool(c.get("norm_topk_prob", True)),
        scale=float(c.get("routed_scaling_factor", 1.0)),
    )
    bias = bool(c.get("use_qkv_bias", False))
    return llama_shape(c, qk_norm=bool(c.get("use_qk_norm", True)), qkv_bias=bias, experts=experts)


_NAMES = Names(
    outside={"embed_tokens": "model.word_embeddings", "norm": "model.norm", "lm_head": "lm_head"},
    layer="model.layers.{i}.",
    inside={
        **{name: name for name in ("input_layernorm", "post_attention_layernorm")},
        **{f"self_attn.{p}_proj": "attention.query_key_value" for p in "qkv"},
        "self_attn.q_norm": "attention.query_layernorm",
        "self_attn.k_norm": "attention.key_layernorm",
        "self_attn.o_proj": "attention.dense",
        **{f"{p}_proj": f"mlp.{p}_proj" for p in ("gate", "up", "down")},
        "experts.router.weight": "mlp.gate.weight",
        "experts.router.bias": "mlp.gate.expert_bias",
        **{f"experts.{p}": f"mlp.experts.{{e}}.{p}_proj.weight" for p in ("gate", "up", "down")},
        **{f"experts.shared.{p}_proj": f"mlp.shared_experts.{p}_proj" for p in ("gate", "up", "down")},
    },
)

LLADA2 = Recipe(
    family="LLaDA2",
    model_type="llada2_moe",
    architectures=("LLaDA2MoeModelLM",),
    attention="block-causal",
    mask=156895,
    stops=(156892,),
    block=32,
    layout=Layout(_shape, _NAMES),
    chat=LING,
    only={
        "hidden_act": ("silu",),
        "score_function": ("sigmoid",),
        "moe_router_enable_expert_bias": (True,),
        "use_bias": (False,),
        "norm_head": (False,),
    },
)
