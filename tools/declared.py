"""Tools that somebody else describes and runs: a client on the line, another server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from stretto.tools.tool import Result, ToolError, ToolSpec

Handler = Callable[[str, Mapping[str, Any]], Awaitable[str]]
"""Takes the call's id and its arguments; gives the result as text (JSON, if it can). Raises ToolError."""


class DeclaredTool:
    """A tool known by its JSON schema only; whoever runs it checks the arguments, too.

    Without `run` its calls are handed over: they are told, and nobody waits for their results.
    `read_only` and `confirm` mean what they mean for `Tool`. Raises TypeError for a name that no model could
    call, and for a tool that changes nothing and is to be confirmed.
    """

    def __init__(
        self,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        run: Handler | None = None,
        timeout_s: float = 60.0,
        read_only: bool = False,
        confirm: bool | str = False,
    ) -> None:
        if read_only and confirm:
            raise TypeError(f"Tool {name}: it is read_only, so there is nothing to confirm.")
        if not name.replace("-", "_").isidentifier():
            raise TypeError(f"A tool needs a name made of letters, digits, _ and -, not {name!r}.")
        self.spec = ToolSpec(name, description, {"type": "object", "properties": {}, **parameters})
        self.timeout_s = timeout_s
        self.read_only = read_only
        self.confirm = confirm
        self._run = run

    @property
    def handed_over(self) -> bool:
        return self._run is None

    async def run(self, arguments: Mapping[str, Any], idempotency_key: str = "") -> Result:
        """Hand the call over and wait; whatever goes wrong becomes an error result."""
        began = time.monotonic()

        def took() -> float:
            return (time.monotonic() - began) * 1000

        if self._run is None:
            return Result(None, f"{self.spec.name} is run by somebody else.", 0.0)
        try:
            async with asyncio.timeout(self.timeout_s):
                return Result(await self._run(idempotency_key, arguments), None, took())
        except TimeoutError:
            return Result(None, f"{self.spec.name} gave no result in {self.timeout_s:g} seconds.", took())
        except ToolError as error:
            return Result(None, str(error), took())
        except Exception as error:
            return Result(None, f"{self.spec.name} failed: {type(error).__name__}.", took())
