"""The journal: on disk before a call starts, whole after a crash, and no call twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from stretto.tools.journal import UNKNOWN, Journal, read
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import Result, tool


@dataclass
class Call:
    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.begin("k1", "book", {"day": "Montag ü"})
    journal.end("k1", Result('{"ok":true}', None, 12.34))
    journal.begin("k2", "book", {})
    journal.end("k2", None)
    journal.begin("k3", "book", {})
    journal.close()
    first, second, third = read(tmp_path / "j.jsonl")
    assert first.arguments == {"day": "Montag ü"} and first.result == Result('{"ok":true}', None, 12.3)
    assert second.result is None and third.result is None
    again = Journal(tmp_path / "j.jsonl")
    assert again.entry("k1") == first and again.entry("k4") is None


@given(st.binary(max_size=200))
def test_a_broken_file_is_read_as_far_as_it_goes(tmp_path_factory: Any, rubbish: bytes) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    journal = Journal(path)
    journal.begin("k1", "book", {})
    journal.close()
    with path.open("ab") as file:
        file.write(rubbish)
    later = Journal(path)
    later.end("k1", Result("1", None, 1.0))
    later.close()
    (entry, *_) = [each for each in read(path) if each.key == "k1"]
    assert entry.result == Result("1", None, 1.0)


def test_a_call_is_on_disk_when_it_runs_and_the_next_session_does_not_run_it(tmp_path: Path) -> None:
    path, seen = tmp_path / "j.jsonl", []

    @tool
    async def book() -> str:
        """Book."""
        seen.append(path.read_text().count("\n"))
        return "booked"

    async def once() -> Result:
        journal = Journal(path)
        (result,) = await ToolRunner([book], journal=journal).run_all([Call("c0", "book")])
        journal.close()
        return result

    first, second = asyncio.run(once()), asyncio.run(once())
    assert seen == [1] and first.content == second.content == '"booked"'


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    @tool(read_only=True)
    async def look() -> str:
        """Look."""
        return "found"

    runner = ToolRunner([look], journal=Journal(tmp_path / "j.jsonl"))
    asyncio.run(runner.run_all([Call("c0", "look")]))
    assert not (tmp_path / "j.jsonl").exists()


def test_a_tool_that_needs_a_yes_does_not_run_without_it() -> None:
    ran = []

    @tool(confirm=True)
    async def book() -> str:
        """Book."""
        ran.append(1)
        return "booked"

    async def both() -> list[Result]:
        runner = ToolRunner([book])
        before = await runner.run_all([Call("c0", "book")])
        runner.allow(Call("c0", "book"))
        after = await runner.run_all([Call("c0", "book"), Call("c0", "book"), Call("c1", "book")])
        return before + after

    refused, first, second, other = asyncio.run(both())
    assert ran == [1] and first == second and first.content == '"booked"'
    assert "yes" in str(refused.error) and "yes" in str(other.error)


def test_a_cancelled_call_is_told_as_unknown_and_never_begun_again(tmp_path: Path) -> None:
    begun, told = [], []

    @tool(timeout_s=100)
    async def book() -> str:
        """Book."""
        begun.append(1)
        await asyncio.sleep(100)
        return "booked"

    async def main() -> Result:
        runner = ToolRunner([book], journal=Journal(tmp_path / "j.jsonl"))
        call = Call("c0", "book")
        waiting = asyncio.create_task(runner.run(call))
        while not begun:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        runner.when_over(call, told.append)
        await runner.aclose(0.05)
        return await runner.run(call)

    result = asyncio.run(main())
    assert begun == [1] and result.error == UNKNOWN and [each.error for each in told] == [UNKNOWN]


CRASH = """
import asyncio, sys
from stretto.tools.journal import Journal
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import tool

class Call:
    id, name, arguments = "c0", "book", {"day": "friday"}

@tool(timeout_s=100)
async def book(day: str) -> str:
    "Book."
    print("begun", flush=True)
    await asyncio.sleep(100)
    return ""

asyncio.run(ToolRunner([book], journal=Journal(sys.argv[1])).run_all([Call()]))
"""


def test_a_killed_program_leaves_what_it_had_begun(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with subprocess.Popen([sys.executable, "-c", CRASH, str(path)], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None and program.stdout.readline() == b"begun\n"
        os.kill(program.pid, signal.SIGKILL)
        program.wait(30)
    (entry,) = read(path)
    assert (entry.name, entry.arguments, entry.result) == ("book", {"day": "friday"}, None)
    assert json.loads(path.read_text())["at"] <= time.strftime("%Y-%m-%dT%H:%M:%S.999", time.gmtime())
