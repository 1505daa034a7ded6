"""`stretto llm generate` and `stretto llm serve` with tiny checkpoints of other families."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI
from stretto.agent.cli import main
from stretto.llm.cache import ContextOverflow
from stretto.llm.checkpoint_model import CheckpointModel
from stretto.llm.checkpoints.load import load_checkpoint
from stretto.llm.serve.app import serve_app
from stretto.llm.serve.completions import Served
from stretto.llm.serve.listening import listening

NEMOTRON = "Nemotron-Labs-Diffusion"


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def asked(body: Any, *flags: str) -> tuple[int, str, str]:
        data = SimpleNamespace(buffer=io.BytesIO(json.dumps(body).encode()))
        monkeypatch.setattr(sys, "stdin", data)
        code = main(["llm", "generate", *flags])
        out, err = capsys.readouterr()
        return code, out, err

    return asked


TOOL = """
from stretto.tools.tool import tool

@tool
async def look(day: str) -> str:
    \"\"\"Look it up.\"\"\"
    return day
"""
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 12}


@pytest.mark.parametrize("family", ["LLaDA", "SDAR", NEMOTRON])
def test_generate(generated: Any, folders: dict[str, Path], family: str) -> None:
    flags = ("--model", str(folders[family]))
    code, out, err = generated(HELLO, *flags, "--json", "--show-canvas")
    told = json.loads(out)
    assert code == 0 and told["text"] and told["tokens"] <= 12
    assert told["sampler"] == ("verified" if family == NEMOTRON else "threshold")
    assert [n for n in range(1, 99) if f"\n{n:3d} " in f"\n{err}"] == list(range(1, told["forwards"] + 1))
    _, out, _ = generated(HELLO, *flags, "--json", "--max-forwards", "1")
    assert json.loads(out)["forwards"] <= 3
    code, out, err = generated({**HELLO, "max_tokens": 4}, *flags, "--mode", "causal")
    assert (code, "no causal mode" in err) == ((0, False) if family == NEMOTRON else (2, True))


@pytest.mark.parametrize("family", ["Dream", "SDAR"])
def test_the_agent_answers_with_it(
    folders: dict[str, Path],
    family: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.py").write_text(TOOL)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Good morning.\n"))
    flags = ("--model", str(folders[family]), "--effort", "minimal", "--system", "Be brief.", "--json")
    assert main(["chat", *flags, "--tools", str(tmp_path / "own.py")]) == 0
    (turn,) = json.loads(capsys.readouterr().out.rstrip("\n").split("\n")[-1])["turns"]
    assert turn["caller"] == "Good morning." and turn["forwards"] > 0 and turn["failure"] is None


def test_generate_says_what_cannot_be(generated: Any, folders: dict[str, Path]) -> None:
    flags = ("--model", str(folders["SDAR"]))
    long = {"messages": [{"role": "user", "content": "word " * 900}]}
    code, _, err = generated(long, *flags)
    assert code == 2 and "reads at most" in err
    code, _, err = generated({**HELLO, "response_format": {"type": "json_object"}}, *flags)
    assert code == 2 and "without a grammar" in err


@asynccontextmanager
async def asking(model: CheckpointModel) -> AsyncIterator[Any]:
    async with (
        listening(serve_app(Served(model, "tiny", model.tokenizer, model.context))) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        yield client.chat.completions.create


def test_served(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(asyncio.wait_for(served(folders["SDAR"], monkeypatch), 60))


async def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    model = CheckpointModel(load_checkpoint(folder), longest=24)
    body: dict[str, Any] = {"model": "tiny", "messages": HELLO["messages"]}
    async with asking(model) as ask:
        whole = await ask(**body)
        assert whole.choices[0].message.content
        prompt = [{"role": "user", "content": "Hello."}]
        assert whole.usage.prompt_tokens == len(model.checkpoint.prompt(prompt))
        chunks = [chunk async for chunk in await ask(**body, stream=True)]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == whole.choices[0].message.content
        for change, code in (
            ({"messages": [{"role": "user", "content": "word " * 900}]}, "context_length_exceeded"),
            ({"response_format": {"type": "json_object"}}, "unsupported_schema"),
        ):
            with pytest.raises(BadRequestError) as refused:
                await ask(**{**body, **change})
            assert refused.value.code == code
        model.context = 10**6  # what only the draft finds is said in the same way
        model.write = lambda *_: (_ for _ in ()).throw(ContextOverflow("too long"))
        with pytest.raises(BadRequestError, match="too long") as refused:
            await ask(**body)
        assert refused.value.code == "context_length_exceeded"
    model.close()


def test_serve(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    command = [sys.executable, "-m", "stretto.agent", "llm", "serve", "--port", "0", "--json"]
    command += ["--model", str(folders["LLaDA"]), "--sampler", "entropy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        with OpenAI(base_url=ready["url"] + "/v1", api_key="none", max_retries=0, timeout=60) as client:
            (model,) = client.models.list()
            answer = client.chat.completions.create(model=model.id, **HELLO)
            assert answer.choices[0].message.content
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None and "Traceback" not in process.stderr.read()
