"""Training curves as a picture: losses against tokens read, of one run or of several side by side.

    stretto llm curves RUN… --out curves.png

RUN is the folder of a run, or its `log.jsonl`. The training losses are smoothed; the dots are validation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SMOOTHED = 20
"""Log rows that a point of a training curve is the mean of."""
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


def draw(runs: Sequence[str | Path], out: str | Path) -> None:
    """Draw the runs' losses into a PNG or SVG. Raises ValueError for a run without a log."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [Path(run).parent.name if Path(run).is_file() else Path(run).name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    logs = {name: rows_of(run) for name, run in zip(names, runs, strict=True)}
    figure, panels = pyplot.subplots(1, len(LOSSES), figsize=(10, 4), layout="constrained")
    for panel, (loss, title) in zip(panels, LOSSES, strict=True):
        for name, rows in logs.items():
            if not any(row[loss] for row in rows):
                continue  # the autoregressive twin writes nothing
            read = [row["tokens"] / 1e6 for row in rows]
            (line,) = panel.plot(read, smoothed([row[loss] for row in rows]), alpha=0.6, label=name)
            checked = [row for row in rows if f"valid_{loss}" in row]
            panel.plot(
                [row["tokens"] / 1e6 for row in checked],
                [row[f"valid_{loss}"] for row in checked],
                ".-",
                color=line.get_color(),
            )
        panel.set(title=title, xlabel="million tokens of dialogue", ylabel="nats a token", yscale="log")
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    figure.savefig(out)
    pyplot.close(figure)
