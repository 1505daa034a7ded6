"""What one training run is: shape, length, rates and the mix of dialogues. One name, one command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stretto.llm.transformer import Config

TASKS = {
    "sgd": 0.06,
    "star": 0.03,
    "multiwoz": 0.02,
    "snips": 0.01,
    "bfcl": 0.01,
    "clinc150": 0.01,
    "hwu64": 0.01,
}
"""Shares of the openly licensed sources; the rest are concierge dialogues."""
HOUSE = {**{name: share * 0.6 for name, share in TASKS.items()}, "concierge": 0.91}
"""The same for few steps on a CPU."""


@dataclass(frozen=True)
class Preset:
    """`tokens`: clean tokens a step. `causal_share`: weight of reading against writing."""

    model: Config
    steps: int
    tokens: int
    shares: Mapping[str, float] = field(
        default_factory=lambda: {**TASKS, "concierge": 1 - sum(TASKS.values())}
    )
    heard: float = 0.35
    """Share of the concierge dialogues whose callers were recognised, where such are given."""
    renamed: float = 0.7
    """Share of the concierge dialogues whose names become random words."""
    schemas: float = 0.0
    """Share of all dialogues whose tools and arguments get other names."""
    stale: float = 0.0
    """Share of replies that are written over an earlier one, to learn to revise."""
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    gain_lr: float = 6e-3
    causal_share: float = 1.0
    canvases: bool = True
    """False: only reading is trained, token by token, as autoregressive models are."""
    copying: bool = False
    ema: float = 0.995
    longest: int = 768
    drills: tuple[tuple[int, float], ...] = ()
    """(from step, share): steps that train copying drills instead of dialogues."""
    seed: int = 1
    minutes: float = 0.0
    """Of training; as many steps as fit, `steps` at most. 0: `steps`."""
    most: int = 0
    """Padded tokens of a batch, where a step is made of several; 0: one batch a step."""
    workers: int = 0
    """Processes that make batches ahead."""
    compile: bool = False
    flex: bool = False
    """FlexAttention on the canvases instead of a dense mask."""
    save_seconds: float = 0.0
    """A checkpoint at least so often; 0: only after `eval_every` steps."""
    log_every: int = 25
    eval_every: int = 100
    eval_batches: int = 8

    def drilled(self, step: int) -> float:
        """Share of copying drills at a step."""
        return next((share for start, share in reversed(self.drills) if step >= start), 0.0)


SMALL = Config(vocab=0, layers=6, width=256, heads=4, kv_heads=2, head_width=64, hidden=704, qkv_bias=True)
TINY = Config(vocab=0, layers=2, width=64, heads=2, kv_heads=1, head_width=32, hidden=176)
HALF = Config(
    vocab=0, layers=15, width=576, heads=9, kv_heads=3, head_width=64, hidden=1536,
    rope_theta=100_000.0, qk_norm=False, shifted=True,
)  # fmt: skip

CPU_HALF = Preset(
    HALF,
    steps=950,
    tokens=1400,
    heard=0.45,
    muon_lr=0.0,
    adam_lr=4e-4,
    shares=HOUSE,
    renamed=0.7,
    drills=((0, 0.08),),
    log_every=10,
    eval_batches=4,
)

PRESETS = {
    "cpu-half": CPU_HALF,
    "ar-twin": replace(CPU_HALF, steps=240, canvases=False),
    "distil": replace(
        CPU_HALF, steps=240, adam_lr=1e-4, shares={"concierge": 1.0}, heard=0.0, causal_share=0.25
    ),
    "h200": Preset(
        HALF,
        steps=20_000,
        minutes=20.0,
        tokens=65_536,
        most=49_152,
        workers=14,
        causal_share=0.5,
        muon_lr=0.0,
        adam_lr=6e-4,
        ema=0.998,
        renamed=0.7,
        drills=((0, 0.05),),
        schemas=0.3,
        stale=0.1,
        shares={**TASKS, "sgd": 0.25, "star": 0.08, "concierge": 0.58},
        compile=True,
        flex=True,
        save_seconds=120.0,
        eval_every=1_000_000,
        eval_batches=16,
    ),
    "cpu": Preset(
        SMALL,
        copying=True,
        steps=4300,
        tokens=1400,
        drills=((0, 0.6), (200, 0.4), (600, 0.2), (1100, 0.06), (2800, 0.1)),
    ),
    "cpu-smoke": Preset(
        TINY, steps=60, tokens=800, shares={"concierge": 1.0}, log_every=10, eval_every=30, eval_batches=1
    ),
}
