"""LLaDA-8B and LLaDA-1.5 (GSAI-ML): llama, read in both directions, answers in blocks from left to right."""

from __future__ import annotations

from stretto.llm.checkpoints.chat import LLAMA3
from stretto.llm.checkpoints.recipe import Described, Layout, Names, Recipe
from stretto.llm.transformer import Config


def _shape(c: Described) -> Config:
    heads = int(c["n_heads"])
    width = int(c["d_model"])
    return Config(
        vocab=int(c.get("embedding_size") or c["vocab_size"]),
        layers=int(c["n_layers"]),
        width=width,
        heads=heads,
        kv_heads=int(c.get("n_kv_heads") or heads),
        head_width=width // heads,
        hidden=int(c["mlp_hidden_size"]),
        rope_theta=float(c["rope_theta"]),
        norm_eps=float(c["rms_norm_eps"]),
        qk_norm=False,
        qkv_bias=bool(c.get("include_qkv_bias", False)),
        tied=bool(c.get("weight_tying", False)),
    )


_NAMES = Names(
    outside={
        "embed_tokens": "model.transformer.wte",
        "norm": "model.transformer.ln_f",
        "lm_head": "model.transformer.ff_out",
    },
    layer="model.transformer.blocks.{i}.",
    inside={
        "input_layernorm": "attn_norm",
        **{f"self_attn.{p}_proj": f"{p}_proj" for p in "qkv"},
        "self_attn.o_proj": "attn_out",
        "post_attention_layernorm": "ff_norm",
        "gate_proj": "ff_proj",
        "up_proj": "up_proj",
        "down_proj": "ff_out",
    },
)

LLADA = Recipe(
    family="LLaDA",
    model_type="llada",
    architectures=("LLaDAModelLM",),
    attention="full",
    mask=126336,
    stops=(126081, 126348),
    block=32,
    layout=Layout(_shape, _NAMES),
    chat=LLAMA3,
    only={
        "block_type": ("llama",),
        "activation_type": ("silu",),
        "layer_norm_type": ("rms",),
        "rope": (True,),
        "alibi": (False,),
        "include_bias": (False,),
        "attention_layer_norm": (False,),
        "bias_for_layer_norm": (False, None),
        "input_emb_norm": (False,),
        "scale_logits": (False,),
        "clip_qkv": (None,),
    },
)
