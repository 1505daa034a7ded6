"""Train the house model: read causally and write canvases, one loss, one resumable loop.

    stretto llm train --preset cpu --data DATA --concierge FILE… --out runs/cpu [--resume]

The same code runs on CPU and GPU. A run stops at any moment and goes on with `--resume` from its last
checkpoint: weights, optimisers and position; batches are a function of (seed, step). A preset with minutes
instead of steps measures its pace and ends in time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from stretto.llm.checkpoint import START_FORMATS, find_device, load, save
from stretto.llm.tokenizer import Tokenizer, embedded_tokenizer
from stretto.llm.train.batches import Batches, Source, corpus
from stretto.llm.train.canvases import Batch, Mix
from stretto.llm.train.circuits import seed_copying
from stretto.llm.train.curves import draw
from stretto.llm.train.objectives import Pass, losses, mean_losses
from stretto.llm.train.prefetch import prefetched
from stretto.llm.train.presets import PRESETS, Preset, with_values
from stretto.llm.train.vocabulary import smollm2_rows
from stretto.llm.transformer import Transformer
from torch import Tensor


def schedule(step: int, steps: int, warmup: float = 0.02, decay: float = 0.25) -> float:
    """Warm-up, flat, linear to zero (WSD): a factor of the learning rate."""
    done = step / max(steps, 1)
    if done < warmup:
        return (step + 1) / (warmup * steps + 1)
    return 1.0 if done < 1 - decay else max(0.0, (1 - done) / decay)


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


def start_model(preset: Preset, tokenizer: Tokenizer, gguf: str | None, init: str | None) -> Transformer:
    """The model that a run begins with: new, from an embedding, or from weights of an earlier run."""
    given = load(init, formats=START_FORMATS) if init else None
    conditions = preset.self_conditioning > 0 or (given is not None and given.config.self_conditioning)
    model = Transformer(replace(preset.model, vocab=tokenizer.size, self_conditioning=conditions))
    if gguf:
        seed_embeddings(model, gguf, tokenizer)
    if preset.copying:
        seed_copying(model)
    if given is not None:  # a gate that is not among them begins shut
        model.load_state_dict({**model.state_dict(), **given.state_dict()})
    return model


def validated(
    model: Transformer, ema: dict[str, Tensor], checks: Mapping[str, Sequence[Sequence[Batch]]], device: str
) -> dict[str, float]:
    """Both losses of the averaged weights on every kind of validation batches, by their names in the log."""
    found: dict[str, float] = {}
    model.eval()
    with torch.no_grad(), ema_weights(model, ema), torch.autocast(device, torch.bfloat16):
        for name, steps in checks.items():
            causal, denoise = mean_losses(model, [[b.to(device) for b in batches] for batches in steps])
            found |= {f"{name}_causal": causal, f"{name}_denoise": denoise}
    model.train()
    return found


def checkpoint(out: Path, model: Transformer, ema: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write the averaged weights, and the state that a run goes on from, whole or not at all."""
    save(out, model.config, ema)
    torch.save({"model": model.state_dict(), "ema": ema, **state}, out / "state.pt.part")
    os.replace(out / "state.pt.part", out / "state.pt")


def train(
    preset: Preset,
    batches: Batches,
    held: Mapping[str, Batches],
    out: Path,
    resume: bool,
    device: str,
    gguf: str | None,
    init: str | None = None,
    saved: Callable[[Path], None] | None = None,
) -> dict[str, float]:
    """Run the preset's steps; writes `log.jsonl`, `state.pt` and the averaged weights into `out`.

    `held`: dialogues to validate on, by the name that their losses have in the log. `saved` is called after
    every checkpoint.
    """
    torch.manual_seed(preset.seed)
    start = 0
    state = None
    if resume and (out / "state.pt").exists():
        state = torch.load(out / "state.pt", map_location="cpu", weights_only=True)
        start = state["step"]
    # Batches first: their processes are forked, and must not be after CUDA is touched.
    ready = prefetched(batches.batch, range(start, preset.steps), preset.workers)
    coming = next(ready, None)
    checks = {name: [kept.batch(i) for i in range(preset.eval_batches)] for name, kept in held.items()}
    model = start_model(preset, batches.tokenizer, gguf, init).to(device)
    opts = optimisers(model, preset)
    base_lr = [[g["lr"] for g in o.param_groups] for o in opts]
    ema = {n: p.detach().clone() for n, p in model.named_parameters()}
    seen, spent = 0, 0.0
    if state is not None:
        model.load_state_dict(state["model"])
        for opt, kept in zip(opts, state["optimisers"], strict=True):
            opt.load_state_dict(kept)
        ema = {n: t.to(device) for n, t in state["ema"].items()}
        seen, spent = state["tokens"], state["seconds"]
    out.mkdir(parents=True, exist_ok=True)
    run: Pass = torch.compile(model.train_pass, dynamic=True) if preset.compile else model.train_pass
    flex = preset.flex
    log = (out / "log.jsonl").open("a")
    pace = Pace(preset.steps, preset.minutes, spent)
    logged, wrote = (start, seen), time.monotonic()
    sums = torch.zeros(2)
    row: dict[str, float] = {"step": start, "tokens": seen}
    step = start
    while coming is not None and step < pace.steps:
        now = [batch.to(device) for batch in coming]
        for opt, lrs in zip(opts, base_lr, strict=True):
            for group, lr in zip(opt.param_groups, lrs, strict=True):
                group["lr"] = lr * schedule(step, pace.steps)
        twice = random.Random(f"{preset.seed}/{step}/twice").random() < preset.self_conditioning
        try:
            found = gradients(model, now, preset, run, flex, twice, device)
        except Exception as error:
            if run == model.train_pass:
                raise
            # A compiler that fails at some shape of a batch must not end a run that has hours behind it.
            print(f"compiled code failed at step {step} ({type(error).__name__}): on without it", flush=True)
            run, flex = model.train_pass, False
            model.zero_grad(set_to_none=True)
            found = gradients(model, now, preset, run, flex, twice, device)
        coming = next(ready, None)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        decay = min(preset.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.values()), [p.detach() for p in model.parameters()], 1 - decay)
        seen += sum(batch.tokens for batch in now)
        sums += torch.tensor([[c.item(), d.item()] for c, d in found]).sum(0)
        if not math.isfinite(sums.sum().item()):
            raise FloatingPointError(f"the loss is no number at step {step}; lower the learning rates")
        step += 1
        pace.step(step)
        last = coming is None or step >= pace.steps
        if step % preset.log_every == 0 or last:
            mean = (sums / max(1, step - logged[0])).tolist()
            sums.zero_()
            took = pace.seconds - row.get("seconds", spent)
            row = {
                "step": step,
                "tokens": seen,
                "seconds": round(pace.seconds),
                "causal": mean[0],
                "denoise": mean[1],
                "tokens_per_second": round((seen - logged[1]) / max(took, 1e-3)),
            }
            logged = (step, seen)
            due = preset.save_seconds and time.monotonic() - wrote >= preset.save_seconds
            if stored := bool(step % preset.eval_every == 0 or last or due):
                row |= validated(model, ema, checks, device)
                optimised = [opt.state_dict() for opt in opts]
                reached = {"step": step, "tokens": seen, "seconds": pace.seconds}
                checkpoint(out, model, ema, {"optimisers": optimised, **reached})
                wrote = time.monotonic()
            row = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            print(json.dumps(row), file=log, flush=True)
            told = " ".join(f"{k} {v}" for k, v in row.items() if k != "step")
            print(f"{pace.bar(step)} {told}", flush=True)
            if saved is not None and stored:
                saved(out)
    ready.close()
    log.close()
    return {"steps": row["step"], "tokens": seen, "loss": row.get("causal", 0.0) + row.get("denoise", 0.0)}


def gradients(
    model: Transformer,
    batches: Sequence[Batch],
    preset: Preset,
    run: Pass,
    flex: bool,
    twice: bool,
    device: str,
) -> list[tuple[Tensor, Tensor]]:
    """Add up the gradients of one step; both losses, batch by batch."""
    found: list[tuple[Tensor, Tensor]] = []
    with torch.autocast(device, torch.bfloat16):
        for causal, denoise in losses(model, batches, run, flex, preset.certainty_forcing, twice):
            torch.autograd.backward(preset.causal_weight * causal + denoise)
            found.append((causal.detach(), denoise.detach()))
    return found


class Pace:
    """How many steps fit: the preset's, or as many as its minutes allow at the pace so far."""

    SLOW = 10
    """First steps that are not counted: compilation, first touch of memory."""

    def __init__(self, steps: int, minutes: float, spent: float) -> None:
        self.steps = steps
        self._most, self._budget, self._spent = steps, minutes * 60, spent
        self._began = time.monotonic()
        self._mark: tuple[int, float] | None = None
        self._count = 0

    @property
    def seconds(self) -> float:
        """Of this run and those that it resumes."""
        return self._spent + time.monotonic() - self._began

    def bar(self, done: int, width: int = 20) -> str:
        """How far it is and how many minutes are left at the pace so far, as a line of text."""
        filled = width * done // max(1, self.steps)
        each = (self.seconds - self._spent) / max(1, self._count)
        left = math.ceil((self.steps - done) * each / 60)
        return f"[{'#' * filled}{'.' * (width - filled)}] {done}/{self.steps}, {left} min left;"

    def step(self, done: int) -> None:
        """`done` steps are behind; until the rates begin to fall, say how many it will be."""
        self._count += 1
        if not self._budget or self._count < self.SLOW:
            return
        if self._mark is None:
            self._mark = (done, self.seconds)
        elif self._count % 10 == 0 and done < 0.7 * self.steps:
            each = (self.seconds - self._mark[1]) / (done - self._mark[0])
            self.steps = min(self._most, done + max(1, int((self._budget - self.seconds) / each)))


def source_files(
    preset: Preset, concierge: Sequence[str], heard: Sequence[str], data: str | None
) -> dict[str, Sequence[str]]:
    """The files of every source that a preset trains on; `data` is the folder of the openly licensed ones."""
    files: dict[str, Sequence[str]] = {"concierge": concierge}
    if heard:
        files["heard"] = heard
    if others := [name for name in preset.shares if name != "concierge"]:
        if not data:
            raise ValueError(f"the preset also trains on {', '.join(others)}: give --data FOLDER")
        files |= {name: corpus(data, [name]) for name in others}
    return files


def training_batches(preset: Preset, files: Mapping[str, Sequence[str]]) -> Batches:
    """The batches of a preset over the files of its sources; `heard` takes its share from `concierge`."""
    shares = dict(preset.shares)
    if "heard" in files:
        shares["heard"] = preset.heard * shares["concierge"]
        shares["concierge"] -= shares["heard"]
    return Batches(
        embedded_tokenizer(),
        {name: Source(tuple(paths), shares[name]) for name, paths in files.items()},
        preset.seed,
        preset.tokens,
        preset.longest,
        drilled=preset.drilled,
        renamed=preset.renamed,
        shifted=preset.model.shifted,
        most=preset.most,
        schemas=preset.schemas,
        mix=Mix(preset.opened, preset.drafted, preset.stale, preset.complementary),
        resampled=preset.resampled,
        verbatim=preset.verbatim,
    )


def held_out(
    preset: Preset, concierge: Sequence[str], data: str | None
) -> dict[str, Mapping[str, Sequence[str]]]:
    """Files of validation dialogues by source; `valid`: the concierge's, `broad`: of the other sources."""
    found: dict[str, Mapping[str, Sequence[str]]] = {"valid": {"concierge": concierge}}
    names = [name for name in preset.shares if name != "concierge"]
    if data and (others := {name: corpus(data, [name], "valid") for name in names}):
        found["broad"] = others
    return found


def held_batches(
    preset: Preset, files: Mapping[str, Sequence[str]], tokenizer: Tokenizer, tokens: int | None = None
) -> Batches:
    """Validation batches over the files of some sources, in the shares of the preset."""
    return Batches(
        tokenizer,
        {name: Source(tuple(paths), preset.shares.get(name, 1.0)) for name, paths in files.items()},
        preset.seed,
        tokens or preset.tokens,
        preset.longest,
        "valid",
        shifted=preset.model.shifted,
        most=preset.most,
        verbatim=preset.verbatim,
        mix=Mix(float(preset.opened > 0)),
    )


def train_command(args: argparse.Namespace) -> dict[str, float]:
    """`stretto llm train`: what its flags say; returns steps, tokens and losses at the end."""
    torch.set_num_threads(args.threads)
    device = find_device(args.device)
    preset = with_values(PRESETS[args.preset], args.set)
    if args.steps:
        preset = replace(preset, steps=args.steps)
    batches = training_batches(preset, source_files(preset, args.concierge, args.heard, args.data))
    held = held_out(preset, args.concierge_valid, args.data)
    checks = {name: held_batches(preset, paths, batches.tokenizer) for name, paths in held.items()}
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "preset.json").write_text(json.dumps(asdict(preset), indent=1))
    found = train(preset, batches, checks, out, args.resume, device, args.embeddings, args.init)
    with suppress(ModuleNotFoundError, ValueError, OSError):  # no matplotlib, or a line torn by a kill
        draw([out], out / "curves.png")
    return found
