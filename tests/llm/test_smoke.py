"""The whole path on real dialogues: `cpu-smoke` learns 200 of them by heart, in minutes, on two cores.

Generator, token format, batches, both objectives, the loop, weights in a folder, evaluation by replay: were
one of them wrong, a small model would not come to make the calls again that it was shown.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from stretto.llm.cli import register
from stretto.llm.evaluate import held_again, scores_of
from stretto.llm.format import dialogue_segments
from stretto.llm.local import LocalModel
from stretto.llm.tokenizer import embedded_tokenizer
from stretto.llm.train.augment import used_tools
from stretto.llm.train.presets import PRESETS
from stretto.tools.concierge.dialogues import generate

SMOKE = PRESETS["cpu-smoke"]
SCORED = 40
"""Dialogues whose decisions are taken again."""


def shortened(dialogue: dict[str, Any]) -> dict[str, Any]:
    """As much of a dialogue as the preset trains on."""
    tokenizer, kept = embedded_tokenizer(), dialogue["messages"][:1]
    for message in dialogue["messages"][1:]:
        segments = dialogue_segments(tokenizer, {**dialogue, "messages": [*kept, message]})
        if sum(len(segment.ids) for segment in segments) > SMOKE.longest:
            break
        kept = [*kept, message]
    return {**dialogue, "messages": kept}


@pytest.mark.timeout(1500)
def test_two_hundred_dialogues_are_learnt_by_heart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dialogues = list(generate(seed=5, count=SMOKE.verbatim))
    path, out = tmp_path / "concierge.jsonl.gz", tmp_path / "run"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in dialogues)
    held = tmp_path / "valid.jsonl.gz"
    with gzip.open(held, "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in generate(seed=6, count=8, valid=True))
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", default=True)
    register(parser.add_subparsers())
    flags = ["--concierge", str(path), "--concierge-valid", str(held), "--threads", "2", "--out", str(out)]
    args = parser.parse_args(["llm", "train", "--preset", "cpu-smoke", *flags])
    assert args.run(args) == 0
    capsys.readouterr()
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    first, last = rows[0], rows[-1]
    assert first["causal"] > 4 and first["denoise"] > 4
    assert last["causal"] < 0.2 and last["denoise"] < 1.0
    assert last["valid_causal"] > 2 * last["causal"], "by heart: what it has not seen it does not know"

    shown = [shortened(used_tools(one)) for one in dialogues[:SCORED]]
    model = LocalModel(out, threads=2)
    try:
        found = scores_of(asyncio.run(held_again(model, shown)))
    finally:
        model.close()
    assert found["calls"] > SCORED and found["valid"] == 1.0
    assert found["exact_match"] > 0.9 and found["name_accuracy"] > 0.95
    assert found["chrf"] > 90 and found["routing_accuracy"] > 0.95
