"""Pictures of training: the rows of a log, smoothed, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.llm.train.curves import PowerLaw, draw, power_law, rows_of, smoothed


def log(folder: Path, steps: list[int], denoise: float = 2.0) -> Path:
    folder.mkdir()
    rows = [
        {"step": step, "tokens": 1000 * step, "causal": 1.0, "denoise": denoise / step, "valid_causal": 0.9,
         "valid_denoise": denoise}
        for step in steps
    ]  # fmt: skip
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_steps_that_ran_twice_after_a_stop_count_once(tmp_path: Path) -> None:
    rows = rows_of(log(tmp_path / "a", [1, 2, 3, 2, 3, 4]))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_values_are_smoothed_over_those_before() -> None:
    assert smoothed([4.0, 2.0, 0.0], 2) == [4.0, 3.0, 1.0]


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_runs_are_drawn_side_by_side(tmp_path: Path, ending: str) -> None:
    house, twin = log(tmp_path / "house", [1, 2, 3]), log(tmp_path / "twin", [1, 2], 0.5)
    draw([house, twin / "log.jsonl"], tmp_path / f"curves{ending}")
    picture = (tmp_path / f"curves{ending}").read_bytes()
    assert picture.startswith(b"\x89PNG" if ending == ".png" else b"<?xml") and len(picture) > 5000


@given(st.floats(0.0, 2.0), st.floats(0.1, 5.0), st.floats(0.1, 1.2))
def test_a_power_law_is_found_again(floor: float, scale: float, power: float) -> None:
    true = PowerLaw(floor, scale, power)
    tokens = [0.1 * 1.5**n for n in range(12)]
    found = power_law(tokens, [true.at(t) for t in tokens])
    assert found.at(50.0) == pytest.approx(true.at(50.0), abs=0.03 * (floor + scale))
    assert found.floor >= 0


def test_other_sources_are_drawn_too(tmp_path: Path) -> None:
    folder = log(tmp_path / "house", [1, 2, 3, 4])
    rows = [{**row, "broad_causal": 2.0, "broad_denoise": 4.0} for row in rows_of(folder)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    laws = draw([folder], tmp_path / "curves.png", until=1.0)
    assert laws["house broad denoise"].at(1.0) == pytest.approx(4.0) and len(laws) == 4


def test_a_run_is_drawn_on(tmp_path: Path) -> None:
    laws = draw([log(tmp_path / "house", [1, 2, 3, 4])], tmp_path / "curves.png", until=1.0)
    assert laws.keys() == {"house valid causal", "house valid denoise"}
    assert laws["house valid causal"].at(1.0) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="too few"):
        draw([log(tmp_path / "short", [1, 2])], tmp_path / "curves.png", until=1.0)


def test_what_is_no_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no log"):
        rows_of(tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(ValueError, match="logged nothing yet"):
        rows_of(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"line 2 .* no row"):
        rows_of(tmp_path)
