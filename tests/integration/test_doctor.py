"""`stretto doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stretto.agent.doctor import OPTIONAL, register


def report(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_all_is_well_with_a_model(
    command: Callable[..., int], tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "doctor", "--model", str(tiny_weights), "--json") == 0
    found = report(capsys)
    checks = {check["name"]: check for check in found["checks"]}
    assert found["ok"] and {"weights", "voice", "recogniser", "voice activity", "database", "PyTorch"} <= set(
        checks
    )
    assert "parameters" in checks["weights"]["detail"] and "rows" in checks["database"]["detail"]
    for check in found["checks"]:
        assert set(check) == {"name", "ok", "detail", "fix"} and check["detail"]
        assert check["ok"] or (check["name"] in OPTIONAL and check["fix"])


def test_missing_weights_and_voices_are_told_with_a_way_out(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "doctor", "--model", str(tmp_path), "--voice", "nobody", "--json") == 1
    found = report(capsys)
    wrong = {
        check["name"]: check for check in found["checks"] if not check["ok"] and check["name"] not in OPTIONAL
    }
    assert not found["ok"] and set(wrong) == {"weights", "voice"}
    assert "config.json" in wrong["weights"]["detail"] and "--model" in wrong["weights"]["fix"]
    assert "nobody" in wrong["voice"]["detail"]


def test_a_gpu_that_is_asked_for_must_be_there(
    command: Callable[..., int],
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 0)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert command(register, "doctor", "--model", str(tiny_weights), "--device", "cuda", "--json") == 1
    wrong = {check["name"] for check in report(capsys)["checks"] if not check["ok"]} - OPTIONAL
    assert wrong == {"weights", "voice", "recogniser"}


def test_people_read_it(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "doctor", "--model", str(tmp_path)) == 1
    shown = capsys.readouterr().out
    assert "✗ weights" in shown and "✓ database" in shown and "stretto llm train" in shown
    assert command(register, "doctor", "--model", str(tmp_path), "--quiet") == 1
    assert capsys.readouterr().out == ""
