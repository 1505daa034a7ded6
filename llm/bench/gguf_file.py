"""The weights that read, as a GGUF file of the llama family: what llama.cpp can run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from stretto.llm.train.conversion import PARTS
from stretto.llm.transformer import Transformer
from torch import Tensor


def side_by_side(weight: Tensor, heads: int) -> Tensor:
    """GGUF's order of a rotary projection's rows (two halves -> pairs); undoes `rotated_halves`."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def named_weights(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors as a GGUF file holds them."""
    c = model.config
    yield "token_embd.weight", model.embed_tokens.weight
    yield "output_norm.weight", model.norm.weight
    if not c.tied:
        yield "output.weight", model.lm_head.weight
    weights: dict[str, Tensor] = dict(model.named_parameters())
    for i in range(c.layers):
        for theirs, ours in PARTS.items():
            weight = weights[f"layers.{i}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                weight = side_by_side(weight, c.heads if theirs == "attn_q" else c.kv_heads)
            yield f"blk.{i}.{theirs}.weight", weight


def check_llama(model: Transformer) -> None:
    """Raises ValueError for a model that is more than a llama."""
    c = model.config
    more = {
        "norms of queries and keys": c.qk_norm,
        "biases": c.qkv_bias,
        "experts": c.experts is not None,
        "rotary positions that are more than a base": not isinstance(c.rope_theta, float | int),
    }
    if found := [what for what, there in more.items() if there]:
        raise ValueError(f"the model has {' and '.join(found)}, which a llama file cannot hold")


def write_gguf(path: Path, model: Transformer, context: int) -> None:
    """Write a model's causal mode, matrices in its own precision (float16 and bfloat16 as they are, all else
    float32). Ids are fed as they are: the file has no vocabulary. Raises ValueError (`check_llama`)."""
    import gguf

    check_llama(model)
    c = model.config
    kinds = {torch.bfloat16: gguf.GGMLQuantizationType.BF16, torch.float16: gguf.GGMLQuantizationType.F16}
    kind = kinds.get(model.embed_tokens.weight.dtype, gguf.GGMLQuantizationType.F32)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("stretto")
    writer.add_context_length(context)
    writer.add_embedding_length(c.width)
    writer.add_block_count(c.layers)
    writer.add_feed_forward_length(c.hidden)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_key_length(c.head_width)
    writer.add_value_length(c.head_width)
    writer.add_rope_dimension_count(c.head_width)
    writer.add_rope_freq_base(cast("float", c.rope_theta))
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_vocab_size(c.vocab)
    writer.add_tokenizer_model("none")
    for name, weight in named_weights(model):
        array = weight.detach().float().cpu().contiguous().numpy()
        stored = kind if weight.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
