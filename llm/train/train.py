"""Train the house model: read causally and write canvases, one loss, one resumable loop.

    stretto llm train --preset cpu --data DATA --concierge FILE… --out runs/cpu [--resume]

The same code runs on CPU and GPU. A run stops at any moment and goes on with `--resume` from its last
checkpoint: weights, optimisers and position; batches are a function of (seed, step).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from stretto.llm.checkpoint import load, save
from stretto.llm.tokenizer import Tokenizer, embedded_tokenizer
from stretto.llm.train.batches import Batches, Source, corpus
from stretto.llm.train.canvases import Batch
from stretto.llm.train.circuits import seed_copying
from stretto.llm.train.presets import PRESETS, Preset
from stretto.llm.train.vocabulary import smollm2_rows
from stretto.llm.transformer import Transformer
from torch import Tensor


def schedule(step: int, steps: int, warmup: float = 0.02, decay: float = 0.25) -> float:
    """Warm-up, flat, linear to zero (WSD): a factor of the learning rate."""
    done = step / max(steps, 1)
    if done < warmup:
        return (step + 1) / (warmup * steps + 1)
    return 1.0 if done < 1 - decay else max(0.0, (1 - done) / decay)


def losses(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Weighted mean next-token loss of the clean stream, and denoising loss of the canvases (nats)."""
    reading, writing = model.train_pass(batch.clean, batch.canvas, batch.positions, batch.sees)
    at = batch.next_weight > 0
    nexts = torch.roll(batch.clean, -1, 1)[at]
    causal = F.cross_entropy(model.logits(reading[at]).float(), nexts, reduction="none")
    causal = (causal * batch.next_weight[at]).sum() / batch.next_weight.sum()
    at = batch.weight > 0
    denoise = F.cross_entropy(model.logits(writing[at]).float(), batch.target[at], reduction="none")
    return causal, (denoise * batch.weight[at]).sum() / batch.weight.sum()


def optimisers(model: Transformer, preset: Preset) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the body, AdamW for the embedding and the norms.

    AdamW alone where `muon_lr` is 0: weights that Adam trained do not take to Muon.
    """
    if not preset.muon_lr:
        return [torch.optim.AdamW(model.parameters(), preset.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)]
    matrices = [
        p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n
    ]
    tables = [p for n, p in model.named_parameters() if p.ndim == 2 and ("embed" in n or "lm_head" in n)]
    gains = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": tables, "lr": preset.adam_lr}, {"params": gains, "lr": preset.gain_lr}]
    return [
        torch.optim.Muon(
            matrices, lr=preset.muon_lr, momentum=0.95, weight_decay=0.01, adjust_lr_fn="original"
        ),
        torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def seed_embeddings(model: Transformer, gguf_path: str, tokenizer: Tokenizer) -> None:
    """Start the embedding from SmolLM2's, projected to our width by its principal components."""
    import gguf
    from stretto.llm.tokenizer import MARKS

    tensor = next(t for t in gguf.GGUFReader(gguf_path).tensors if t.name == "token_embd.weight")
    table = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type))[smollm2_rows()].float()
    table = table - table.mean(0)
    _, _, directions = torch.linalg.svd(table, full_matrices=False)
    projected = table @ directions[: model.config.width].T
    # Principal components fall off steeply; a random rotation spreads them over the heads.
    turn, _ = torch.linalg.qr(torch.randn(model.config.width, model.config.width))
    projected = projected @ turn
    with torch.no_grad():
        model.embed_tokens.weight[len(MARKS) :] = projected * (0.05 / projected.std())


@contextmanager
def ema_weights(model: Transformer, ema: dict[str, Tensor]) -> Iterator[None]:
    """The averaged weights in the model's place for a while."""
    own = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(ema[n])
    try:
        yield
    finally:
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(own[n])


def train(
    preset: Preset,
    batches: Batches,
    valid: Batches,
    out: Path,
    resume: bool,
    device: str,
    gguf: str | None,
    init: str | None = None,
) -> dict[str, float]:
    """Run the preset's steps; writes `log.jsonl`, `state.pt` and the averaged weights into `out`."""
    torch.manual_seed(preset.seed)
    model = Transformer(replace(preset.model, vocab=batches.tokenizer.size)).to(device)
    if gguf:
        seed_embeddings(model, gguf, batches.tokenizer)
    if preset.copying:
        seed_copying(model)
    if init:
        model.load_state_dict(load(init).state_dict())
    opts = optimisers(model, preset)
    base_lr = [[g["lr"] for g in o.param_groups] for o in opts]
    ema = {n: p.detach().clone() for n, p in model.named_parameters()}
    start, seen, spent = 0, 0, 0.0
    out.mkdir(parents=True, exist_ok=True)
    if resume and (out / "state.pt").exists():
        state = torch.load(out / "state.pt", map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimisers"], strict=True):
            opt.load_state_dict(saved)
        ema, start, seen, spent = state["ema"], state["step"], state["tokens"], state["seconds"]
    run = torch.compile(losses) if preset.compile else losses
    amp = torch.autocast(device, torch.bfloat16)
    log = (out / "log.jsonl").open("a")
    clock = time.monotonic()
    sums = torch.zeros(2)
    row: dict[str, float] = {"step": start, "tokens": seen}
    for step in range(start, preset.steps):
        batch = batches.batch(step).to(device)
        for opt, lrs in zip(opts, base_lr, strict=True):
            for group, lr in zip(opt.param_groups, lrs, strict=True):
                group["lr"] = lr * schedule(step, preset.steps)
        with amp:
            causal, denoise = run(model, batch)
        torch.autograd.backward(preset.causal_share * causal + denoise)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        decay = min(preset.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.values()), [p.detach() for p in model.parameters()], 1 - decay)
        seen += batch.tokens
        sums += torch.tensor([causal.item(), denoise.item()])
        if not math.isfinite(sums.sum().item()):
            raise FloatingPointError(f"the loss is no number at step {step}; lower the learning rates")
        last = step + 1 == preset.steps
        if (step + 1) % preset.log_every == 0 or last:
            spent += time.monotonic() - clock
            clock = time.monotonic()
            mean = (sums / ((step % preset.log_every) + 1)).tolist()
            sums.zero_()
            row = {
                "step": step + 1,
                "tokens": seen,
                "seconds": round(spent),
                "causal": mean[0],
                "denoise": mean[1],
            }
            if (step + 1) % preset.eval_every == 0 or last:
                model.eval()
                with torch.no_grad(), ema_weights(model, ema), amp:
                    scores = torch.tensor(
                        [
                            [x.item() for x in losses(model, valid.batch(i).to(device))]
                            for i in range(preset.eval_batches)
                        ]
                    ).mean(0)
                model.train()
                row |= {"valid_causal": scores[0].item(), "valid_denoise": scores[1].item()}
                save(out, model.config, ema)
                state = {
                    "model": model.state_dict(), "optimisers": [o.state_dict() for o in opts],
                    "ema": ema, "step": step + 1, "tokens": seen, "seconds": spent,
                }  # fmt: skip
                torch.save(state, out / "state.pt.part")
                os.replace(out / "state.pt.part", out / "state.pt")
            row = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            print(json.dumps(row), file=log, flush=True)
            print(
                f"{step + 1}/{preset.steps} " + " ".join(f"{k} {v}" for k, v in row.items() if k != "step"),
                flush=True,
            )
    log.close()
    return {"steps": row["step"], "tokens": seen, "loss": row.get("causal", 0.0) + row.get("denoise", 0.0)}


def train_command(args: argparse.Namespace) -> dict[str, float]:
    """`stretto llm train`: what its flags say; returns steps, tokens and losses at the end."""
    torch.set_num_threads(args.threads)
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    preset = PRESETS[args.preset]
    if args.steps:
        preset = replace(preset, steps=args.steps)
    tokenizer = embedded_tokenizer()
    share = preset.shares["concierge"]
    heard = preset.heard * share if args.heard else 0.0
    sources = {"concierge": Source(tuple(args.concierge), share - heard)}
    if args.heard:
        sources["heard"] = Source(tuple(args.heard), heard)
    if others := {name: share for name, share in preset.shares.items() if name != "concierge"}:
        if not args.data:
            raise ValueError(
                f"the preset {args.preset} also trains on {', '.join(others)}: give --data FOLDER"
            )
        sources |= {name: Source(corpus(args.data, [name]), share) for name, share in others.items()}
    batches = Batches(
        tokenizer,
        sources,
        preset.seed,
        preset.tokens,
        preset.longest,
        drilled=preset.drilled,
        renamed=preset.renamed,
        shifted=preset.model.shifted,
    )
    held = {"concierge": Source(tuple(args.concierge_valid), 1.0)}
    valid = Batches(
        tokenizer, held, preset.seed, preset.tokens, preset.longest, "valid", shifted=preset.model.shifted
    )
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "preset.json").write_text(json.dumps(asdict(preset), indent=1))
    return train(preset, batches, valid, out, args.resume, device, args.embeddings, args.init)
