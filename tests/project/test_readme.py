"""What the README shows does what it says: its programs run, its commands exist, its files are there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stretto.agent.call import SessionOptions
from stretto.agent.cli import build_parser
from stretto.agent.realtime.connection import Service
from stretto.agent.realtime.wire_voice import WireVoice
from stretto.agent.server.server import Server
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Synthesiser
from stretto.llm.local import LocalModel
from stretto.tools.tool import load_tools

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = {
    code.splitlines()[0].removeprefix("# "): code for code in re.findall(r"```python\n(.*?)```", README, re.S)
}
FACTS = re.search(r"```markdown\n<!-- opening_hours.md -->\n.*?```", README, re.S)
BLOCKS = [
    [line.split("   ")[0].strip() for line in block.splitlines()]
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
]
COMMANDS = [line for block in BLOCKS for line in block if ".venv/bin/stretto " in line]
ENDLESS = ("talk", "serve", "demo", "demo-home")
"""Commands that need a microphone, run until they are stopped, or hold a long call."""


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one(line, capsys):
    argv = shlex.split(line[line.index(".venv/bin/stretto ") :])[1:]
    args = build_parser().parse_args(argv)
    assert callable(args.run)


def test_commands_are_found():
    assert {line.split(".venv/bin/stretto ")[1].split()[0] for line in COMMANDS} >= {
        "talk",
        "serve",
        "chat",
        "demo",
        "call",
        "say",
        "doctor",
    }


@pytest.fixture
def copied(tmp_path):
    """A folder with the files that the README shows, and a `stretto` where it says."""
    assert FACTS is not None
    (tmp_path / "opening_hours.md").write_text(FACTS[0].split("\n", 1)[1].removesuffix("```"))
    for name, code in PROGRAMS.items():
        (tmp_path / name).write_text(code)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    program = tmp_path / ".venv" / "bin" / "stretto"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -m stretto.agent.cli "$@"\n')
    program.chmod(0o755)
    return tmp_path


def pasted(folder, line, typed="", timeout_s=150):
    """What a line prints."""
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, input=typed, capture_output=True, text=True, timeout=timeout_s
    )
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


@pytest.mark.timeout(600)
def test_every_command_that_ends_does_what_the_readme_says(copied, monkeypatch):
    """Copied line by line, in their order; to `stretto chat` somebody types."""
    for name in [name for name in os.environ if name.upper().startswith("STRETTO_")]:
        monkeypatch.delenv(name)
    typed = "Please switch on the light in the kitchen.\nAnd when are you open on Sunday?\n"
    told = {}
    for line in COMMANDS:
        command = shlex.split(line[line.index(".venv/bin/stretto ") :])[1]
        if command in ENDLESS or " llm serve" in line:
            continue
        shown = pasted(copied, line, typed)
        told[command if command not in told else line] = shown
    # The greeting and two answers. The model is small: whether it calls the tools is not held against it.
    assert len(re.findall(r"^agent: \w+", told["chat"], re.M)) == 3
    (canvas,) = (text for line, text in told.items() if "--show-canvas" in line)
    assert "<end>" in canvas
    assert soundfile.info(copied / "caller.wav").duration > 1.5
    (said,) = (shlex.split(line)[2] for line in COMMANDS if " say " in line)
    said, heard = (set(re.findall(r"\w+", text.lower())) for text in (said, told["transcribe"]))
    assert len(heard & said) >= len(said) - 2
    assert "dentist" in told["call"] and told["call"].count("agent ") >= 2
    both, rate = soundfile.read(copied / "out.wav")
    caller, agent = (np.flatnonzero(np.abs(side) > 0.05) / rate for side in both.T)
    assert len(caller) and agent[0] < caller[0] < caller[-1] < agent[-1]
    assert "✗" not in told["doctor"] and "all that a call needs works" in told["doctor"]


@pytest.mark.bars
@pytest.mark.timeout(900)
def test_the_other_caller_of_the_demo_is_served(copied):
    (line,) = (line for line in COMMANDS if " demo " in line)
    pasted(copied, line, timeout_s=600)
    (page,) = copied.rglob("call.html")
    fields = json.loads(page.with_name("call.json").read_text())
    assert fields["completed"] and sum(bool(turn["caller"]) for turn in fields["turns"]) >= 2


def test_every_file_that_is_named_is_there():
    named = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(
        r"`((?:agent|audio|demo|llm|tests)/[\w./-]+)`", README
    )
    assert len(named) > 10
    made = {"demo/out/"}  # by `make demo`
    assert [name for name in named if name not in made and not (ROOT / name).exists()] == []


def test_the_tools_load(tmp_path):
    path = tmp_path / "tools_of_mine.py"
    path.write_text(PROGRAMS["tools_of_mine.py"])
    (light,) = load_tools(str(path))
    assert light.spec.parameters["properties"]["state"]["enum"] == ["on", "off"]


def test_the_official_client_asks_the_embedded_model(tmp_path):
    """ask.py, unchanged but for the port."""

    async def work() -> str:
        model, ears, voice = LocalModel(), Recogniser(), Synthesiser()
        try:
            options = SessionOptions(system="You are the concierge of a hotel.")
            service = Service(model, ears, lambda speed: WireVoice(voice), options)
            async with Server(service).listening() as url:
                path = tmp_path / "ask.py"
                path.write_text(PROGRAMS["ask.py"].replace("127.0.0.1:8080", url.removeprefix("http://")))
                asked = await asyncio.to_thread(
                    subprocess.run, [sys.executable, str(path)], capture_output=True, text=True, timeout=90
                )
                assert asked.returncode == 0, asked.stderr
                return asked.stdout
        finally:
            model.close()
            ears.close()
            voice.close()

    assert len(asyncio.run(work()).split()) > 1


def test_the_restaurant_is_asked_for_a_table(tmp_path):
    path = tmp_path / "restaurant.py"
    path.write_text(PROGRAMS["restaurant.py"])
    asked = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=90)
    assert asked.returncode == 0, asked.stderr
    for shown in ("TurnSignal(", "Canvas(", "Draft(", "[0.", "Infilled(text='A table for two?'"):
        assert shown in asked.stdout
    assert "sorry" not in asked.stdout.split("Draft(")[1].lower()


def test_the_bike_shop_answers_its_phone(tmp_path):
    """bike_shop.py, unchanged but for the port: it is the file in demo/, and it answers who calls."""
    shown = PROGRAMS["bike_shop.py"].split("\n", 1)[1]
    assert (ROOT / "demo" / "bike_shop.py").read_text().endswith(shown)
    path = tmp_path / "bike_shop.py"
    path.write_text(shown.replace("port=8080", "port=0"))
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as shop:
        try:
            assert shop.stdout is not None
            line = shop.stdout.readline()
            assert line.startswith("ready: http://127.0.0.1:")
            ask = PROGRAMS["ask.py"].replace("127.0.0.1:8080", line.split()[1].removeprefix("http://"))
            (tmp_path / "ask.py").write_text(ask.replace("book a table for two", "bring my bike on Friday"))
            asked = subprocess.run(
                [sys.executable, str(tmp_path / "ask.py")], capture_output=True, text=True, timeout=90
            )
            assert asked.returncode == 0, asked.stderr
            assert len(asked.stdout.split()) > 1
        finally:
            shop.kill()
