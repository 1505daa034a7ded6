"""`stretto llm simulate`: whole calls in text, over a database each, with and without a bad line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stretto.agent.simulate import line_of
from stretto.agent.simulate_command import register
from stretto.llm.cli import register as register_llm
from stretto.tools.concierge.wording import Style


def both(subparsers: Any) -> None:
    register_llm(subparsers)
    register(subparsers)


def test_goals_met_and_failures_with_their_reason(
    command: Callable[..., int], tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goals = tmp_path / "goals.jsonl"
    goals.write_text('{"seed": 1001}\n\n{"seed": 7}\n')
    flags = ("--model", str(tiny_weights), "--effort", "minimal")
    assert command(both, "llm", "--json", "simulate", "--goals", str(goals), "--noise", *flags) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["calls"] == 2 and found["success"] == 0 and found["turns_per_call"] > 0
    assert [failure["seed"] for failure in found["failures"]] == [1001, 7]
    assert all(failure["goal"] and failure["why"].startswith("expected") for failure in found["failures"])
    assert "FAIL 1001" in shown.err and "0.0% of 2 goals met" in shown.err


@pytest.mark.parametrize(
    ("content", "told"), [("blue\n", "no file of goals"), ("[1]\n", "no file of goals"), ("", "no goals")]
)
def test_what_is_no_file_of_goals_is_told(
    content: str,
    told: str,
    command: Callable[..., int],
    tiny_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    goals = tmp_path / "goals.jsonl"
    goals.write_text(content)
    flags = ("--model", str(tiny_weights), "--goals")
    assert command(both, "llm", "simulate", *flags, str(goals)) == 2
    assert told in capsys.readouterr().err
    assert command(both, "llm", "simulate", *flags, str(tmp_path / "none")) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_line_does_what_it_says() -> None:
    style = Style.draw(random.Random(1), held_out=True)
    words = "Hello, I would like a table for four at the Copper Kettle, please."
    assert line_of("some", style, random.Random(1))(words) == words and style.slips > 0
    full = line_of("full", style, random.Random(1))
    assert len({full(words) for _ in range(20)}) > 5
    assert line_of("none", style, random.Random(1))(words) == words
    assert style.slips == style.misspelling == 0.0
