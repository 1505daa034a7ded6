"""Tools that the client runs: calls are handed over, results come as items whenever they are there."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stretto.agent.realtime.session_config import FunctionTool
from stretto.tools.declared import DeclaredTool


def client_tools(declared: Sequence[FunctionTool]) -> list[DeclaredTool]:
    """What the session is to offer; a schema that no model can be held to is refused when it is offered."""
    return [DeclaredTool(each.name, each.description, each.parameters) for each in declared]


def as_json(output: str) -> str:
    """The output itself if it is JSON, else as a JSON string."""
    try:
        json.loads(output)
    except (ValueError, RecursionError):
        return json.dumps(output, ensure_ascii=False)
    return output
