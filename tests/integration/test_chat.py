"""`stretto chat` with real weights of a tiny random model: what it says is noise, how it goes is real."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stretto.agent.canned import CONCIERGE
from stretto.agent.chat import register, render_canvas
from stretto.llm.language_model import Canvas

TOOL = '''
from stretto.tools.tool import tool

@tool
async def look(day: str) -> str:
    """Look it up."""
    return day
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(TOOL)
    return tmp_path / "own.py"


def test_every_line_is_a_turn_with_an_answer(
    command: Callable[..., int],
    tiny_weights: Path,
    own: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("I want a table.\n\nFor four.\n"))
    flags = ("--model", str(tiny_weights), "--tools", str(own), "--effort", "minimal", "--json")
    assert command(register, "chat", *flags) == 0
    shown = capsys.readouterr()
    (line,) = shown.out.rstrip("\n").split("\n")  # noise may hold other separators of lines
    turns = json.loads(line)["turns"]
    assert [turn["caller"] for turn in turns] == ["I want a table.", "For four."][: len(turns)] and turns
    for turn in turns:
        assert turn["agent"] == turn["heard"] and turn["forwards"] > 0 and turn["speculation"] == "off"
        for call in turn["tools"]:
            assert call["name"] == "look" and isinstance(call["arguments"]["day"], str)
    assert "agent: " in shown.err and CONCIERGE.greeting not in shown.err


def test_quiet_prints_nothing_but_the_result(
    command: Callable[..., int],
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert command(register, "chat", "--model", str(tiny_weights), "--quiet", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"turns": []} and shown.err == ""


def test_what_cannot_be_used_is_told(
    command: Callable[..., int], tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "chat", "--model", "/nowhere") == 2
    assert "/nowhere" in capsys.readouterr().err
    assert command(register, "chat", "--model", str(tmp_path)) == 2
    assert "config.json" in capsys.readouterr().err
    assert command(register, "chat", "--model", str(tiny_weights), "--tools", "no_such_module_here") == 2
    assert "no_such_module_here" in capsys.readouterr().err
    (tmp_path / "taken.py").write_text(TOOL.replace("def look", "def hang_up"))
    assert command(register, "chat", "--model", str(tiny_weights), "--tools", str(tmp_path / "taken.py")) == 2
    assert "built in" in capsys.readouterr().err


def test_the_canvas_shows_what_is_settled_and_what_is_open() -> None:
    shown = render_canvas(Canvas(("Hel", None, "<end>"), 4)).plain
    assert shown.split()[0] == "4" and "Hel▒▒<end>" in shown
