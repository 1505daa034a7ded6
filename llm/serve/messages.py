"""The messages of a request -> system text and history, as `Conversation.restore` takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from stretto.llm.serve.error import ApiError

NAME = r"^[A-Za-z0-9_-]{1,64}$"
"""Names of tools."""


class Loose(BaseModel):
    """Part of a body: unknown fields are left alone, known ones have exactly their type."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class CalledFunction(Loose):
    name: str
    arguments: str


class ToolCall(Loose):
    id: str
    function: CalledFunction


class Message(Loose):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Any = None


def dialogue(messages: Sequence[Message]) -> tuple[str, list[dict[str, Any]]]:
    """The system text and the history. Raises ApiError.

    System and developer messages are joined, wherever they stand: the model reads one system text, first.
    """
    system: list[str] = []
    history: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        if message.function_call is not None:
            place += ".function_call"
            raise ApiError(f"{place} is no longer in use: give tool_calls", param=place)
        calls = [_call(call, f"{place}.tool_calls.{n}") for n, call in enumerate(message.tool_calls or ())]
        if calls and message.role != "assistant":
            raise ApiError("only a message of the assistant has tool_calls", param=f"{place}.tool_calls")
        text = content_text(message.content, f"{place}.content", needed=message.role != "assistant")
        if message.role in ("system", "developer"):
            system.append(text)
        elif message.role == "tool":
            if message.tool_call_id not in names:
                raise ApiError(
                    f"{place} answers the call {message.tool_call_id!r}, which no message before it made: "
                    "tool_call_id is the id of a call among tool_calls",
                    param=f"{place}.tool_call_id",
                )
            history.append(
                {
                    "role": "tool",
                    "content": text,
                    "name": names[message.tool_call_id],
                    "tool_call_id": message.tool_call_id,
                }
            )
        else:
            names |= {call["id"]: call["name"] for call in calls}
            history.append(
                {"role": message.role, "content": text, **({"tool_calls": calls} if calls else {})}
            )
    return "\n".join(text for text in system if text.strip()), history


def content_text(content: Any, place: str, needed: bool = True) -> str:
    """A message's text: as it is, or of its parts. Raises ApiError for parts that are none."""
    if content is None and not needed:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ApiError(f"{place} is neither text nor a list of parts", param=place)
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(kind) if kind in ("text", "refusal") else None
        if not isinstance(text, str):
            told = f"{kind} is not supported" if isinstance(kind, str) else "it has no type"
            raise ApiError(
                f"{place}.{number}: {told}; give parts of type text",
                param=f"{place}.{number}",
                code="unsupported_content",
            )
        texts.append(text)
    return "\n".join(texts)


def _call(call: ToolCall, place: str) -> dict[str, Any]:
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        place += ".function.arguments"
        raise ApiError(f"{place} is not the JSON text of an object", param=place)
    return {"id": call.id, "name": call.function.name, "arguments": arguments}
