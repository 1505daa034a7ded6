"""Tools that the client runs: calls handed over as events, results taken when the client wants an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.session_config import FunctionTool
from stretto.tools.declared import DeclaredTool
from stretto.tools.tool import ToolError, dump

MOST_WAITING = 64
"""Calls that wait for the client at most."""


@dataclass
class _Waiting:
    result: asyncio.Future[str]
    output: str | None = None


@dataclass
class ClientTools:
    """Calls that wait. A result counts only once the client asks for a response (`release`)."""

    timeout_s: float = 60.0
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    def tools(self, declared: Sequence[FunctionTool]) -> list[DeclaredTool]:
        """Raises RequestError for a schema that no model can be held to."""
        return [
            DeclaredTool(each.name, each.description, each.parameters, self._run, self.timeout_s)
            for each in declared
        ]

    @property
    def waiting(self) -> bool:
        """A call waits for the client."""
        return bool(self._waiting)

    async def _run(self, call_id: str, arguments: Mapping[str, Any]) -> str:
        if len(self._waiting) >= MOST_WAITING:
            raise ToolError("Too many calls wait for a result.")
        waiting = _Waiting(asyncio.get_running_loop().create_future())
        self._waiting[call_id] = waiting
        try:
            return await waiting.result
        finally:
            del self._waiting[call_id]

    def take(self, call_id: str, output: str) -> None:
        """A result of the client's. Raises RequestError where no call waits for it."""
        waiting = self._waiting.get(call_id)
        if waiting is None:
            raise RequestError(f"no call {call_id!r} waits for a result", "call_not_found", "item.call_id")
        waiting.output = as_json(output)

    def release(self) -> None:
        """The client wants to hear about its results: those that are missing will not be waited for."""
        for waiting in self._waiting.values():
            if not waiting.result.done():
                missing = dump({"error": "There is no result yet."})
                waiting.result.set_result(missing if waiting.output is None else waiting.output)


def as_json(output: str) -> str:
    """The output itself if it is JSON, else as a JSON string."""
    try:
        json.loads(output)
    except (ValueError, RecursionError):
        return json.dumps(output, ensure_ascii=False)
    return output
