"""Runs the calls of one agent's turn: in parallel, each once, never raising."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from stretto.tools.journal import UNKNOWN, Journal
from stretto.tools.tool import Result, ToolSpec, dump, session_variable

_log = logging.getLogger(__name__)

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
    """What can be offered to a model and run: `Tool` and `DeclaredTool` are.

    One with a true `confirm` runs only with the caller's yes; a text there is the question (see `Tool`).
    """

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
    A call of a tool that needs the caller's yes does not run before `allow`.

    Args:
        tools: offered to the model, each name once.
        max_rounds: how many times calls may follow results within one turn (see `begin_turn`).
        journal: calls that may change something are written there before they start and when they are over;
            what stands there of an earlier session was done, and is not done again.
        before: the runner that had other tools in the same session; what it ran is known, and not run again.
        session: its id, for tools that need a key of their own for a call (`session_variable`).

    Raises:
        ValueError: two tools have the same name.
    """

    def __init__(
        self,
        tools: Sequence[AnyTool],
        max_rounds: int = 3,
        *,
        journal: Journal | None = None,
        before: ToolRunner | None = None,
        session: str | None = None,
    ) -> None:
        self._session = session or secrets.token_hex(6)
        self._tools = {tool.spec.name: tool for tool in tools}
        if len(self._tools) != len(tools):
            names = [tool.spec.name for tool in tools]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"Two tools are called {', '.join(twice)}. Give one another name.")
        self.max_rounds = max_rounds
        self._rounds: int | None = None
        self._journal: Journal | None = journal if before is None else before._journal
        self._runs: OrderedDict[str, asyncio.Task[Result]] = OrderedDict() if before is None else before._runs
        self._allowed: set[str] = set() if before is None else before._allowed
        self._firsts: dict[str, str] = {} if before is None else before._firsts
        self._read_only: set[str] = set() if before is None else before._read_only

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

    def needs_yes(self, name: str) -> bool:
        """Whether the caller must say yes before a call of the tool runs."""
        return bool(getattr(self._tools.get(name), "confirm", False))

    def question(self, name: str) -> str | None:
        """The tool's own question for that yes."""
        asked = getattr(self._tools.get(name), "confirm", None)
        return asked if isinstance(asked, str) else None

    def description(self, name: str) -> str:
        """What the model is told of the tool; "" if there is none."""
        return self._tools[name].spec.description if name in self._tools else ""

    def allow(self, call: CallLike) -> None:
        """The caller said yes to this very call."""
        self._allowed.add(_key(call))

    def repeat(self, call: CallLike, first: CallLike) -> None:
        """`call` is `first` once more, written again: it gets the first one's result and is not run."""
        self._firsts[_key(call)] = _key(first)

    def when_over(self, call: CallLike, tell: Callable[[Result], object]) -> None:
        """Have `tell` called with the result of a call under way, also when it is cancelled in the end."""
        run = self._runs.get(_key(call))
        if run is not None:
            run.add_done_callback(lambda over: tell(_result(over)))

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
        key = _key(call)
        if key in self._firsts:
            if (first := self._runs.get(self._firsts[key])) is None:
                return Result(
                    None, f"{call.name} was done already; what came of it is not known any more.", 0.0
                )
            return await asyncio.shield(first)
        run = self._runs.get(key)
        if run is None or (run.cancelled() and tool.read_only):
            if self.needs_yes(call.name) and key not in self._allowed:
                return Result(None, f"{call.name} was not run: it needs the caller's yes first.", 0.0)
            context = contextvars.copy_context()
            context.run(session_variable.set, self._session)
            work = self._run_once(tool, call, key)
            run = asyncio.create_task(work, name=f"tool {call.name}", context=context)
            self._runs[key] = run
            if tool.read_only:
                self._read_only.add(key)
            self._forget_oldest()
        elif run.cancelled():
            return _result(run)
        return await asyncio.shield(run)

    async def _run_once(self, tool: AnyTool, call: CallLike, key: str) -> Result:
        journal = None if tool.read_only else self._journal
        if journal is None:
            return await tool.run(call.arguments, call.id)
        if (known := journal.entry(key)) is not None:
            return known.result or Result(None, UNKNOWN, 0.0)
        try:
            await asyncio.to_thread(journal.begin, key, call.name, call.arguments)
        except (OSError, ValueError) as error:
            _log.error("%s was not run: the journal %s cannot be written: %s", call.name, journal.path, error)
            return Result(None, f"{call.name} was not run, for it could not be recorded.", 0.0)
        result: Result | None = None
        try:
            result = await tool.run(call.arguments, call.id)
        finally:
            # Not in a thread: this may be the last that the loop does.
            try:
                journal.end(key, result)
            except (OSError, ValueError) as error:
                _log.error("the result of %s is not in %s: %s", call.name, journal.path, error)
        return result

    def _forget_oldest(self) -> None:
        for key in [key for key, run in self._runs.items() if run.done()][
            : max(0, len(self._runs) - _REMEMBERED)
        ]:
            del self._runs[key]
            self._allowed.discard(key)
            self._read_only.discard(key)

    async def aclose(self, grace_s: float = 1.0) -> None:
        """Wait `grace_s` seconds for calls under way that may change something, then cancel what still runs.

        A call that is cancelled so has the result that nobody knows what came of it (`when_over`).
        """
        for key in self._read_only & self._runs.keys():
            self._runs[key].cancel()
        running = [run for run in self._runs.values() if not run.done()]
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for run in late:
                run.cancel()
            if late:
                await asyncio.wait(late, timeout=max(grace_s, 1.0))


def _key(call: CallLike) -> str:
    return f"{call.id} {call.name} {_canonical(call.arguments)}"


def _result(over: asyncio.Task[Result]) -> Result:
    """What a run gave that is over, however it ended."""
    if over.cancelled():
        return Result(None, UNKNOWN, 0.0)
    return Result(None, f"It failed: {error}.", 0.0) if (error := over.exception()) else over.result()


def _canonical(arguments: Mapping[str, Any]) -> str:
    try:
        return dump(dict(sorted(arguments.items())))
    except (TypeError, ValueError, AttributeError):
        return repr(arguments)
