"""What a Model Context Protocol server answered, as what a model reads of a tool."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stretto.tools.tool import ToolError, encode

if TYPE_CHECKING:
    from mcp_types import CallToolResult

_LEFT_OUT = {"image": "a picture", "audio": "a sound", "resource_link": "a link", "resource": "a file"}


def read(result: CallToolResult, name: str, budget: int) -> str:
    """JSON text of at most `budget` characters. Raises ToolError where the server flagged an error.

    Structured content counts before text; what cannot be said is left out, with a note.
    """
    texts = [block.text for block in result.content if block.type == "text"]
    for block in result.content:
        if block.type == "resource" and (text := getattr(block.resource, "text", None)):
            texts.append(text)
    left = sorted({_LEFT_OUT[b.type] for b in result.content if b.type in _LEFT_OUT and not _has_text(b)})
    text = "\n".join(texts).strip()
    if result.is_error:
        told = " ".join(text.split()) or "it did not say why"
        raise ToolError(f"{name} failed: {told[:300]}{'...' if len(told) > 300 else ''}")
    value: Any = result.structured_content
    # The official servers wrap what is no object so.
    if isinstance(value, Mapping) and set(value) == {"result"}:
        value = value["result"]
    if value is None:
        value = _parsed(text) if text else None
    if left:
        note = f"{', '.join(left)} left out: it cannot be said"
        value = {"note": note} if value is None else {"result": value, "note": note}
    return encode(value, budget)


def _has_text(block: Any) -> bool:
    return block.type == "resource" and bool(getattr(block.resource, "text", None))


def _parsed(text: str) -> Any:
    """Text that is a JSON object or list as such; else as it is."""
    if re.match(r"\s*[\[{]", text):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
