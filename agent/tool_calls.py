"""Tools on behalf of a turn: run at once, told as events, kept in record, history and conversation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from stretto.agent import events
from stretto.agent.call import Call
from stretto.agent.caller_id import about
from stretto.agent.timeline import ToolRecord, TurnRecord
from stretto.llm.language_model import Call as ToolCall
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import Result, dump


async def call_tools(
    call: Call, runner: ToolRunner, turn: TurnRecord, calls: Sequence[ToolCall]
) -> list[Result]:
    """Run the calls of one round; results in their order. A tool that fails gives an error result."""
    with about(call.information):
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_run(call, runner, turn, each)) for each in calls]
    return [task.result() for task in running]


def hand_over(call: Call, turn: TurnRecord, reply: int, calls: Sequence[ToolCall]) -> None:
    """Tell whoever runs these calls of them; nobody waits for the results (`take_result`)."""
    for each in calls:
        record = ToolRecord(each.name, each.arguments, call.ms())
        turn.tools.append(record)
        call.handed_over[each.id] = record
        call.history.call(turn.turn, each.id, each.name, each.arguments, call.ms(), handed_over=True)
        call.edited = True  # the model does not wait for the results, either
        call.emit(
            events.ToolHandedOver(
                at_ms=call.ms(),
                turn=turn.turn,
                reply=reply,
                call_id=each.id,
                name=each.name,
                arguments=each.arguments,
            )
        )


def take_result(call: Call, call_id: str, content: str) -> None:
    """The result (JSON text) of a call that somebody else ran. Raises KeyError and ValueError."""
    message = call.history.call_of(call_id)
    if message is None:
        raise KeyError(f"there is no call {call_id!r}")
    if call.history.has_result(call_id):
        raise ValueError(f"call {call_id!r} has a result already")
    turn = message.get("turn", 0)
    name = next(each["name"] for each in message["tool_calls"] if each["id"] == call_id)
    call.history.result(turn, call_id, name, content, call.ms())
    call.edited = True
    if (record := call.handed_over.pop(call_id, None)) is not None:
        record.end_ms, record.result = call.ms(), content
        ms = record.end_ms - record.start_ms
        key: dict[str, Any] = {"turn": turn, "call_id": call_id, "name": name}
        call.emit(events.ToolFinished(at_ms=call.ms(), result=content, error=None, ms=ms, **key))


async def take_results(
    call: Call,
    turn: TurnRecord,
    calls: Sequence[ToolCall],
    results: Sequence[Result],
    confirmed: bool = False,
) -> None:
    """Tell history and model what came of the calls, in their order; that the caller had said yes, too."""
    for each, result in zip(calls, results, strict=True):
        text = confirmed_text(result) if confirmed else result.text
        call.history.result(turn.turn, each.id, each.name, text, call.ms())
        with call.reporting("model", turn):
            async with call.model, asyncio.timeout(call.options.model_timeout_s):
                if call.edited:
                    continue  # the model takes the history as a whole next
                await call.conversation.tool_result(each.id, text)


def confirmed_text(result: Result) -> str:
    """A result as the model reads it behind the caller's yes."""
    value = json.loads(result.text)
    return dump({"confirmed": True} | (value if isinstance(value, dict) else {"result": value}))


async def _run(call: Call, runner: ToolRunner, turn: TurnRecord, tool_call: ToolCall) -> Result:
    record = ToolRecord(tool_call.name, tool_call.arguments, call.ms())
    turn.tools.append(record)
    call.history.call(turn.turn, tool_call.id, tool_call.name, tool_call.arguments, call.ms())
    key: dict[str, Any] = {"turn": turn.turn, "call_id": tool_call.id, "name": tool_call.name}
    call.emit(events.ToolStarted(at_ms=call.ms(), arguments=tool_call.arguments, **key))
    try:
        async with asyncio.timeout(call.options.tool_timeout_s):
            result = await runner.run(tool_call)
    except asyncio.CancelledError:
        # The call ends; what began goes on for a while (`ToolRunner.aclose`), and is told when it is over.
        runner.when_over(tool_call, lambda late: _keep_late(call, turn, tool_call, record, late))
        raise
    except Exception as error:
        message = "it took too long" if isinstance(error, TimeoutError) else str(error)
        result = Result(None, f"{tool_call.name} failed: {message}.", call.ms() - record.start_ms)
    _over(call, turn, tool_call, record, result)
    return result


def _over(call: Call, turn: TurnRecord, tool_call: ToolCall, record: ToolRecord, result: Result) -> None:
    """Record and tell what came of a call."""
    key: dict[str, Any] = {"turn": turn.turn, "call_id": tool_call.id, "name": tool_call.name}
    record.end_ms = call.ms()
    record.result, record.error = result.content, result.error
    if result.error is not None:
        turn.failures.append(f"tools: {tool_call.name}: {result.error}")
    ms = record.end_ms - record.start_ms
    call.emit(events.ToolFinished(at_ms=call.ms(), result=result.content, error=result.error, ms=ms, **key))


def _keep_late(call: Call, turn: TurnRecord, tool_call: ToolCall, record: ToolRecord, result: Result) -> None:
    """The result of a call for which nobody waits any more: only the transcript takes it."""
    _over(call, turn, tool_call, record, result)
    if not call.history.has_result(tool_call.id):
        call.history.result(turn.turn, tool_call.id, tool_call.name, result.text, call.ms())
