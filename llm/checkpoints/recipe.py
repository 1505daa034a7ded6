"""What a family of checkpoints is: how to know it, its shape, its weights' names, its ids, its way to chat.

A family is one file here with one `Recipe`. Nothing of a checkpoint's own code is ever run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoints.chat import Chat
from stretto.llm.rope import Rope
from stretto.llm.transformer import Config
from torch import Tensor

AttentionKind = Literal["causal+canvas", "block-causal", "full"]
"""What has been read is seen causally and a canvas whole; block by block, each whole; or all at once."""
Described = Mapping[str, Any]
"""The content of config.json."""

_LAYER = re.compile(r"layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Names:
    """Where our weights are on disk: our name, or what stands before `.weight` and `.bias` -> theirs.

    `layer` is what stands before a layer's names, with `{i}`. Of ours that share a name theirs holds the rows
    one after another (a fused projection); a name with `{e}` is one tensor for each expert.
    """

    outside: Mapping[str, str]
    layer: str
    inside: Mapping[str, str]

    def on_disk(self, ours: str) -> str:
        """Their name for a weight of ours. Raises KeyError for one that they have no place for."""
        layer = _LAYER.fullmatch(ours)
        table, rest = (self.inside, layer[2]) if layer else (self.outside, ours)
        stem, _, kind = rest.rpartition(".")
        name = table[rest] if rest in table else f"{table[stem]}.{kind}"
        return self.layer.format(i=layer[1]) + name if layer else name


@dataclass(frozen=True)
class Layout:
    """A checkpoint that our transformer computes: config.json -> `Config`, and the names of its weights."""

    shape: Callable[[Described], Config]
    names: Names


@dataclass(frozen=True)
class Recipe:
    """One family. `mask`, `block` and `stops` hold where config.json says nothing else."""

    family: str
    model_type: str
    architectures: tuple[str, ...]
    attention: AttentionKind
    mask: int | None
    """The id of an open place; None: open places hold any token (uniform diffusion)."""
    stops: tuple[int, ...]
    block: int
    block_key: str = "block_size"
    window: int | None = None
    """Places of a block that are filled before those behind them; None: the whole block."""
    layout: Layout | None = None
    """None: the weights are not in a form of this package (the house format; `transformers`)."""
    chat: Chat | None = None
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Keys of config.json that change the computation, and the values that are computed here."""

    def knows(self, described: Described) -> bool:
        """Whether config.json is of this family."""
        named = described.get("architectures")
        if isinstance(named, list) and named:
            return bool(set(named) & set(self.architectures))
        return described.get("model_type") == self.model_type

    def config(self, described: Described) -> Config:
        """The shape of the model. Raises CheckpointError for one that is not computed here."""
        if self.layout is None:
            raise CheckpointError(f"{self.family} has no shape of its own here")
        for key, values in self.only.items():
            if key in described and described[key] not in values:
                raise CheckpointError(
                    f"config.json says {key}: {described[key]!r}, and {self.family} is read with "
                    f"{' or '.join(map(repr, values))} only; use a checkpoint as its authors published it"
                )
        if described.get("quantization_config") or described.get("quantization"):
            raise CheckpointError(
                "config.json says that the weights are quantised; use the checkpoint in bf16, fp16 or fp32"
            )
        try:
            return self.layout.shape(described)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"config.json does not describe a {self.family} model ({type(error).__name__}: {error}); "
                "copy it again from where the weights are from"
            ) from error

    def context(self, described: Described) -> int:
        """Tokens whose places are computed as the family does."""
        scaling = described.get("rope_parameters") or {}
        first = scaling.get("original_max_position_embeddings")
        if first and scaling.get("llama_4_scaling_beta"):
            return int(first)
        return int(described.get("max_position_embeddings") or described.get("max_sequence_length") or 4096)


def attention_mask(kind: AttentionKind, length: int, block: int, device: torch.device) -> Tensor | None:
    """Which of `length` tokens (row) sees which, bool; None: each all. A canvas is one block, from 0 on."""
    if kind == "full":
        return None
    places = torch.arange(length, device=device)
    if kind == "block-causal":
        places = places // block
    return places[:, None] >= places[None, :]


def llama_shape(c: Described, **options: Any) -> Config:
    """The keys that the llama family shares (Qwen, Mistral), and `options` of ours."""
    heads = int(c["num_attention_heads"])
    return Config(
        vocab=int(c["vocab_size"]),
        layers=int(c["num_hidden_layers"]),
        width=int(c["hidden_size"]),
        heads=heads,
        kv_heads=int(c.get("num_key_value_heads") or heads),
        head_width=int(c.get("head_dim") or c["hidden_size"] // heads),
        hidden=int(c["intermediate_size"]),
        rope_theta=rope(c),
        norm_eps=float(c["rms_norm_eps"]),
        tied=bool(c.get("tie_word_embeddings", False)),
        **options,
    )


def rope(c: Described) -> float | Rope:
    """Positions as config.json describes them: plain, in part of a head, or YaRN. Raises CheckpointError."""
    scaling = c.get("rope_parameters") or c.get("rope_scaling") or {}
    theta = float(scaling.get("rope_theta") or c["rope_theta"])
    share = float(scaling.get("partial_rotary_factor") or c.get("partial_rotary_factor") or 1.0)
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "default":
        return theta if share == 1 else Rope(theta, share)
    if kind != "yarn":
        raise CheckpointError(f"config.json says rope_type: {kind!r}; 'default' and 'yarn' are computed here")
    if scaling.get("truncate") is False:
        raise CheckpointError("config.json says truncate: False for YaRN, which is not computed here")
    factor = float(scaling["factor"])
    return Rope(
        theta,
        share,
        factor,
        int(scaling["original_max_position_embeddings"]),
        float(scaling.get("beta_fast") or 32),
        float(scaling.get("beta_slow") or 1),
        _yarn_gain(scaling, factor),
    )


def _yarn_gain(scaling: Described, factor: float) -> float:
    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])

    def gain(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    one, all_dims = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return gain(one) / gain(all_dims) if one and all_dims else gain(1.0)


def llama_names(model: str, head: str) -> Names:
    """The names that the llama family shares, under `model` and with the output matrix `head`."""
    return Names(
        outside={"embed_tokens": f"{model}.embed_tokens", "norm": f"{model}.norm", "lm_head": head},
        layer=f"{model}.layers.{{i}}.",
        inside={
            **{name: name for name in ("input_layernorm", "post_attention_layernorm")},
            **{f"self_attn.{p}_proj": f"self_attn.{p}_proj" for p in "qkvo"},
            **{f"self_attn.{p}_norm": f"self_attn.{p}_norm" for p in "qk"},
            **{f"{p}_proj": f"mlp.{p}_proj" for p in ("gate", "up", "down")},
        },
    )
