"""The calls of a reply, round by round: handed over or run, a long silence covered, the model told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from stretto.agent import events
from stretto.agent.call import Call
from stretto.agent.timeline import TurnRecord
from stretto.agent.tool_calls import call_tools, hand_over, take_results
from stretto.llm.language_model import Call as ToolCall
from stretto.tools.runner import ToolRunner


class ToolRounds:
    """Of the reply `number`. `cover` says "one moment" where what goes on takes long to be finished."""

    def __init__(
        self,
        call: Call,
        runner: ToolRunner,
        record: TurnRecord,
        number: int,
        cover: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    ) -> None:
        self._call = call
        self._runner = runner
        self._record = record
        self._number = number
        self._cover = cover

    async def make(
        self, calls: Sequence[ToolCall], fillers: asyncio.TaskGroup, words: bool, confirmed: bool = False
    ) -> None:
        """Hand over what somebody else runs; run the rest. `words`: something is said meanwhile."""
        handed = [each for each in calls if self._runner.hands_over(each.name)]
        own = [each for each in calls if each not in handed]
        call, turn = self._call, self._record
        names = tuple(each.id for each in calls)
        call.emit(
            events.ToolRound(at_ms=call.ms(), turn=turn.turn, call_ids=names, words=words, goes_on=bool(own))
        )
        hand_over(call, turn, self._number, handed)
        if own:
            await self._run(own, None if words else fillers, confirmed)

    async def _run(
        self, calls: Sequence[ToolCall], fillers: asyncio.TaskGroup | None, confirmed: bool
    ) -> None:
        """Run all at once; a long silence is covered. Then the model knows what came of them."""
        finished = asyncio.Event()
        if fillers is not None:
            fillers.create_task(self._cover(finished))
        try:
            results = await call_tools(self._call, self._runner, self._record, calls)
        finally:
            finished.set()
        await take_results(self._call, self._record, calls, results, confirmed)
