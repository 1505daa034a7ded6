"""Servers of `[mcp.NAME]`: what can be set, what is refused, what doctor tells, what a model is offered."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stretto.agent.cli import build_parser
from stretto.agent.config import ConfigError, configure, load, read_file
from stretto.agent.mcp_tools import LiveTools
from stretto.agent.settings import Settings
from stretto.llm.local import LocalModel
from stretto.tools.mcp import McpOptions, McpServers

SERVER = Path(__file__).parents[1] / "tools" / "mcp_server.py"
SHELF = f"""
[mcp.shelf]
command = {json.dumps(sys.executable)}
args = [{json.dumps(str(SERVER))}, "stdio"]
env = {{ DROPPED = "x-y", "With-Hyphen" = "z" }}
"""


def written(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "stretto.toml"
    path.write_text(text)
    parser = build_parser()
    configure(parser, ["chat", "--config", str(path)])
    return load(read_file(path))


def test_a_server_is_set_in_the_file_and_its_names_stay_as_they_are(tmp_path: Path) -> None:
    far = '[mcp.far-away]\nurl = "https://x.example/mcp"\nheaders = { "X-Api-Key" = "secret" }\n'
    settings = written(tmp_path, SHELF + far + 'confirm = "never"\n')
    shelf, away = settings.mcp["shelf"].options(), settings.mcp["far_away"].options()
    assert shelf.env == {"DROPPED": "x-y", "With-Hyphen": "z"} and shelf.confirm == "destructive"
    assert away.headers == {"X-Api-Key": "secret"} and away.confirm == "never"
    assert "secret" not in repr(settings) and "secret" not in repr(away)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[mcp.x]\ncomand = 'y'", "comand is no setting: did you mean command?"),
        ("[mcp]\nx = 3", "x is a table: write [mcp.x]"),
        ("[mcp.x]\nargs = ['y']", "[mcp.x]: give either command"),
        ("[mcp.x]\ncommand = 'y'\nurl = 'http://x'", "[mcp.x]: give either command"),
        ("[mcp.x]\ncommand = 'y'\ntimeout_s = 0", "timeout_s must be greater than 0"),
        ("[mcp.x]\ncommand = 'y'\nconfirm = 'often'", "confirm must be"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        written(tmp_path, text)
    assert told in str(error.value)


def test_doctor_lists_the_servers_and_their_tools(tmp_path: Path) -> None:
    (tmp_path / "stretto.toml").write_text(SHELF + "[mcp.gone]\ncommand = '/no/such/program'\n")
    run = subprocess.run(
        [sys.executable, "-m", "stretto.agent", "doctor", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    checks = {check["name"]: check for check in json.loads(run.stdout.splitlines()[-1])["checks"]}
    found = checks["MCP servers"]
    assert not found["ok"] and "shelf: add, lookup" in found["detail"]
    assert "gone: [Errno 2] No such file" in found["detail"] and "MCP.md" in found["fix"]


ODD = """
from mcp.server.lowlevel import Server
import mcp_types as t, anyio
from mcp.server.stdio import stdio_server

WORD = {"type": "string"}
NESTED = {"type": "object", "properties": {"a": WORD}, "not": {"required": ["b"]}, "required": ["a"]}
PATTERN = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?<=x)y"}}, "if": {}}
FINE = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

async def listed(context, params):
    named = {"nested": NESTED, "pattern": PATTERN, "fine": FINE}
    return t.ListToolsResult(tools=[t.Tool(name=n, description=n, input_schema=s) for n, s in named.items()])

async def main():
    server = Server("odd", on_list_tools=listed)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())

anyio.run(main)
"""


class Picky:
    """A model that takes no tool called pattern, however its schema looks."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model

    def open(self, system: str, tools: Any, *rest: Any) -> Any:
        if any(tool.name == "pattern" for tool in tools):
            raise ValueError("not this one")
        return self._model.open(system, tools, *rest)


def test_schemas_are_repaired_for_the_model_and_one_that_cannot_be_keeps_no_other_away(
    embedded: LocalModel,
) -> None:
    model = embedded
    servers = McpServers({"odd": McpOptions(command=sys.executable, args=("-c", ODD))})
    servers.start()
    with contextlib.closing(servers):
        schemas = {tool.spec.name: tool.spec.parameters for tool in LiveTools([], servers, model)}
        assert set(schemas) == {"nested", "pattern", "fine"}
        assert schemas["nested"]["required"] == ["a"] and "not" not in schemas["nested"]
        assert "if" not in schemas["pattern"] and schemas["fine"]["properties"] == {"n": {"type": "integer"}}
        left = [tool.spec.name for tool in LiveTools([], servers, Picky(model))]  # type: ignore[arg-type]
        assert left == ["nested", "fine"]
        assert servers.states()[0].refused == ("pattern: not this one",)
