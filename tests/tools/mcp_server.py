"""A server of the official package, for tests: `python mcp_server.py [stdio | PORT]`."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)
HARMLESS = ToolAnnotations(read_only_hint=False, destructive_hint=False)
server = MCPServer("shelf")


@server.tool(annotations=READS)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=READS)
def lookup(name: str) -> dict[str, Any]:
    """Look a name up."""
    return {"name": name, "floor": 3, "who": [{"n": n} for n in range(400)] if name == "all" else []}


@server.tool(annotations=HARMLESS)
def note(text: str) -> str:
    """Write a note."""
    return f"noted: {text}"


@server.tool()
def drop(table: str) -> str:
    """Drop a table."""
    with open(os.environ["DROPPED"], "a") as file:
        file.write(table + "\n")
    return "dropped"


@server.tool(annotations=READS)
def broken() -> str:
    """Fail."""
    raise ValueError("the shelf is empty")


@server.tool(annotations=READS)
async def slow(seconds: float) -> str:
    """Take a while."""
    print("slow begins", file=sys.stderr, flush=True)
    await anyio.sleep(seconds)
    return "done"


@server.tool(annotations=HARMLESS)
def die() -> str:
    """End the process at once."""
    os._exit(3)


@server.tool(annotations=READS)
def picture() -> CallToolResult:
    """A picture with a caption."""
    image = ImageContent(type="image", data="AAAA", mime_type="image/png")
    return CallToolResult(content=[TextContent(type="text", text="a caption"), image])


@server.tool(annotations=READS)
def who() -> int:
    """The process."""
    return os.getpid()


@server.tool(annotations=HARMLESS)
async def grow(context: Context) -> str:
    """Offer one tool more."""

    def extra() -> str:
        """One more."""
        return "extra"

    server.add_tool(extra, annotations=READS)
    await context.notify_tools_changed()
    with contextlib.suppress(Exception):  # newer connections are told by the line above
        await context.session.send_tool_list_changed()
    return "grown"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
