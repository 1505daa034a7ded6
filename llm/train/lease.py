"""The run of a pack on a borrowed GPU: a smoke step, training, weights handed over every two minutes.

    PYTHONPATH=. setsid nohup python -m stretto.llm.train.lease PACK OUT > OUT.txt 2>&1 &

Needs torch >= 2.11, numpy, safetensors and tokenizers, and `llm/` to be found as `stretto.llm`. OUT/work is
the run (it goes on there if it was killed), OUT/result what is to be fetched: see `stretto.llm.train.pack`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stretto.llm.checkpoint import find_device, save
from stretto.llm.train.batches import Batches
from stretto.llm.train.canvases import Batch
from stretto.llm.train.objectives import losses
from stretto.llm.train.pack import hand_over, starting_weights
from stretto.llm.train.presets import PRESETS, Preset
from stretto.llm.train.train import held_batches, train, training_batches
from stretto.llm.transformer import Transformer

H200_FLOPS = 989e12
"""Dense bf16 operations a second by the data sheet."""


def preset_of(run: Mapping[str, Any], model: Transformer) -> Preset:
    """The preset that the pack names, with what it sets otherwise."""
    changes = {name: run[name] for name in ("minutes", "steps", "tokens", "most", "workers") if name in run}
    return replace(PRESETS[str(run["preset"])], model=replace(model.config, vocab=0), **changes)


def batches_of(folder: Path, run: Mapping[str, Any], preset: Preset) -> tuple[Batches, dict[str, Batches]]:
    """Training and validation batches of a pack."""
    trained = training_batches(preset, {name: [str(folder / f"{name}.jsonl.xz")] for name in run["sources"]})
    held = {
        name: held_batches(
            preset,
            {source: [str(folder / f"{name}.{source}.jsonl.xz")] for source in sources},
            trained.tokenizer,
            min(preset.tokens, 16_384),
        )
        for name, sources in run["held"].items()
    }
    return trained, held


def smoke(model: Transformer, preset: Preset, batches: list[Batch], device: str) -> dict[str, Any]:
    """One update's gradients in every way of running; the fastest that works, and what each took.

    `ways`: seconds a step (after one to warm up) or the error of each; `flex`, `compile`: the one to use.
    """
    model = model.to(device)
    ready = [batch.to(device) for batch in batches]
    ways: dict[str, Any] = {}
    best = (float("inf"), False, False)
    for flex, compiled in ((True, True), (False, True), (False, False)):
        if (flex and not preset.flex) or (compiled and not preset.compile):
            continue
        name = f"{'flex' if flex else 'dense'}, {'compiled' if compiled else 'eager'}"
        try:
            torch.compiler.reset()
            run = torch.compile(model.train_pass, dynamic=True) if compiled else model.train_pass
            for warm in (True, False):
                began = time.monotonic()
                total = 0.0
                with torch.autocast(device, torch.bfloat16):
                    for causal, denoise in losses(model, ready, run, flex):
                        torch.autograd.backward(causal + denoise)
                        total += causal.item() + denoise.item()
                model.zero_grad(set_to_none=True)
                took = time.monotonic() - began
                if warm:
                    ways[f"{name}: first"] = round(took, 2)
            if total != total:
                raise FloatingPointError("the loss is no number")
            ways[name] = round(took, 3)
            best = min(best, (took, flex, compiled))
        except Exception as error:
            ways[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if best[0] == float("inf"):
        raise RuntimeError(f"no way of running works: {ways}")
    tokens = sum(batch.tokens for batch in batches)
    places = sum(batch.clean.numel() + batch.canvas.numel() for batch in batches)
    body = sum(p.numel() for n, p in model.named_parameters() if "embed" not in n and "lm_head" not in n)
    return {
        "ways": ways, "flex": best[1], "compile": best[2], "loss": round(total, 3),
        "tokens_per_second": round(tokens / best[0]),
        "share_of_peak": round(6 * body * places / best[0] / H200_FLOPS, 3),
    }  # fmt: skip


def try_out(pack: Path, work: Path, device: str) -> None:
    """The smoke step of a pack; what it found goes to `smoke.json`."""
    run = json.loads((pack / "run.json").read_text())
    model = starting_weights(pack)
    preset = preset_of(run, model)
    batches, _ = batches_of(pack, run, preset)
    device = find_device(device)
    found = smoke(model, preset, batches.batch(0), device)
    (work / "smoke.json").write_text(json.dumps({"device": device, **found}, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run a pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--smoke", action="store_true", help="the smoke step only")
    args = parser.parse_args(argv)
    work, result = args.out / "work", args.out / "result"
    work.mkdir(parents=True, exist_ok=True)
    if args.smoke:
        try_out(args.pack, work, args.device)
        return 0
    if not (work / "smoke.json").exists():
        # In a process of its own: those that make batches are forked, and must not be after CUDA is touched.
        command = [sys.executable, "-m", "stretto.llm.train.lease", str(args.pack), str(args.out), "--smoke"]
        subprocess.run([*command, "--device", args.device], check=True)
    found = json.loads((work / "smoke.json").read_text())
    print(json.dumps(found), flush=True)
    run = json.loads((args.pack / "run.json").read_text())
    model = starting_weights(args.pack)
    save(work / "start", model.config, model.state_dict())
    preset = replace(preset_of(run, model), flex=found["flex"], compile=found["compile"])
    batches, held = batches_of(args.pack, run, preset)
    train(
        preset, batches, held, work, True, found["device"], None, str(work / "start"),
        saved=lambda folder: print("handed over", hand_over(folder, result), flush=True),
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
