"""What the README shows does what it says: its programs run, its commands exist, its files are there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
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
COMMANDS = [
    line.split("   ")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith(".venv/bin/stretto ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one(line, capsys):
    argv = shlex.split(line)[1:]
    args = build_parser().parse_args(argv)
    assert callable(args.run)


def test_commands_are_found():
    assert {line.split()[1] for line in COMMANDS} >= {
        "talk",
        "serve",
        "chat",
        "demo",
        "call",
        "say",
        "doctor",
    }


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


def test_the_bike_shop_answers_its_phone(tmp_path):
    """bike_shop.py, unchanged but for the port: it is the file in demo/, and it serves."""
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
            import urllib.request

            with urllib.request.urlopen(line.split()[1] + "/healthz", timeout=10) as response:
                assert b'"ok": true' in response.read()
        finally:
            shop.kill()
