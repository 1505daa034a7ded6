"""The command line: commands of the rooms, common flags, settings from a file, exit codes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stretto.agent import cli

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("STRETTO_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command line with `greet NAME`, `llm train` and commands that fail."""

    def fails(error: BaseException) -> Callable[[argparse.Namespace], int]:
        def work(args: argparse.Namespace) -> int:
            raise error

        return work

    def show(args: argparse.Namespace) -> int:
        cli.print_result(args, {key: value for key, value in vars(args).items() if key != "run"})
        return 0

    def register(commands: Any) -> None:
        greet = commands.add_parser("greet")
        greet.add_argument("name")
        greet.add_argument("--effort", choices=("low", "high"), default="low")
        greet.add_argument("--seed", type=int, default=1)
        greet.add_argument("--show-canvas", action="store_true")
        greet.set_defaults(run=show)
        llm = commands.add_parser("llm").add_subparsers(dest="llm_command", required=True)
        train = llm.add_parser("train")
        train.add_argument("--out", required=True)
        train.set_defaults(run=show)
        commands.add_parser("bad").set_defaults(run=fails(cli.UsageError("give it a name")))
        commands.add_parser("stop").set_defaults(run=fails(KeyboardInterrupt()))

    entry = SimpleNamespace(name="test", load=lambda: register)
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry] if group == "stretto.commands" else [])

    def run(*argv: str) -> int:
        try:
            return cli.main(argv)
        except SystemExit as end:
            return int(end.code or 0)

    return run


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "stretto.toml").write_text(text)
        return str(tmp_path / "stretto.toml")

    return write


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_exit_codes_and_messages(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("greet", "Ann") == 0
    assert capsys.readouterr().out == ""
    assert run("bad") == 2 and "give it a name" in capsys.readouterr().err
    assert run("stop") == 130
    assert run() == 2 and run("nothing") == 2 and run("greet", "Ann", "--effort", "much") == 2
    assert run("greet", "--help") == 0


def test_every_command_takes_the_common_flags(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("greet", "Ann"), ("llm", "train", "--out", "x")):
        assert run(*command, "--json", "--quiet") == 0
        assert printed(capsys)["quiet"] is True


def test_settings_of_a_file_count_unless_something_else_is_typed(
    run: Run, file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = '[greet]\nseed = 4\nshow_canvas = true\n[llm.train]\nout = "there"\n'
    path = file(f'effort = "high"\nseed = 3\n{own}')
    assert run("greet", "Ann", "--json", "--config", path) == 0
    found = printed(capsys)
    assert (found["effort"], found["seed"], found["show_canvas"]) == ("high", 4, True)
    assert run("greet", "Ann", "--json", "--effort", "low", f"--config={path}") == 0
    assert printed(capsys)["effort"] == "low"
    assert run("llm", "train", "--json", "--config", path) == 0
    assert printed(capsys)["out"] == "there"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("efort = 1", "efort"),
        ("[greeet]\nseed = 1", "greeet"),
        ("[greet]\nout = 'x'", "out"),
        ("show_canvas = 'yes'", "true or false"),
        ("seed = true", "takes a value"),
        ("seed = 'many'", "seed must be a whole number, not 'many'"),
        ("seed =", "no TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(
    text: str, told: str, run: Run, file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("greet", "Ann", "--config", file(text)) == 2
    assert told in capsys.readouterr().err


def test_a_missing_file_is_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("greet", "Ann", "--config", str(tmp_path / "none.toml")) == 2
    assert "none.toml" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["stretto.agent", "stretto.agent.cli"])
def test_as_a_module_it_is_the_same_command(module: str, tmp_path: Path) -> None:
    """Wrong use that only the command itself finds out, with an error class of the imported module."""
    command = [sys.executable, "-W", "ignore", "-m", module, "call", "--input", "nowhere.wav"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("stretto call: ") and "nowhere.wav" in ended.stderr
    assert "Traceback" not in ended.stderr
