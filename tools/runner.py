"""Runs the calls of one agent's turn: in parallel, each once, never raising."""

from __future__ import annotations

import asyncio
import contextvars
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from stretto.tools.tool import Result, ToolSpec, dump, session_variable

_REMEMBERED = 1024


class CallLike(Protocol):
    """A call as a model wrote it; `id` is its idempotency key, unique within a session."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...


class AnyTool(Protocol):
    """What can be offered to a model and run: `Tool` and `DeclaredTool` are."""

    @property
    def spec(self) -> ToolSpec: ...
    @property
    def read_only(self) -> bool: ...
    async def run(self, arguments: Mapping[str, Any], idempotency_key: str = "") -> Result: ...


class ToolRunner:
    """The tools of one session.

    A call with the id, name and arguments of an earlier one is that call: it is not run again and gives
    the first result. Calls that have begun are the runner's own: cancelling `run_all` (the caller barged
    in) does not stop them, and the result is there when the same call comes again. `aclose` ends them.

    Args:
        tools: offered to the model, each name once.
        max_rounds: how many times calls may follow results within one turn (see `begin_turn`).
        session: its id, for tools that need a key of their own for a call (`session_variable`).

    Raises:
        ValueError: two tools have the same name.
    """

    def __init__(self, tools: Sequence[AnyTool], max_rounds: int = 3, session: str | None = None) -> None:
        self._session = session or secrets.token_hex(6)
        self._tools = {tool.spec.name: tool for tool in tools}
        if len(self._tools) != len(tools):
            names = [tool.spec.name for tool in tools]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"Two tools are called {', '.join(twice)}. Give one another name.")
        self.max_rounds = max_rounds
        self._rounds: int | None = None
        self._runs: OrderedDict[str, asyncio.Task[Result]] = OrderedDict()

    @property
    def specs(self) -> list[ToolSpec]:
        return [tool.spec for tool in self._tools.values()]

    @property
    def rounds_left(self) -> int:
        """Rounds that this turn may still have."""
        return self.max_rounds - (self._rounds or 0)

    def begin_turn(self) -> None:
        """Start counting rounds; until the first time they are not counted."""
        self._rounds = 0

    def hands_over(self, name: str) -> bool:
        """Whether somebody else runs the tool's calls, and gives the results whenever they are there."""
        return getattr(self._tools.get(name), "handed_over", False)

    def is_read_only(self, name: str) -> bool:
        """Whether a call changes nothing and so may run before the caller's turn is over."""
        return name in self._tools and self._tools[name].read_only

    async def run_all(self, calls: Sequence[CallLike]) -> list[Result]:
        """Run one round of independent calls in parallel; results in the order of the calls.

        Unknown tools, bad arguments, exceptions, timeouts and one round too many are error results.
        """
        if not calls:
            return []
        if self._rounds is not None:
            if self._rounds >= self.max_rounds:
                return [
                    Result(None, "Too many steps in one turn. Say what is known so far.", 0.0) for _ in calls
                ]
            self._rounds += 1
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(self._wait(call)) for call in calls]
        return [task.result() for task in waiting]

    async def run(self, call: CallLike) -> Result:
        """Run one call without counting a round, as for a read-only call made ahead of its turn."""
        return await self._wait(call)

    async def _wait(self, call: CallLike) -> Result:
        tool = self._tools.get(call.name)
        if tool is None:
            return Result(None, f"There is no tool called {call.name}.", 0.0)
        key = f"{call.id} {call.name} {_canonical(call.arguments)}"
        run = self._runs.get(key)
        if run is None or run.cancelled():
            context = contextvars.copy_context()
            context.run(session_variable.set, self._session)
            work = tool.run(call.arguments, call.id)
            run = asyncio.create_task(work, name=f"tool {call.name}", context=context)
            self._runs[key] = run
            self._forget_oldest()
        return await asyncio.shield(run)

    def _forget_oldest(self) -> None:
        for key in [key for key, run in self._runs.items() if run.done()][
            : max(0, len(self._runs) - _REMEMBERED)
        ]:
            del self._runs[key]

    async def aclose(self, grace_s: float = 1.0) -> None:
        """Wait `grace_s` seconds for calls under way, then cancel them."""
        running = [run for run in self._runs.values() if not run.done()]
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for run in late:
                run.cancel()
            if late:
                await asyncio.wait(late, timeout=grace_s)


def _canonical(arguments: Mapping[str, Any]) -> str:
    try:
        return dump(dict(sorted(arguments.items())))
    except (TypeError, ValueError, AttributeError):
        return repr(arguments)
