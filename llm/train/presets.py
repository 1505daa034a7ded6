"""What one training run is: shape, length, rates and the mix of dialogues. One name, one command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

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
    """`tokens`: clean tokens a step. `causal_weight`: weight of reading against writing."""

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
    resampled: float = 0.0
    """The same of the other sources: values that are names, in calls as in what is said."""
    schemas: float = 0.0
    """Share of all dialogues whose tools and arguments get other names."""
    verbatim: int = 0
    """Only so many dialogues of each source, unchanged: to learn them by heart; 0: all, augmented."""
    stale: float = 0.0
    """Share of replies that are written over an earlier one, to learn to revise."""
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    gain_lr: float = 6e-3
    causal_weight: float = 1.0
    opened: float = 1.0
    """Share of the agent's segments that become a canvas; all of them are read. With 0 only reading is
    trained, token by token, as autoregressive models are."""
    drafted: float = 0.5
    """Share of the canvases that are as a sampler opens them; the others are masked at random."""
    complementary: float = 0.0
    """Share of the corrupted canvases that have a twin with the other places masked."""
    certainty_forcing: float = 0.0
    """Weight of the entropy where a canvas is right already (certainty forcing, dParallel 2025)."""
    copying: bool = False
    """Start with attention heads that copy (`circuits`), for a model from scratch."""
    self_conditioning: float = 0.0
    """Share of the steps that write twice: first without a gradient, then knowing what came of it."""
    ema: float = 0.995
    """Decay of the averaged weights, which are those that count."""
    longest: int = 768
    """Tokens of a dialogue; what goes on behind them is cut off."""
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
    """Steps between validations, and between checkpoints."""
    eval_batches: int = 8
    """Of each kind of validation dialogues."""

    def drilled(self, step: int) -> float:
        """Share of copying drills at a step."""
        return next((share for start, share in reversed(self.drills) if step >= start), 0.0)


class PresetError(ValueError):
    """A value that a preset cannot have; the message says what to do."""


def with_values(preset: Preset, values: Sequence[str]) -> Preset:
    """The preset with other numbers and switches, each as in "causal_weight=0.3". Raises PresetError."""
    kinds = {f.name: type(getattr(preset, f.name)) for f in fields(preset)}
    plain = {name: kind for name, kind in kinds.items() if kind in (int, float, bool)}
    changes: dict[str, Any] = {}
    for name, sign, text in (value.partition("=") for value in values):
        if not sign or name not in plain:
            raise PresetError(f"{name}{sign}{text}: give NAME=VALUE, with one of {', '.join(sorted(plain))}")
        try:
            changes[name] = ("false", "true").index(text) == 1 if plain[name] is bool else plain[name](text)
        except ValueError as error:
            wanted = "true or false" if plain[name] is bool else f"a number ({plain[name].__name__})"
            raise PresetError(f"{name}={text}: it takes {wanted}") from error
    return replace(preset, **changes)


SMALL = Config(vocab=0, layers=6, width=256, heads=4, kv_heads=2, head_width=64, hidden=704, qkv_bias=True)
TINY = Config(
    vocab=0, layers=4, width=192, heads=6, kv_heads=3, head_width=32, hidden=576, shifted=True
)  # fmt: skip
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
    drills=((0, 0.08),),
    log_every=10,
    eval_batches=4,
)

BROAD = {
    "sgd": 0.33, "star": 0.07, "multiwoz": 0.04, "taskmaster4": 0.03, "taskmaster4-rated": 0.01, "bfcl": 0.03,
    "api-bank": 0.01, "multidogo": 0.015, "clinc150": 0.02, "banking77": 0.015, "hwu64": 0.015, "snips": 0.02,
    "nlupp": 0.01, "restaurant8k": 0.01, "evi": 0.01, "disfl-qa": 0.005, "synthetic-persona-chat": 0.01,
}  # fmt: skip
"""About as the data's README proposes; without small talk about facts and sources of a few dialogues."""

CPU_BROAD = replace(
    CPU_HALF,
    steps=1800,
    tokens=1600,
    longest=1024,
    shares={**BROAD, "concierge": 1 - sum(BROAD.values())},
    opened=0.5,
    resampled=0.3,
    schemas=0.15,
    drills=((0, 0.04),),
    ema=0.997,
    eval_batches=8,
)

ANNEALED = {name: 0.4 * share for name, share in BROAD.items()}

CPU_ANNEAL = replace(
    CPU_BROAD,
    steps=300,
    adam_lr=2e-4,
    shares={**ANNEALED, "concierge": 1 - sum(ANNEALED.values())},
    opened=1.0,
    drills=((0, 0.08),),
    ema=0.99,
)
"""After `cpu-broad`: mostly the concierge again, at a lower rate, for what the model is shipped to do."""

PRESETS = {
    "cpu-half": CPU_HALF,
    "cpu-broad": CPU_BROAD,
    "cpu-anneal": CPU_ANNEAL,
    "ar-twin": replace(CPU_HALF, steps=240, opened=0.0),
    "distil": replace(
        CPU_HALF,
        steps=240,
        adam_lr=1e-4,
        shares={"concierge": 1.0},
        heard=0.0,
        causal_weight=0.25,
        certainty_forcing=2.0,
        drafted=0.9,
    ),
    "h200": Preset(
        HALF,
        steps=20_000,
        minutes=20.0,
        tokens=65_536,
        most=49_152,
        workers=14,
        causal_weight=0.5,
        muon_lr=0.0,
        adam_lr=6e-4,
        ema=0.998,
        drills=((0, 0.05),),
        schemas=0.3,
        stale=0.1,
        shares={**BROAD, "concierge": 1 - sum(BROAD.values())},
        resampled=0.3,
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
        TINY,
        steps=750,
        tokens=1500,
        longest=256,
        shares={"concierge": 1.0},
        verbatim=200,
        ema=0.98,
        eval_every=250,
        eval_batches=1,
    ),
}
