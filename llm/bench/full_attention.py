"""The loop of full-attention diffusion against that of `dlmserve`, on the same tiny LLaDA weights.

The weights are random, written and loaded in LLaDA's format; both loops call the same transformer, so what
differs is the loops. `fixed`: both commit the same number of the surest places a pass (in float32 the same
tokens; in half precision theirs sorts rounded probabilities). `threshold` and LocalLeap commit more where the
model is sure, within as many passes: the head is scaled so that it is sure of some places, but how many
passes that saves is up to random weights and to the most that is allowed. So `ratio` is that of a pass, and
throughput is given where both make as many.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from stretto.llm.bench.measure import Setup, Skipped, medians, rounded
from stretto.llm.checkpoints.llada import LLADA
from stretto.llm.checkpoints.load import Checkpoint, load_checkpoint
from stretto.llm.samplers import FixedSteps, Sampler, Threshold
from stretto.llm.samplers.sampler import State, commit
from stretto.llm.transformer import Transformer
from torch import Tensor

NAME = "dlmserve"
PROMPT, LENGTH, BLOCK, STEPS = 64, 64, 32, 16
"""Tokens of a prompt, of what is written, of a block of it; passes over all blocks."""
MOST_AT_ONCE = 8
"""Sequences that dlmserve's scheduler takes into one pass."""
SHARP = 6.0
"""Factor on a random head, so that it is as sure of some places as a trained one."""

DESCRIBED: dict[str, Any] = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "d_model": 256,
    "n_heads": 4,
    "n_layers": 6,
    "mlp_hidden_size": 704,
    "vocab_size": 8192,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "mask_token_id": 8190,
    "eos_token_id": 8191,
    "max_sequence_length": 1024,
}
"""config.json of the tiny model."""


@dataclass(frozen=True)
class LoopRow:
    """So many sequences written at once. `ratio`: of ms a pass. `tokens_per_s`: ours, of all together;
    None where the passes are not alike. `same`: share of the tokens that both wrote alike."""

    name: str
    sampler: str
    batch: int
    ours_ms: float
    dlmserve_ms: float
    ratio: float
    tokens_per_s: float | None
    dlmserve_tokens_per_s: float | None
    forwards: int
    dlmserve_forwards: int
    same: float


def tiny_llada(folder: Path, dtype: torch.dtype, device: str = "cpu") -> Checkpoint:
    """Random weights, written in LLaDA's format and loaded as any checkpoint of it."""
    assert LLADA.layout is not None
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    model = Transformer(LLADA.config(DESCRIBED))
    torch.set_rng_state(generator_state)
    names = LLADA.layout.names
    weights = {names.on_disk(name): weight.detach().to(dtype) for name, weight in model.named_parameters()}
    weights[names.on_disk("lm_head.weight")] *= SHARP
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(DESCRIBED))
    loaded = load_checkpoint(folder, device, dtype)
    assert isinstance(loaded, Checkpoint)
    return loaded


@dataclass
class Written:
    """What a loop made: sequences (b, prompt + length), in so many passes."""

    tokens: Tensor
    forwards: int


@torch.inference_mode()
def write_blocks(
    checkpoint: Checkpoint, prompts: Tensor, sampler: Sampler, length: int = LENGTH, block: int = BLOCK
) -> Written:
    """Blocks from left to right, all sequences (b, n) at once; only the block in work is scored."""
    model, mask = checkpoint.model, checkpoint.mask
    count, begin = prompts.shape
    tokens = torch.cat([prompts, torch.full((count, length), mask, device=prompts.device)], 1)
    forwards = 0
    for first in range(begin, begin + length, block):
        part = slice(first, first + block)
        opened = sampler.initialize(count, block, mask)
        state = State(opened.canvas.to(tokens.device), mask, opened.reopened.to(tokens.device))
        within = torch.ones_like(state.open)
        while bool(state.open.any()):
            proposal = sampler.propose(model.logits(model(tokens)[:, part]), state)
            last = state.forward == sampler.passes - 1
            state = commit(state, proposal, within) if last else sampler.accept(proposal, state, within)
            tokens[:, part] = state.canvas
            forwards += 1
    return Written(tokens, forwards)


class AsTheirs:
    """Our transformer as `dlmserve` calls a model: ids in, `.logits` of all places out."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.forwards = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Sequences of equal length only: nothing is masked."""
        self.forwards += 1
        return SimpleNamespace(logits=self.model.logits(self.model(input_ids)))

    __call__ = forward


@torch.inference_mode()
def write_theirs(checkpoint: Checkpoint, prompts: Tensor, leaps: bool) -> Written:
    """The same by `dlmserve`'s loop, step by step for all sequences, as its engine runs it."""
    from dlmserve.denoise_loop import init_state, step_batch
    from dlmserve.sampler import SamplingParams

    params = SamplingParams(
        num_denoising_steps=STEPS, gen_length=LENGTH, block_length=BLOCK, use_local_leap=leaps
    )
    model = AsTheirs(checkpoint.model)
    states = [init_state(prompt[None], params, checkpoint.mask) for prompt in prompts]
    while left := [state for state in states if not state.done]:
        # As its scheduler does: rows of one pass are at the same step of the same block.
        at = min((state.block_idx, state.step_in_block) for state in left)
        due = [state for state in left if (state.block_idx, state.step_in_block) == at]
        step_batch(model, due, checkpoint.mask, 0)
    return Written(torch.cat([state.seq for state in states]), model.forwards)


WAYS: dict[Literal["fixed", "threshold"], tuple[Sampler, bool]] = {
    "fixed": (FixedSteps(STEPS * BLOCK // LENGTH), False),
    "threshold": (Threshold(0.9, STEPS * BLOCK // LENGTH), True),
}
"""Ours, and whether theirs is LocalLeap."""


def why_not() -> str | None:
    """What to install, where something is missing."""
    missing = [name for name in ("dlmserve", "transformers") if find_spec(name) is None]
    if not missing:
        return None
    return f"not installed (pip install {' '.join(missing)}; dlmserve with --no-deps is enough)"


def compare(setup: Setup) -> list[LoopRow | Skipped]:
    """A row for each way and batch."""
    if reason := why_not():
        return [Skipped(NAME, reason)]
    try:
        import_module("dlmserve.denoise_loop")
    except ImportError as error:  # of what it needs itself
        return [Skipped(NAME, f"{error} (pip install dlmserve with all it needs)")]
    rows: list[LoopRow | Skipped] = []
    with TemporaryDirectory() as folder:
        checkpoint = tiny_llada(Path(folder), setup.dtype, setup.device.type)
        for batch in sorted({min(batch, MOST_AT_ONCE) for batch in setup.batches}):
            generator = torch.Generator().manual_seed(batch)
            prompts = torch.randint(0, 8000, (batch, PROMPT), generator=generator).to(setup.device)
            for name, (sampler, leaps) in WAYS.items():
                setup.say(f"dlmserve: {name}, {batch} at once")
                rows.append(_row(setup, checkpoint, prompts, name, sampler, leaps))
    return rows


def _row(
    setup: Setup, checkpoint: Checkpoint, prompts: Tensor, name: str, sampler: Sampler, leaps: bool
) -> LoopRow:
    last: dict[str, Written] = {}

    def keeping(way: str, write: Callable[[], Written]) -> Callable[[], None]:
        def run() -> None:
            last[way] = write()

        return run

    ways = {
        "ours": keeping("ours", lambda: write_blocks(checkpoint, prompts, sampler)),
        "theirs": keeping("theirs", lambda: write_theirs(checkpoint, prompts, leaps)),
    }
    ms = medians(ways, setup.runs, setup.device)
    ours, theirs, tokens = last["ours"], last["theirs"], len(prompts) * LENGTH
    same = float((ours.tokens == theirs.tokens)[:, PROMPT:].float().mean())
    return LoopRow(
        NAME, f"{name} / {'LocalLeap' if leaps else 'its schedule'}", len(prompts),
        rounded(ms["ours"]), rounded(ms["theirs"]), 
        rounded(ms["ours"] / ours.forwards / (ms["theirs"] / theirs.forwards)),
        None if leaps else rounded(tokens * 1000 / ms["ours"]),
        None if leaps else rounded(tokens * 1000 / ms["theirs"]),
        ours.forwards, theirs.forwards, round(same, 3),
    )  # fmt: skip
