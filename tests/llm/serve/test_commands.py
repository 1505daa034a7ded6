"""`stretto llm serve` and `stretto llm generate` as they are called."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openai import OpenAI
from stretto.agent.cli import main
from stretto.llm.generate import nested
from stretto.llm.local import LocalModel
from stretto.llm.serve.command import KEYS_VARIABLE

BOOK = {
    "name": "book_table",
    "description": "Book a table.",
    "parameters": {
        "type": "object",
        "properties": {"day": {"type": "string"}, "people": {"type": "integer", "minimum": 1, "maximum": 20}},
        "required": ["day", "people"],
    },
}
TABLE = [{"role": "user", "content": "I want a table for four on Monday."}]


@pytest.fixture
def generate(
    embedded_model: LocalModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """`generate(body, *flags)`: exit code, what is printed, what is said beside it."""

    def model(folder: Any, *, sampler: Any, **of: Any) -> LocalModel:
        assert folder is None
        return LocalModel(
            model=embedded_model.transformer, tokenizer=embedded_model.tokenizer, sampler=sampler
        )

    def asked(body: Any, *flags: str) -> tuple[int, str, str]:
        monkeypatch.setattr("stretto.llm.local.LocalModel", model)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        code = main(["llm", "generate", *flags])
        out, err = capsys.readouterr()
        return code, out, err

    return asked


@pytest.mark.parametrize("mode", ["canvas", "causal"])
def test_a_reply_is_printed(generate: Any, mode: str) -> None:
    code, out, _ = generate({"messages": TABLE}, "--mode", mode, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["text"]
    assert told["tool_calls"] == []
    assert told["sampler"] == ("causal" if mode == "causal" else "verified")
    assert told["forwards"] >= 1
    assert told["tokens"] >= 1
    assert told["ms"] > 0
    if mode == "causal":
        assert told["forwards"] >= told["tokens"] - 1  # a pass a token, and the end may need none
    assert generate({"messages": TABLE}, "--mode", mode) == (0, told["text"] + "\n", "")


def test_a_call_is_printed_in_the_flat_form_of_the_data(generate: Any) -> None:
    body = {"messages": TABLE, "tools": [BOOK], "tool_choice": {"name": "book_table"}}
    _, out, _ = generate(body, "--json")
    (call,) = json.loads(out)["tool_calls"]
    assert (call["name"], call["arguments"]["people"]) == ("book_table", 4)
    code, out, _ = generate({**body, "tools": [{"type": "function", "function": BOOK}]})
    assert code == 0
    assert out.startswith("book_table {")


def test_the_canvas_is_shown_beside_the_reply(generate: Any) -> None:
    _, out, err = generate({"messages": TABLE}, "--show-canvas", "--json", "--effort", "high")
    numbers = [int(line.split()[0]) for line in err.splitlines()]
    assert numbers == sorted(numbers)
    assert numbers[-1] <= json.loads(out)["forwards"]


def test_passes_can_be_few(generate: Any) -> None:
    body = {"messages": [{"role": "user", "content": "Tell me about your restaurant."}]}
    flags = ("--json", "--sampler", "threshold", "--effort", "high")
    free = json.loads(generate(body, *flags)[1])
    few = json.loads(generate(body, *flags, "--max-forwards", "2")[1])
    assert few["forwards"] < free["forwards"]
    assert few["text"]
    body = {"messages": TABLE, "tools": [BOOK], "tool_choice": "required"}
    (call,) = json.loads(generate(body, *flags, "--max-forwards", "1")[1])["tool_calls"]
    assert 1 <= call["arguments"]["people"] <= 20


@pytest.mark.parametrize(
    ("body", "flags", "told"),
    [
        (b"{", (), "no JSON"),
        (b"", (), "no JSON"),
        ({"messages": []}, (), "messages: "),
        ({"messages": TABLE, "tools": [BOOK | {"name": "a b"}]}, (), "tools.0.function.name"),
        (
            {"messages": TABLE, "tools": [BOOK | {"parameters": {"type": "array"}}]},
            (),
            "a tool cannot be offered",
        ),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, (), "at most 1024 tokens"),
        ({"messages": TABLE}, ("--max-forwards", "0"), "--max-forwards 0: give more than 0"),
        ({"messages": TABLE}, ("--deadline-ms", "-5"), "--deadline-ms -5: give more than 0"),
    ],
)
def test_a_bad_request_is_said(generate: Any, body: Any, flags: tuple[str, ...], told: str) -> None:
    code, out, err = generate(body, *flags)
    assert (code, out) == (2, "")
    assert err.startswith("stretto llm generate: ")
    assert told in err


def test_the_flat_form_is_nested() -> None:
    calls = [
        {"name": "book", "arguments": {"day": "Monday"}},
        {"name": "book", "arguments": {"day": "Friday"}},
    ]
    flat = {
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "name": "book", "content": "1"},
            {"role": "tool", "name": "book", "content": "2"},
        ],
        "tools": [BOOK],
    }
    told = nested(flat)
    first, *results = told["messages"]
    assert [json.loads(call["function"]["arguments"])["day"] for call in first["tool_calls"]] == [
        "Monday",
        "Friday",
    ]
    assert [result["tool_call_id"] for result in results] == [call["id"] for call in first["tool_calls"]]
    assert told["tools"] == [{"type": "function", "function": BOOK}]
    assert nested(told) == told


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--host", "0.0.0.0"), "whoever reaches 0.0.0.0 could ask"),
        (("--key", "two words"), "visible ASCII"),
        (("--key-file", "no-such-file"), "no-such-file"),
        (("--port", "70000"), "0 to 65535"),
        (("--live", "0"), "--live is 1 or more"),
        (("--model", "no-such-folder"), "no folder no-such-folder"),
    ],
)
def test_flags_that_cannot_be_are_said(
    flags: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["llm", "serve", *flags]) == 2
    assert told in capsys.readouterr().err


def test_a_key_file_without_keys_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys").write_text("# none yet\n\n")
    assert main(["llm", "serve", "--key-file", str(tmp_path / "keys")]) == 2
    assert "there is no key in" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(
    house: Any,
    embedded_model: LocalModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = LocalModel(model=embedded_model.transformer, tokenizer=embedded_model.tokenizer)
    monkeypatch.setattr("stretto.llm.local.LocalModel", lambda folder, **of: copy)
    assert main(["llm", "serve", "--port", house.url.rsplit(":", 1)[1]]) == 2
    assert "choose another --port" in capsys.readouterr().err


def test_it_serves_until_it_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, "first, second")
    monkeypatch.setenv("NO_PROXY", "*")
    command = [sys.executable, "-m", "stretto.agent", "llm", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] is True
        with OpenAI(base_url=ready["url"] + "/v1", api_key="second", max_retries=0, timeout=60) as client:
            (model,) = client.models.list()
            assert model.id == "stretto-concierge-60m"
            messages: Any = [{"role": "user", "content": "Hello."}]
            assert client.chat.completions.create(model=model.id, messages=messages).choices
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert process.stderr is not None
            told = process.stderr.read()
            assert "ready: " in told
            assert "Traceback" not in told
