"""Training curves as a picture: losses against tokens read, of one run or of several side by side.

    stretto llm curves RUN… --out curves.png [--until 100]

RUN is the folder of a run, or its `log.jsonl`. The training losses are smoothed; dots are validation on
concierge dialogues, crosses on those of the other sources.
With `until` (million tokens) a power law through them is drawn on: what a longer run of the kind may reach.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SMOOTHED = 20
"""Log rows that a point of a training curve is the mean of."""
HELD = {"valid": ".-", "broad": "x-"}
"""Validation losses in a log, and how they are drawn: the concierge's, and those of the other sources."""
LOSSES = (("causal", "reading (next token)"), ("denoise", "writing (masked tokens)"))


def rows_of(run: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's log; of steps that ran twice after a stop the later ones. Raises ValueError."""
    path = Path(run)
    path = path / "log.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"there is no log {path}: give the folder of a training run")
    rows: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            step = int(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of {path} is no row of a training log") from error
        rows = {at: kept for at, kept in rows.items() if at < step} | {step: row}
    if not rows:
        raise ValueError(f"{path} is empty: the run has logged nothing yet")
    return list(rows.values())


def smoothed(values: Sequence[float], width: int = SMOOTHED) -> list[float]:
    """Means of up to `width` values, each with those before it."""
    return [sum(values[max(0, at + 1 - width) : at + 1]) / min(width, at + 1) for at in range(len(values))]


@dataclass(frozen=True)
class PowerLaw:
    """loss = floor + scale * tokens ** -power (Hestness et al. 2017; Kaplan et al. 2020)."""

    floor: float
    scale: float
    power: float

    def at(self, tokens: float) -> float:
        """The loss after so many tokens, in nats a token."""
        return self.floor + self.scale * float(tokens**-self.power)


def power_law(tokens: Sequence[float], losses: Sequence[float]) -> PowerLaw:
    """The law nearest to a run's validation losses (least squares). Raises ValueError for fewer than four.

    A few points hold it loosely, and a rate of learning that falls at the end of a run bends them.
    """
    if len(tokens) < 4:
        raise ValueError(f"{len(tokens)} validation losses are too few for a power law; it takes four")
    read, seen = np.asarray(tokens, dtype=float), np.asarray(losses, dtype=float)
    best, least = PowerLaw(float(seen.min()), 0.0, 1.0), np.inf
    for power in np.linspace(0.05, 1.5, 59):
        fallen = (read / read[-1]) ** -power  # relative to the last one, to keep the numbers small
        for floored in (True, False):
            columns = np.stack([np.ones_like(fallen), fallen], 1)[:, 0 if floored else 1 :]
            found = np.linalg.lstsq(columns, seen, rcond=None)[0]
            floor, scale = (found[0], found[1]) if floored else (0.0, found[0])
            error = float(np.sum((columns @ found - seen) ** 2))
            if floor >= 0 and scale >= 0 and error < least:
                best, least = PowerLaw(float(floor), float(scale * read[-1] ** power), float(power)), error
    return best


def _name(run: Path) -> str:
    """A run by its folder, or by the file that its log was copied to."""
    if not run.is_file():
        return run.name
    return run.parent.name if run.name == "log.jsonl" else run.stem


def draw(runs: Sequence[str | Path], out: str | Path, until: float | None = None) -> dict[str, PowerLaw]:
    """Draw the runs' losses into a PNG or SVG, on up to `until` million tokens; the laws, by run and loss.

    Raises ValueError for a run without a log, or with too few validation losses to draw them on.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [_name(Path(run)) for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    logs = {name: rows_of(run) for name, run in zip(names, runs, strict=True)}
    laws: dict[str, PowerLaw] = {}
    figure, panels = pyplot.subplots(1, len(LOSSES), figsize=(10, 4), layout="constrained")
    for panel, (loss, title) in zip(panels, LOSSES, strict=True):
        for number, (name, rows) in enumerate(logs.items()):
            if not any(row[loss] for row in rows):
                continue  # the autoregressive twin writes nothing
            read = [row["tokens"] / 1e6 for row in rows]
            color = f"C{number}"  # the same in both panels
            panel.plot(read, smoothed([row[loss] for row in rows]), color=color, alpha=0.6, label=name)
            for held, mark in HELD.items():
                checked = [row for row in rows if f"{held}_{loss}" in row]
                dots = [row["tokens"] / 1e6 for row in checked]
                values = [row[f"{held}_{loss}"] for row in checked]
                panel.plot(dots, values, mark, color=color)
                if until is not None and checked:
                    law = laws[f"{name} {held} {loss}"] = power_law(dots, values)
                    on = np.geomspace(dots[0], max(until, dots[-1]), 60)
                    panel.plot(on, [law.at(tokens) for tokens in on], "--", color=color)
        panel.set(title=title, xlabel="million tokens of dialogue", ylabel="nats a token", yscale="log")
        if until is not None:
            panel.set_xscale("log")
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    figure.savefig(out)
    pyplot.close(figure)
    return laws
