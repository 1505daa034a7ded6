"""The simulated caller by telephone, with the embedded models, in real time."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "phone_calls.py"


@pytest.mark.bars
@pytest.mark.timeout(900)
def test_a_call_by_each_protocol_is_held_and_recorded_in_time(tmp_path, monkeypatch):
    out = tmp_path / "calls.json"
    monkeypatch.setattr(sys, "argv", [str(BENCH), "--calls", "1", "--out", str(out)])
    runpy.run_path(str(BENCH), run_name="__main__")
    found = json.loads(out.read_text())
    for way in ("twilio", "audiosocket"):
        assert (found[way]["completed"], found[way]["calls"]) == (1, 1)
        assert found[way]["answers"] >= 2
        assert found[way]["recording_apart_ms"]["max"] < 150
