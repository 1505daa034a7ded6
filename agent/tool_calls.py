"""Tools on behalf of a turn: run at once, told as events, kept in record, history and conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from stretto.agent import events
from stretto.agent.call import Call
from stretto.agent.timeline import ToolRecord, TurnRecord
from stretto.llm.language_model import Call as ToolCall
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import Result


async def call_tools(
    call: Call, runner: ToolRunner, turn: TurnRecord, calls: Sequence[ToolCall]
) -> list[Result]:
    """Run the calls of one round; results in their order. A tool that fails gives an error result."""
    call.emit(events.ToolRound(at_ms=call.ms(), turn=turn.turn, call_ids=tuple(each.id for each in calls)))
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_run(call, runner, turn, each)) for each in calls]
    return [task.result() for task in running]


async def take_results(
    call: Call, turn: TurnRecord, calls: Sequence[ToolCall], results: Sequence[Result]
) -> None:
    """Tell history and model what came of the calls, in their order."""
    for each, result in zip(calls, results, strict=True):
        call.history.result(turn.turn, each.id, each.name, result.text, call.ms())
        with call.reporting("model", turn):
            async with call.model, asyncio.timeout(call.options.model_timeout_s):
                await call.conversation.tool_result(each.id, result.text)


async def _run(call: Call, runner: ToolRunner, turn: TurnRecord, tool_call: ToolCall) -> Result:
    record = ToolRecord(tool_call.name, tool_call.arguments, call.ms())
    turn.tools.append(record)
    call.history.call(turn.turn, tool_call.id, tool_call.name, tool_call.arguments, call.ms())
    key: dict[str, Any] = {"turn": turn.turn, "call_id": tool_call.id, "name": tool_call.name}
    call.emit(events.ToolStarted(at_ms=call.ms(), arguments=tool_call.arguments, **key))
    try:
        async with asyncio.timeout(call.options.tool_timeout_s):
            result = await runner.run(tool_call)
    except Exception as error:
        message = "it took too long" if isinstance(error, TimeoutError) else str(error)
        result = Result(None, f"{tool_call.name} failed: {message}.", call.ms() - record.start_ms)
    record.end_ms = call.ms()
    record.result, record.error = result.content, result.error
    if result.error is not None:
        turn.failures.append(f"tools: {tool_call.name}: {result.error}")
    ms = record.end_ms - record.start_ms
    call.emit(events.ToolFinished(at_ms=call.ms(), result=result.content, error=result.error, ms=ms, **key))
    return result
