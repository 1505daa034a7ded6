"""Tools of real MCP servers, written with the official package: as a program, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import CallToolResult
from stretto.tools import mcp_result
from stretto.tools.mcp import McpOptions, McpServers, McpTool
from stretto.tools.mcp_schema import loosened, simplified
from stretto.tools.tool import Result, ToolError

SERVER = str(Path(__file__).with_name("mcp_server.py"))


@contextmanager
def servers(**options: McpOptions) -> Iterator[McpServers]:
    before = threading.enumerate()
    found = McpServers(options)
    found.start()
    try:
        yield found
    finally:
        found.close()
        assert not [each for each in threading.enumerate() if each.name == "mcp" and each not in before]


def program(tmp_path: Path, **more: Any) -> McpOptions:
    return McpOptions(
        command=sys.executable, args=(SERVER, "stdio"), env={"DROPPED": str(tmp_path / "dropped")}, **more
    )


def named(found: McpServers) -> dict[str, McpTool]:
    return {tool.spec.name: tool for tool in found.tools()}


def run(tool: McpTool, key: str = "", **arguments: Any) -> Result:
    return asyncio.run(tool.run(arguments, key))


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpServers]:
    with servers(shelf=program(tmp_path_factory.mktemp("shelf"))) as found:
        yield found


def test_tools_are_listed_with_what_they_say_of_themselves(shelf: McpServers) -> None:
    tools = named(shelf)
    add, note, drop = tools["add"], tools["note"], tools["drop"]
    assert add.spec.description == "Add two numbers." and set(add.spec.parameters["properties"]) == {"a", "b"}
    assert (add.read_only, add.confirm) == (True, False)
    assert (note.read_only, note.confirm) == (False, False)
    assert (drop.read_only, drop.confirm) == (False, True)  # it does not say that it is harmless
    (state,) = shelf.states()
    assert state.problem == "" and "add" in state.tools and state.refused == ()


def test_results_are_read_and_cut(shelf: McpServers) -> None:
    tools = named(shelf)
    assert run(tools["add"], a=1, b=2).content == "3"
    found = run(tools["lookup"], name="bob").content
    assert found is not None and json.loads(found) == {"name": "bob", "floor": 3, "who": []}
    long = run(tools["lookup"], name="all").content
    assert long is not None and len(long) <= 2000 and json.loads(long)["cut"] == ["who"]
    assert run(tools["note"], text="ü").content == '"noted: ü"'
    picture = run(tools["picture"]).content
    assert picture is not None and json.loads(picture) == {
        "result": "a caption",
        "note": "a picture left out: it cannot be said",
    }


def test_what_goes_wrong_is_an_error_that_can_be_spoken_about(shelf: McpServers) -> None:
    tools = named(shelf)
    broken, wrong = run(tools["broken"]), run(tools["add"], a="x", b=1)
    assert broken.content is None and str(broken.error).startswith("broken failed:")
    assert wrong.content is None and str(wrong.error).startswith("add failed:")


def test_calls_run_side_by_side(shelf: McpServers) -> None:
    tools = named(shelf)

    async def both() -> list[Result]:
        slow = asyncio.create_task(tools["slow"].run({"seconds": 1.0}))
        quick = await tools["add"].run({"a": 2, "b": 2})
        assert not slow.done()
        return [quick, await slow]

    assert [each.content for each in asyncio.run(both())] == ["4", '"done"']


def test_a_call_that_takes_too_long_is_given_up_and_the_next_works(tmp_path: Path) -> None:
    with servers(shelf=program(tmp_path, timeout_s=1.0)) as found:
        tools = named(found)
        late = run(tools["slow"], seconds=60)
        assert late.error == "slow did not answer within 1 seconds."
        assert run(tools["add"], a=1, b=1).content == "2"


def test_a_cancelled_call_is_cancelled_there_and_the_next_works(tmp_path: Path) -> None:
    with servers(shelf=program(tmp_path)) as found:
        tools = named(found)

        async def main() -> None:
            waiting = asyncio.create_task(tools["slow"].run({"seconds": 600}))
            await asyncio.sleep(0.3)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()

        asyncio.run(main())
        until(lambda: not found._servers[0]._under_way)
        assert run(tools["add"], a=1, b=1).content == "2"


@pytest.mark.parametrize("way", ["die", "kill"])
def test_a_server_that_dies_in_a_call_is_told_and_comes_back(tmp_path: Path, way: str) -> None:
    with servers(shelf=program(tmp_path)) as found:
        tools = named(found)
        first = int(str(run(tools["who"]).content))
        if way == "die":
            broken_off = run(tools["die"])
            assert "not known whether it was done" in str(broken_off.error)
        else:

            async def main() -> Result:
                waiting = asyncio.create_task(tools["slow"].run({"seconds": 600}))
                await asyncio.sleep(0.3)
                os.kill(first, signal.SIGKILL)
                return await waiting

            broken_off = asyncio.run(main())
            assert "known" not in str(broken_off.error)  # it only reads: nothing is in doubt
        assert "broke off" in str(broken_off.error) and "started again" in str(broken_off.error)
        second = int(str(run(tools["who"]).content))
        assert second != first and not alive(first)
        assert found.states()[0].problem == ""
    assert not alive(second)


def test_a_server_that_dies_while_nobody_calls_is_back_before_the_next_call(tmp_path: Path) -> None:
    with servers(shelf=program(tmp_path)) as found:
        who = named(found)["who"]
        first = int(str(run(who).content))
        os.kill(first, signal.SIGKILL)
        until(lambda: not alive(first))
        until(lambda: found.states()[0].problem != "")
        assert int(str(run(who).content)) != first


def test_a_program_that_cannot_be_started_does_not_keep_the_others_away(tmp_path: Path) -> None:
    wrong = McpOptions(command=str(tmp_path / "none"))
    talks = McpOptions(
        command=sys.executable, args=("-c", "import sys; print('boom', file=sys.stderr); sys.exit(1)")
    )
    silent = McpOptions(command=sys.executable, args=("-c", "import time; time.sleep(600)"), connect_s=1.0)
    with servers(wrong=wrong, talks=talks, silent=silent, shelf=program(tmp_path)) as found:
        states = {state.name: state for state in found.states()}
        assert "add" in named(found) and states["shelf"].problem == ""
        assert "No such file" in states["wrong"].problem and "boom" in states["talks"].problem
        assert "in time" in states["silent"].problem


def test_new_tools_are_offered_when_the_server_tells(tmp_path: Path) -> None:
    with servers(shelf=program(tmp_path)) as found:
        tools = named(found)
        assert "extra" not in tools and run(tools["grow"]).content == '"grown"'
        until(lambda: "extra" in named(found))
        assert run(named(found)["extra"]).content == '"extra"'
        assert named(found)["add"] is tools["add"]


def test_names_that_clash_have_their_servers_in_front(tmp_path: Path) -> None:
    with servers(one=program(tmp_path), two=program(tmp_path)) as found:
        tools = named(found)
        assert "add" not in tools and run(tools["two_add"], a=1, b=2).content == "3"
        taken = {tool.spec.name for tool in found.tools(taken=["one_add"])}
        assert "one_add" not in taken and "two_add" in taken
        assert any("one_add" in why for why in found.states()[0].refused)


@pytest.mark.parametrize(
    ("setting", "need_yes"),
    [
        ("never", set()),
        ("unless_read_only", {"note", "drop", "die", "grow"}),
        ("destructive", {"drop"}),
    ],
)
def test_which_tools_need_a_yes_is_a_setting(tmp_path: Path, setting: Any, need_yes: set[str]) -> None:
    with servers(shelf=program(tmp_path, confirm=setting)) as found:
        assert {tool.spec.name for tool in found.tools() if tool.confirm} == need_yes


def free_port() -> int:
    with closing(socket.socket()) as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def over_http(port: int) -> subprocess.Popen[bytes]:
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    started = subprocess.Popen([sys.executable, SERVER, str(port)], **quiet)

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        except OSError:
            return False

    until(listens)
    return started


def test_a_server_at_a_url_works_dies_and_comes_back() -> None:
    port = free_port()
    process = over_http(port)
    try:
        options = McpOptions(url=f"http://127.0.0.1:{port}/mcp", headers={"X-Key": "k"}, connect_s=5.0)
        with servers(shelf=options) as found:
            tools = named(found)
            assert run(tools["add"], a=1, b=2).content == "3"
            assert str(run(tools["broken"]).error).startswith("broken failed:")

            async def main() -> Result:
                waiting = asyncio.create_task(tools["slow"].run({"seconds": 600}))
                await asyncio.sleep(0.5)
                process.kill()
                process.wait(30)
                return await waiting

            assert "broke off" in str(asyncio.run(main()).error)
            assert "cannot be reached" in str(run(tools["add"], a=1, b=2).error)
            process = over_http(port)
            assert run(tools["who"]).content == str(process.pid)
    finally:
        process.kill()
        process.wait(30)


def test_options_that_cannot_be() -> None:
    for wrong in ({}, {"command": "x", "url": "http://x"}, {"url": "ftp://x"}):
        with pytest.raises(ValueError):
            McpOptions(**wrong)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- malformed results, odd schemas

FAKE = """
import json, sys
def send(**f): print(json.dumps({"jsonrpc": "2.0", **f}), flush=True)
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m: continue
    if m["method"] == "initialize":
        send(id=m["id"], result={"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
             "serverInfo": {"name": "odd", "version": "1"}})
    elif m["method"] == "tools/list":
        good = {"name": "good", "inputSchema": {"type": "object"}}
        send(id=m["id"], result={"tools": [good, {"name": "list", "inputSchema": {"type": "array"}}]})
    elif m["method"] == "tools/call":
        print("this is no JSON", flush=True)
        print("[1, 2", flush=True)
        send(id=999, result={})
        send(id=m["id"], result=json.loads(m["params"]["arguments"]["answer"]))
    else:
        send(id=m["id"], error={"code": -32601, "message": "no"})
"""


def test_answers_that_are_none_harm_nothing() -> None:
    with servers(odd=McpOptions(command=sys.executable, args=("-c", FAKE), timeout_s=1.0)) as found:
        tools = named(found)
        assert list(tools) == ["good"] and found.states()[0].refused
        for answer in ("{}", '{"content": 3}', '{"content": [{"type": "nonsense"}]}', "[]", "7", "null"):
            result = run(tools["good"], answer=answer)
            assert result.error or result.content
        fine = run(tools["good"], answer='{"content": [{"type": "text", "text": "[1, 2]"}]}')
        assert fine.content == "[1,2]"


texts = st.text(max_size=300)
blocks = st.lists(st.builds(lambda text: {"type": "text", "text": text}, texts), max_size=3)


@given(blocks, st.one_of(st.none(), st.dictionaries(texts, texts, max_size=3)), st.booleans())
def test_every_result_is_json_within_the_budget_or_an_error(content: Any, value: Any, is_error: bool) -> None:
    result = CallToolResult(content=content, structured_content=value, is_error=is_error)
    if is_error:
        with pytest.raises(ToolError, match="look failed"):
            mcp_result.read(result, "look", 500)
    else:
        text = mcp_result.read(result, "look", 500)
        assert len(text) <= 500
        json.loads(text)


def test_schemas_are_simplified_and_loosened() -> None:
    odd = {
        "type": "object",
        "properties": {
            "not": {"type": "string", "pattern": "(?=x)", "description": "A name."},
            "count": {"type": "integer", "multipleOf": 5, "enum": [{"not": 1}]},
        },
        "required": ["not", "gone"],
        "if": {},
    }
    assert simplified(odd)["properties"] == {
        "not": {"type": "string", "description": "A name."},
        "count": {"type": "integer", "enum": [{"not": 1}]},
    }
    assert loosened(odd) == {
        "type": "object",
        "properties": {"not": {"description": "A name."}, "count": {}},
        "required": ["not"],
    }
