"""Three recorded callers talk to one server at the same time, in real time."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "server_calls.py"


@pytest.mark.bars
def test_three_calls_at_the_same_time_are_all_answered(tmp_path, monkeypatch):
    out = tmp_path / "calls.json"
    monkeypatch.setattr(sys, "argv", [str(BENCH), "--calls", "3", "--rounds", "1", "--out", str(out)])
    runpy.run_path(str(BENCH), run_name="__main__")
    found = json.loads(out.read_text())
    assert (found["complete"], found["calls"]) == (3, 3)
    assert found["voice_to_voice_ms"]["p95"] > 0
