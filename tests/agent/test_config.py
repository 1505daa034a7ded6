"""Where a setting comes from: flags, then variables, then the file, then defaults; what is wrong where."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.agent import cli
from stretto.agent.config import ConfigError, File, load, read_file, settings_of
from stretto.agent.settings import Settings

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("STRETTO_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command line with `serve`, `call`, `train`, and `look`, which tells what is wrong itself."""

    def show(args: argparse.Namespace) -> int:
        settings = settings_of(args)
        cli.print_result(
            args,
            {
                "args": {key: value for key, value in vars(args).items() if key != "run"},
                "settings": settings.model_dump(mode="json"),
                "keys": len(settings.serve.all_keys()),
            },
        )
        return 0

    def look(args: argparse.Namespace) -> int:
        print(f"wrong: {getattr(args, 'settings_error', None)}")
        return 0

    def register(commands: Any) -> None:
        serve = commands.add_parser("serve")
        serve.add_argument("--effort", choices=("minimal", "low", "medium", "high"), default="medium")
        serve.add_argument("--host")
        serve.add_argument("--port", type=int)
        serve.add_argument("--metrics", action=argparse.BooleanOptionalAction)
        serve.set_defaults(run=show)
        call = commands.add_parser("call")
        call.add_argument("--input", required=True)
        call.add_argument("--effort", choices=("low", "high"), default="low")
        call.add_argument("--set", nargs="+", default=[])
        call.set_defaults(run=show)
        commands.add_parser("look").set_defaults(run=look, tells_settings=True)

    entry = SimpleNamespace(name="test", load=lambda: register)
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry] if group == "stretto.commands" else [])

    def run(*argv: str) -> int:
        try:
            return cli.main(argv)
        except SystemExit as end:
            return int(end.code or 0)

    return run


@pytest.fixture
def result(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def result(*argv: str) -> dict[str, Any]:
        assert run(*argv, "--json") == 0, capsys.readouterr().err
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return result


def write(text: str, name: str = "stretto.toml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_flags_before_variables_before_the_file_before_defaults(
    result: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def port(*argv: str) -> tuple[Any, Any]:
        found = result("serve", *argv)
        return found["args"]["port"], found["settings"]["serve"]["port"]

    assert port() == (None, 8080)
    write("[serve]\nport = 1001\n")
    assert port() == (1001, 1001)
    monkeypatch.setenv("STRETTO_SERVE__PORT", "1002")
    assert port() == (1002, 1002)
    assert port("--port", "1003") == (1003, 1003)
    assert Settings.model_fields["serve"].get_default().port == 8080  # what is typed counts once


def test_the_same_at_the_top_of_the_file(
    result: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def effort(*argv: str) -> tuple[Any, Any]:
        found = result("serve", *argv)
        return found["args"]["effort"], found["settings"]["effort"]

    assert effort() == ("medium", "medium")
    write('effort = "high"\n')
    assert effort() == ("high", "high")
    write('effort = "high"\n[serve]\neffort = "low"\n[call]\neffort = "high"')
    assert effort() == ("low", "low")
    monkeypatch.setenv("STRETTO_EFFORT", "minimal")
    assert effort() == ("minimal", "minimal")
    assert effort("--effort=high") == ("high", "high")


def test_the_file_that_is_named_counts_instead_of_the_one_that_lies_there(
    result: Callable[..., dict[str, Any]],
) -> None:
    write("[serve]\nport = 1\nmax_sessions = 3")
    write("[serve]\nport = 2", "other.toml")
    found = result("serve", "--config", "other.toml")["settings"]["serve"]
    assert (found["port"], found["max_sessions"]) == (2, 8)


def test_file_and_variables_are_put_together_key_by_key(
    result: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write('[call]\nsilence-prompt-s = 4\n[call.canned]\ngoodbye = "Bye."\napology = "Oh."\n')
    monkeypatch.setenv("STRETTO_CALL__CANNED__GOODBYE", "So long.")
    monkeypatch.setenv("STRETTO_CALL__ONE_MOMENT_MS", "")  # empty counts as none
    found = result("serve")["settings"]["call"]
    assert (found["silence_prompt_s"], found["one_moment_ms"]) == (4.0, 1500.0)
    assert (found["canned"]["goodbye"], found["canned"]["apology"]) == ("So long.", "Oh.")


def test_a_table_holds_settings_of_all_and_flags_of_its_command(
    result: Callable[..., dict[str, Any]],
) -> None:
    write('[call]\ninput = "x.wav"\nset = ["a", 1]\nlongest_call_s = 60\n')
    found = result("call")  # --input is required, and the file has it
    assert (found["args"]["input"], found["args"]["set"]) == ("x.wav", ["a", "1"])
    assert found["settings"]["call"]["longest_call_s"] == 60.0
    assert result("serve")["settings"]["call"]["longest_call_s"] == 60.0


def test_switches(result: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    write("[serve]\nmetrics = false")
    assert result("serve")["settings"]["serve"]["metrics"] is False
    assert result("serve", "--metrics")["settings"]["serve"]["metrics"] is True
    monkeypatch.setenv("STRETTO_SERVE__METRICS", "yes")
    assert result("serve")["args"]["metrics"] is True


def test_keys_reach_the_settings_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write('[serve]\nkeys = ["sk-hidden-1", "sk-hidden-2"]\n[remote]\nkey = "sk-hidden-3"')
    assert run("serve", "--json") == 0
    first = capsys.readouterr().out
    monkeypatch.setenv("STRETTO_SERVE__KEYS", "sk-hidden-4,sk-hidden-5,sk-hidden-6")
    assert run("serve", "--json") == 0
    second = capsys.readouterr().out
    assert [json.loads(shown)["keys"] for shown in (first, second)] == [2, 3]
    assert "sk-hidden" not in first + second


WRONG_FILES = [
    ("efort = 'low'", "stretto.toml: efort is no setting: did you mean effort?"),
    ("effort = 'much'", "effort must be 'minimal', 'low', 'medium' or 'high', not 'much'"),
    ("facts = 3", "facts must be a path, not 3"),
    ("[serve]\nprot = 1", "stretto.toml: [serve] prot is no setting: did you mean port?"),
    ("[serve]\nport = 70000", "stretto.toml: [serve] port must be less than or equal to 65535, not 70000"),
    ("[serve]\nport = 'http'", "[serve] port must be a whole number, not 'http'"),
    ("[serve]\nport = true", "[serve] port must be a number"),
    ("[serve]\nmax-sessions = 0", "[serve] max_sessions must be greater than or equal to 1, not 0"),
    ("[call]\nsoft_end_ms = 900", "stretto.toml: [call]: silences must grow"),
    ("[call]\nset = true", "[call] set takes a value, not true"),
    ("[call]\ninput = ['a', 'b']", "[call] input takes one value, not a list"),
    ("[call]\neffort = 'medium'", "[call] effort must be one of low, high, not 'medium'"),
    ("[call.caned]\ngoodbye = ''", "[call.caned] is no command and no section: did you mean canned?"),
    ("[serv]\nport = 1", "[serv] is no command and no section: did you mean serve?"),
    ("[effort]\nx = 1", "[effort] is no command and no section"),
    ("[[serve]]\nport = 1", "serve is a table: write [serve]"),
    ("serve = 1", "serve is a table: write [serve]"),
    ("config = 'x'", "config is no setting"),
    ('"a\\nb" = 1', "'a\\nb' is no setting"),
    ("port =", "is no TOML file"),
]


@pytest.mark.parametrize(("text", "told"), WRONG_FILES)
def test_what_is_wrong_in_the_file_is_told_on_one_line(
    text: str, told: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write(text)
    assert run("call", "--input", "x.wav") == 2
    shown = capsys.readouterr()
    assert told in shown.err and "stretto.toml" in shown.err
    assert shown.err.count("\n") == 1 and shown.out == ""


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STRETTO_EFFORT", "much", "STRETTO_EFFORT must be 'minimal', 'low', 'medium' or 'high', not 'much'"),
        ("STRETTO_SERVE__PORT", "x", "STRETTO_SERVE__PORT must be a whole number, not 'x'"),
        ("STRETTO_SERVE__PROT", "1", "STRETTO_SERVE__PROT is no setting: did you mean port?"),
        ("STRETTO_SERVE", "1", "STRETTO_SERVE is a section: set STRETTO_SERVE__HOST and so on"),
        ("STRETTO_CALL__SOFT_END_MS", "900", "[call]: silences must grow"),
        ("STRETTO_SERVE__METRICS", "perhaps", "STRETTO_SERVE__METRICS must be a boolean"),
    ],
)
def test_what_is_wrong_in_a_variable_is_told_on_one_line(
    name: str,
    value: str,
    told: str,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert run("serve") == 2
    shown = capsys.readouterr().err
    assert told in shown and shown.count("\n") == 1


def test_what_is_wrong_in_a_flag_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--port", "70000") == 2
    assert "--port must be less than or equal to 65535, not 70000" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        '[serve]\nkeys = ["sk-hidden one"]',
        "[serve]\nkeys = ['sk-hidden', 3]",
        "[serve]\nkeys = {a = 'sk-hidden'}",
        "[remote]\nkey = ['sk-hidden']",
        '[remote]\nkey = "sk-hidden\\n"',
        "[serve]\nkey = 'sk-hidden'",
        "[serve]\nkeys = 'sk-hidden",
    ],
)
def test_no_message_shows_a_secret(text: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write(text)
    assert run("serve", "--json") == 2
    shown = capsys.readouterr()
    assert "sk-hidden" not in shown.out + shown.err and "stretto.toml" in shown.err


def test_variables_of_others_are_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # What Kubernetes sets for a service called "stretto".
    monkeypatch.setenv("STRETTO_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("STRETTO_SERVICE_HOST", "10.0.0.1")
    assert run("serve") == 0


def test_help_and_doctors_work_beside_a_broken_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write("efort = 1")
    assert run("serve", "--help") == 0
    assert run("look") == 0
    assert "wrong: stretto.toml: efort is no setting" in capsys.readouterr().out
    write("effort = 'low'")
    assert run("look") == 0
    assert "wrong: None" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name, told in (("none.toml", "No such file"), (".", "Is a directory"), ("latin.toml", "not UTF-8")):
        Path("latin.toml").write_bytes("system = 'Grüß Gott'".encode("latin-1"))
        assert run("serve", "--config", name) == 2
        assert told in capsys.readouterr().err


def test_a_byte_order_mark_is_no_matter(result: Callable[..., dict[str, Any]]) -> None:
    Path("stretto.toml").write_bytes(b"\xef\xbb\xbfeffort = 'low'")
    assert result("serve")["settings"]["effort"] == "low"


values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*Settings.model_fields, "port", "keys", "key", "canned", "greeting", "x"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding
@given(st.dictionaries(names, values | st.dictionaries(names, values, max_size=3), max_size=4))
def test_any_file_is_taken_or_refused_with_one_line(table: dict[str, Any]) -> None:
    try:
        load(File(Path("stretto.toml"), table))
    except ConfigError as error:
        assert str(error).strip() and "\n" not in str(error)


def test_without_a_file_there_is_none() -> None:
    assert read_file(None).path is None
