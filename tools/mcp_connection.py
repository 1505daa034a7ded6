"""One MCP server and the one task that owns its connection: calls, changes of its tools, death and return."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import math
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import httpx2
import mcp_types
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from pydantic import ValidationError
from stretto.tools import mcp_result
from stretto.tools.mcp import McpOptions
from stretto.tools.mcp_schema import as_object
from stretto.tools.schema import first_paragraph
from stretto.tools.tool import ToolError

_log = logging.getLogger(__name__)

QUEUED = 32
"""Calls that may wait for a server or be under way there."""
FIRST_S, LONGEST_S = 0.5, 30.0
"""Between two attempts to connect, seconds."""
MOST_PAGES = 50


@dataclass(frozen=True)
class Offered:
    """A tool as its server tells of it."""

    name: str
    description: str
    parameters: dict[str, Any]
    read_only: bool
    confirm: bool


@dataclass(eq=False)
class _Request:
    name: str
    arguments: dict[str, Any]
    key: str
    read_only: bool
    answer: concurrent.futures.Future[str]
    scope: anyio.CancelScope | None = None

    def cancel(self) -> None:
        if self.scope is not None:
            self.scope.cancel()

    def fail(self, why: str) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.answer.set_exception(ToolError(why))


class Connection:
    """`run` it as a task; everything else but `call` belongs to the same loop."""

    def __init__(self, name: str, options: McpOptions) -> None:
        self.name = name
        self.options = options
        self.tools: list[Offered] = []
        self.refused: dict[str, str] = {}
        """Tools that cannot be offered, and why."""
        self.problem = "not connected yet"
        self.tried: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when the first attempt is over."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[_Request] = deque()
        self._under_way: set[_Request] = set()
        self._wanted = asyncio.Event()
        self._scope: anyio.CancelScope | None = None
        self._closing = False

    def close(self) -> None:
        """End the connection and the server's process."""
        self._closing = True
        if self._scope is not None:
            self._scope.cancel()

    # ------------------------------------------------------------------ from any thread

    def call(
        self, name: str, arguments: dict[str, Any], key: str, read_only: bool
    ) -> concurrent.futures.Future[str]:
        """Have the server run a tool; the future has JSON text or ToolError; cancelling it cancels."""
        request = _Request(name, arguments, key, read_only, concurrent.futures.Future())
        loop = self._loop
        if loop is None or loop.is_closed():
            request.fail(f"The server {self.name} is not connected.")
            return request.answer

        def over(answer: concurrent.futures.Future[str]) -> None:
            if answer.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(request.cancel)

        request.answer.add_done_callback(over)
        loop.call_soon_threadsafe(self._take, request)
        return request.answer

    # ------------------------------------------------------------------ the owning task

    def _take(self, request: _Request) -> None:
        if self._closing:
            request.fail(f"The server {self.name} is not connected.")
        elif len(self._under_way) + len(self._waiting) >= QUEUED:
            request.fail(f"The server {self.name} has too much to do.")
        else:
            self._waiting.append(request)
            self._wanted.set()

    async def run(self) -> None:
        """Hold the connection until `close`; what breaks it is told in `problem`, and it is made again."""
        self._loop = asyncio.get_running_loop()
        delay = FIRST_S
        with anyio.CancelScope() as self._scope:
            while not self._closing:
                began = anyio.current_time()
                why = "it ended the connection"
                try:
                    await self._hold()
                except Exception as error:
                    why = _causes(error)
                connected = not self.problem
                self.problem = why
                self._fail_all(connected)
                _log.warning("the MCP server %s is gone: %s", self.name, why)
                if not self.tried.done():
                    self.tried.set_result(None)
                delay = FIRST_S if connected else min(2 * delay, LONGEST_S)
                await anyio.sleep(max(0.0, began + FIRST_S - anyio.current_time()))
                # Whoever calls does not wait for the end of the pause.
                with anyio.move_on_after(delay):
                    self._wanted.clear()
                    if not self._waiting:
                        await self._wanted.wait()
        self._fail_all(True)
        if not self.tried.done():
            self.tried.set_result(None)

    async def _hold(self) -> None:
        """Connect, and serve calls until the connection ends."""
        lost = anyio.Event()
        changed = asyncio.Event()

        async def noticed(message: Any) -> None:
            if isinstance(message, mcp_types.ToolListChangedNotification):
                changed.set()

        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            try:
                client = Client(self._transport(said, lost), message_handler=noticed, cache=None)
                # The scopes of the connection lie within this one, so it cannot end before them.
                with anyio.CancelScope(deadline=anyio.current_time() + self.options.connect_s) as limit:
                    async with client:
                        self.tools = await self._listed(client)
                        limit.deadline = math.inf
                        self.problem = ""
                        if not self.tried.done():
                            self.tried.set_result(None)
                        await self._serve(client, lost, changed)
                if limit.cancelled_caught:
                    raise TimeoutError
            except Exception as error:
                last = _last_words(said)
                if not last or isinstance(error, OSError):
                    raise
                raise ConnectionError(f"{_causes(error)}; it said: {last}") from error

    async def _serve(self, client: Client, lost: anyio.Event, changed: asyncio.Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow, client, changed)
            group.start_soon(self._listen, client, changed)
            group.start_soon(self._dispatch, client, lost, group)
            await lost.wait()
            group.cancel_scope.cancel()

    async def _dispatch(self, client: Client, lost: anyio.Event, group: Any) -> None:
        while not lost.is_set():  # what comes now is for the next connection
            while self._waiting:
                request = self._waiting.popleft()
                self._under_way.add(request)
                group.start_soon(partial(self._handle, client, lost, request))
            self._wanted.clear()
            await self._wanted.wait()

    async def _handle(self, client: Client, lost: anyio.Event, request: _Request) -> None:
        name, timeout_s = request.name, self.options.timeout_s
        if request.answer.done():  # nobody waits any more
            self._under_way.discard(request)
            return
        try:
            with anyio.CancelScope() as request.scope:
                meta: Any = {"stretto/idempotencyKey": request.key} if request.key else None
                with anyio.fail_after(timeout_s):
                    result = await client.call_tool(name, request.arguments, meta=meta)
                text = mcp_result.read(result, name, self.options.budget)
                with contextlib.suppress(concurrent.futures.InvalidStateError):
                    request.answer.set_result(text)
        except TimeoutError:
            request.fail(f"{name} did not answer within {timeout_s:g} seconds.")
        except ToolError as error:
            request.fail(str(error))
        except (ValidationError, RuntimeError) as error:
            _log.warning("the MCP server %s answered %s with what is no result: %s", self.name, name, error)
            request.fail(f"{name} gave a result that cannot be read.")
        except MCPError as error:
            if error.code in (mcp_types.CONNECTION_CLOSED, mcp_types.INTERNAL_ERROR) or _of_the_line(error):
                request.fail(self._gone(request))
                lost.set()
            else:
                request.fail(f"{name} failed: {error.message[:300]}")
        except Exception as error:
            _log.warning("a call of %s on the MCP server %s failed: %s", name, self.name, _causes(error))
            request.fail(self._gone(request))
            lost.set()
        finally:
            request.fail(self._gone(request))  # where it was cancelled from outside
            self._under_way.discard(request)

    def _gone(self, request: _Request) -> str:
        doubt = "" if request.read_only else " It is not known whether it was done."
        return f"The server {self.name} broke off during {request.name}.{doubt} It is being started again."

    def _fail_all(self, was_connected: bool) -> None:
        for request in list(self._under_way):
            request.fail(self._gone(request))
        self._under_way.clear()
        if was_connected and not self._closing:
            return  # what waits is for the next connection
        while self._waiting:
            request = self._waiting.popleft()
            request.fail(f"The server {self.name} cannot be reached: {self.problem}.")

    # ------------------------------------------------------------------ tools

    async def _follow(self, client: Client, changed: asyncio.Event) -> None:
        """Read the list again when it changed."""
        while True:
            await changed.wait()
            changed.clear()
            self.tools = await self._listed(client)

    async def _listen(self, client: Client, changed: asyncio.Event) -> None:
        """Newer servers tell of changes only to those who ask; older ones do so unasked (`_hold`)."""
        while True:
            try:
                async with client.listen(tools_list_changed=True) as told:
                    async for _ in told:
                        changed.set()
            except (ListenNotSupportedError, MCPError):
                return
            except SubscriptionLost:
                await anyio.sleep(LONGEST_S)
            changed.set()
            await anyio.sleep(FIRST_S)

    async def _listed(self, client: Client) -> list[Offered]:
        found: list[Offered] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += [offered for tool in page.tools if (offered := self._offered(tool)) is not None]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    def _without_odd_tools(self, message: Any) -> None:
        """Leave out what is no tool of a list of tools: the package would refuse the whole list for it."""
        result = getattr(getattr(message, "message", None), "result", None)
        listed = result.get("tools") if isinstance(result, dict) else None
        if result is None or not isinstance(listed, list):
            return
        result["tools"] = kept = []
        for tool in listed:
            try:
                mcp_types.Tool.model_validate(tool)
                as_object(tool.get("inputSchema"))
                kept.append(tool)
            except (ValidationError, ValueError) as error:
                name = str(tool.get("name", "?")) if isinstance(tool, dict) else "?"
                self._refuse(
                    name, str(error).splitlines()[-1 if not isinstance(error, ValidationError) else 0]
                )

    def _refuse(self, name: str, why: str) -> None:
        self.refused[name] = why
        _log.warning("the tool %s of the MCP server %s is left out: %s", name, self.name, why)

    def _offered(self, tool: mcp_types.Tool) -> Offered | None:
        hints = tool.annotations
        read_only = bool(hints and hints.read_only_hint)
        destroys = hints is None or hints.destructive_hint is not False
        confirm = {
            "destructive": destroys and not read_only,
            "unless_read_only": not read_only,
            "always": True,
            "never": False,
        }[self.options.confirm]
        try:
            parameters = as_object(tool.input_schema)
        except ValueError as error:
            self._refuse(tool.name, str(error))
            return None
        self.refused.pop(tool.name, None)
        said = tool.description or tool.title or (hints and hints.title) or tool.name
        # What reads and is confirmed by setting changes something as far as we know.
        return Offered(tool.name, first_paragraph(said), parameters, read_only and not confirm, confirm)

    # ------------------------------------------------------------------ the line

    @contextlib.asynccontextmanager
    async def _transport(self, said: Any, lost: anyio.Event) -> AsyncIterator[Any]:
        """Streams to the server; `lost` is set when it ends them. `said`: a file for its error output."""
        async with contextlib.AsyncExitStack() as stack:
            options = self.options
            if options.url is None:
                program = StdioServerParameters(
                    command=str(options.command),
                    args=list(options.args),
                    env=dict(options.env),
                    cwd=options.cwd,
                )
                line = stdio_client(program, errlog=said)
            else:
                # A server may hold an answer's stream open for long; calls have their own limit.
                limits = httpx2.Timeout(options.connect_s, read=300.0)
                http = httpx2.AsyncClient(headers=dict(options.headers), timeout=limits)
                await stack.enter_async_context(http)
                line = streamable_http_client(options.url, http_client=http)
            read, write = await stack.enter_async_context(line)
            tell, told = anyio.create_memory_object_stream[Any](0)

            async def pump() -> None:
                async with tell:
                    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                        async for message in read:
                            self._without_odd_tools(message)
                            await tell.send(message)
                lost.set()

            async with anyio.create_task_group() as group:
                group.start_soon(pump)
                try:
                    yield told, write
                finally:
                    group.cancel_scope.cancel()
            await told.aclose()


def _of_the_line(error: MCPError) -> bool:
    """An error of the transport and not of the server: it goes by no code of its own."""
    return "session" in error.message.lower() and "terminated" in error.message.lower()


def _last_words(said: Any) -> str:
    """The last line that a program wrote to its error output."""
    said.seek(0, 2)
    said.seek(max(0, said.tell() - 2000))
    lines = [line.strip() for line in said.read().splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def _causes(error: BaseException) -> str:
    """What went wrong, without the tree of task groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return str(error) or type(error).__name__
