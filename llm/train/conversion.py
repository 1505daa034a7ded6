"""Start from SmolLM2-135M-Instruct (Apache-2.0): its weights in our file format, fewer layers.

    python -m stretto.llm.train.conversion --gguf SMOLLM2.gguf --concierge FILE… --layers 15 --out DIR

The layers that go are chosen by measurement: the one whose absence costs the least next-token loss on
training dialogues is left out, again and again. Nothing is trained here:
`stretto llm train --preset cpu-half --init DIR` heals the gap and teaches writing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from stretto.llm.checkpoint import save
from stretto.llm.tokenizer import CALL, END, MARKS, SAY, SYSTEM, TOOL, USER, embedded_tokenizer
from stretto.llm.train.batches import Batches, Source
from stretto.llm.train.canvases import Batch
from stretto.llm.train.objectives import mean_losses
from stretto.llm.train.presets import HALF
from stretto.llm.train.vocabulary import smollm2_rows
from stretto.llm.transformer import Block, Transformer
from torch import Tensor

SMOLLM2 = replace(HALF, layers=30)

PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "gate_proj",
    "ffn_up": "up_proj",
    "ffn_down": "down_proj",
}
"""Names in a GGUF file -> ours."""

STARTS, ENDS = "<|im_start|>", "<|im_end|>"


def rotated_halves(weight: Tensor, heads: int) -> Tensor:
    """Undo GGUF's order of a rotary projection's rows (pairs side by side -> two halves)."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def read_smollm2(path: str) -> Transformer:
    """SmolLM2 with our trimmed vocabulary; our marks start as its chat marks, or near the mean."""
    import gguf

    reader = gguf.GGUFReader(path)
    tensors = {
        t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()).float()
        for t in reader.tensors
    }
    tokenizer = embedded_tokenizer()
    model = Transformer(replace(SMOLLM2, vocab=tokenizer.size))
    state: dict[str, Tensor] = {"norm.weight": tensors["output_norm.weight"]}
    for i in range(SMOLLM2.layers):
        for theirs, ours in PARTS.items():
            weight = tensors[f"blk.{i}.{theirs}.weight"]
            if theirs in ("attn_q", "attn_k"):
                weight = rotated_halves(weight, SMOLLM2.heads if theirs == "attn_q" else SMOLLM2.kv_heads)
            state[f"layers.{i}.{ours}.weight"] = weight
    table = tensors["token_embd.weight"]
    pieces = reader.fields["tokenizer.ggml.tokens"].contents()
    torch.manual_seed(0)
    marks = table.mean(0) + 0.3 * table.std(0) * torch.randn(len(MARKS), table.shape[1])
    for mark, piece in ((END, ENDS), *((m, STARTS) for m in (SYSTEM, USER, SAY, CALL, TOOL))):
        marks[mark] = (marks[mark] + table[pieces.index(piece)]) / 2
    state["embed_tokens.weight"] = torch.cat([marks, table[smollm2_rows()]])
    state["lm_head.weight"] = state["embed_tokens.weight"]
    model.load_state_dict(state)
    return model


def keep_layers(model: Transformer, kept: Sequence[Block]) -> None:
    """Leave the model with these of its layers."""
    model.layers = torch.nn.ModuleList(kept)
    model.config = replace(model.config, layers=len(kept))


@torch.no_grad()
def reading_loss(model: Transformer, batches: Sequence[Sequence[Batch]]) -> float:
    """Mean next-token loss of the agent's tokens, in nats."""
    with torch.autocast("cpu", torch.bfloat16):
        return mean_losses(model, batches)[0]


def prune(model: Transformer, batches: Sequence[Sequence[Batch]], layers: int) -> list[int]:
    """Leave out layer after layer, each time the one that is missed least; indices of those kept."""
    kept = list(enumerate(model.blocks))
    while len(kept) > layers:
        scores: list[tuple[float, int]] = []
        for one, _ in kept:
            keep_layers(model, [block for i, block in kept if i != one])
            scores.append((reading_loss(model, batches), one))
        loss, gone = min(scores)
        kept = [(i, b) for i, b in kept if i != gone]
        print(f"{len(kept)} layers without {gone}: loss {loss:.3f}", flush=True)
    keep_layers(model, [b for _, b in kept])
    return [i for i, _ in kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", required=True)
    parser.add_argument(
        "--concierge", nargs="+", default=[], help="training dialogues that the layers are chosen on"
    )
    parser.add_argument("--layers", type=int, default=15)
    parser.add_argument("--out", required=True)
    parser.add_argument("--kept", type=int, nargs="+", help="these layers stay, whatever a measurement says")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.kept and not args.concierge:
        parser.error("give --concierge FILE… to choose layers on, or --kept")
    model = read_smollm2(args.gguf).eval()
    if args.kept:
        keep_layers(model, [model.blocks[i] for i in args.kept])
        save(Path(args.out), model.config, dict(model.named_parameters()))
        return
    source = {"concierge": Source(tuple(args.concierge), 1.0)}
    batches = Batches(embedded_tokenizer(), source, 5, 600, 640, shifted=True)
    sample = [batches.batch(i) for i in range(3)]
    print("all layers: loss", round(reading_loss(model, sample), 3), flush=True)
    kept = prune(model, sample, args.layers)
    save(Path(args.out), model.config, dict(model.named_parameters()))
    print("kept", kept)


if __name__ == "__main__":
    main()
