"""Tools of Model Context Protocol servers: a program that is started and spoken to, or one at a URL.

The servers live on a thread of their own: whatever loop runs a call, they go on, and the connection's scopes
are entered and left by the one task that owns it. A server that dies is started again, and its calls say so.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stretto.tools.tool import BUDGET, Result, ToolError, ToolSpec

_log = logging.getLogger(__name__)

Confirm = Literal["destructive", "unless_read_only", "always", "never"]


@dataclass(frozen=True)
class McpOptions:
    """A server: `command` with `args` to start, or `url` (streamable HTTP).

    `env`: variables of the program beside a few harmless ones of ours. `headers`: sent with every request.
    `timeout_s`: for one call; `connect_s`: for starting and connecting. `confirm`: which tools need the
    caller's yes: those whose annotations say, or do not deny, that they destroy (`destructive`), those
    that do not say that they only read (`unless_read_only`), all or none. Raises ValueError.
    """

    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | Path | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 30.0
    connect_s: float = 20.0
    confirm: Confirm = "destructive"
    budget: int = BUDGET

    def __post_init__(self) -> None:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either command (a program to start) or url (a server that runs)")
        if self.url is not None and not re.match(r"https?://", self.url):
            raise ValueError(f"url must begin with http:// or https://, not {self.url!r}")


class McpTool:
    """One tool of a server; see `AnyTool`. Its `spec` may be replaced by one that a model can be held to."""

    def __init__(
        self, spec: ToolSpec, called: str, call: Call, options: McpOptions, read_only: bool, confirm: bool
    ) -> None:
        self.spec = spec
        self.called = called
        """What the server calls it."""
        self.read_only = read_only
        self.confirm = confirm
        self.timeout_s = options.timeout_s
        self._call = call
        self._longest_s = options.timeout_s + options.connect_s + 5.0

    def __repr__(self) -> str:
        return f"McpTool({self.spec.name})"

    async def run(self, arguments: Mapping[str, Any], idempotency_key: str = "") -> Result:
        """Have the server run it; whatever goes wrong becomes an error result. Cancelling cancels there."""
        began = time.monotonic()

        def took() -> float:
            return (time.monotonic() - began) * 1000

        try:
            async with asyncio.timeout(self._longest_s):
                waiting = self._call(self.called, dict(arguments), idempotency_key, self.read_only)
                content: str = await asyncio.wrap_future(waiting)
                return Result(content, None, took())
        except TimeoutError:
            return Result(None, f"{self.spec.name} did not answer.", took())
        except ToolError as error:
            return Result(None, str(error), took())


Call = Callable[[str, dict[str, Any], str, bool], "concurrent.futures.Future[str]"]
"""Name, arguments, idempotency key, whether it only reads: JSON text, or ToolError."""


@dataclass(frozen=True)
class ServerState:
    """How a server is; `problem`: why there is no connection, "" if there is one."""

    name: str
    problem: str
    tools: tuple[str, ...]
    refused: tuple[str, ...]


class McpServers:
    """The servers of a program, by their names. `start` connects, `close` ends every process.

    A server that cannot be reached does not keep the others away: it is tried again, and `states` tells why.
    """

    def __init__(self, servers: Mapping[str, McpOptions]) -> None:
        # Not before somebody has a server: the package is an extra.
        try:
            from stretto.tools.mcp_connection import Connection
        except ModuleNotFoundError as error:
            raise ValueError(
                "tools of MCP servers need the package mcp: pip install 'stretto[mcp]'"
            ) from error
        self._servers = [Connection(name, options) for name, options in servers.items()]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tools: dict[tuple[str, str, str], McpTool] = {}

    def start(self) -> None:
        """Connect to all at once; returns when each is connected or has failed once."""
        ready: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), name="mcp", daemon=True)
        self._thread.start()
        self._loop = ready.result(10)
        for server in self._servers:
            server.tried.result(server.options.connect_s + 30)

    async def _run(self, ready: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        async with asyncio.TaskGroup() as group:
            for server in self._servers:
                group.create_task(server.run(), name=f"mcp {server.name}")
            ready.set_result(asyncio.get_running_loop())

    def close(self) -> None:
        """End all connections and processes; calls under way fail. Safe to call twice."""
        if self._thread is None or self._loop is None:
            return
        for server in self._servers:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(server.close)
        self._thread.join(15)
        self._thread = None

    def tools(self, taken: Sequence[str] = ()) -> list[McpTool]:
        """What the servers offer now. A name that two have, or that is `taken`, has its server's in front."""
        listed = [(server, each) for server in self._servers for each in server.tools]
        names = [_callable_name(each.name) for _, each in listed] + list(taken)
        found: dict[str, McpTool] = {}
        for server, each in listed:
            name = _callable_name(each.name)
            if names.count(name) > 1:
                name = _callable_name(f"{server.name}_{name}")
            if name in found or name in taken:
                server.refused[each.name] = f"there is a tool {name} already"
                continue
            spec = ToolSpec(name, each.description, each.parameters)
            # The same object as before where nothing changed: what was repaired stays so.
            key = (server.name, each.name, repr(spec))
            if key not in self._tools:
                self._tools[key] = McpTool(
                    spec, each.name, server.call, server.options, each.read_only, each.confirm
                )
            found[name] = self._tools[key]
        return list(found.values())

    def refuse(self, tool: McpTool, why: str) -> None:
        """A tool cannot be offered: told in `states`."""
        for server in self._servers:
            if server.call == tool._call:
                server.refused[tool.called] = why
                _log.warning(
                    "the tool %s of the MCP server %s is left out: %s", tool.called, server.name, why
                )

    def states(self) -> list[ServerState]:
        """How each server is."""
        return [
            ServerState(
                each.name,
                each.problem,
                tuple(tool.name for tool in each.tools if tool.name not in each.refused),
                tuple(f"{name}: {why}" for name, why in each.refused.items()),
            )
            for each in self._servers
        ]


def _callable_name(name: str) -> str:
    """A name that models take: letters, digits, _ and -."""
    made = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return made if made[:1].isalpha() else f"t_{made}"
