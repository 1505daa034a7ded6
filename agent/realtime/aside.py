"""A response outside of the conversation: written, and remembered by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from stretto.agent.realtime.client_events import ResponseParams
from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.items import Item, content_of, part_of
from stretto.agent.realtime.wire import Wire
from stretto.llm.language_model import Effort, LanguageModel, last_draft


def context_of(params: ResponseParams, wanted: Sequence[str]) -> list[dict[str, Any]] | None:
    """What it answers instead of the conversation so far, if the client says so (`input`).

    Raises RequestError where sound or tools are wanted, and for input that is no message.
    """
    if list(wanted) != ["text"] or params.tools:
        raise RequestError(
            "outside of the conversation there is only text: give output_modalities ['text'] and no tools",
            param="response.output_modalities",
        )
    if params.input is None:
        return None
    if any(item.type != "message" or item.role not in ("user", "assistant") for item in params.input):
        raise RequestError("input takes messages of user and assistant", param="response.input")
    return [{"role": item.role, "content": item.text()} for item in params.input]


async def answer_aside(
    model: LanguageModel,
    wire: Wire,
    params: ResponseParams,
    name: str,
    *,
    system: str,
    history: Sequence[Mapping[str, Any]],
    effort: Effort,
    timeout_s: float,
) -> None:
    """Write the text response `name` and tell the client; so are a failure and a cancellation."""
    item = Item("message", {"role": "assistant", "content": []}, status="in_progress")
    shown: dict[str, Any] = {
        "id": name,
        "object": "realtime.response",
        "conversation_id": None,
        "output_modalities": ["text"],
        "metadata": params.metadata,
        "usage": None,
    }

    def done(status: str, **details: Any) -> None:
        output = [item.to_json()] if status == "completed" else []
        details["type"] = status
        response = {**shown, "status": status, "output": output, "status_details": details}
        wire.send("response.done", response=response)

    wire.send("response.created", response={**shown, "status": "in_progress", "output": []})
    try:
        text = await _written(model, params.instructions or system, history, effort, timeout_s)
    except asyncio.CancelledError:
        done("cancelled", reason="client_cancelled")
        raise
    except Exception as error:
        message = str(error) or type(error).__name__
        done("failed", error={"type": "server_error", "code": "server_error", "message": message})
        return
    place: dict[str, Any] = {"response_id": name, "output_index": 0}
    key = {**place, "item_id": item.id, "content_index": 0}
    wire.send("response.output_item.added", **place, item=item.to_json())
    wire.send("response.content_part.added", **key, part=part_of("", False))
    wire.send("response.output_text.delta", **key, delta=text)
    wire.send("response.output_text.done", **key, text=text)
    wire.send("response.content_part.done", **key, part=part_of(text, False))
    item.fields["content"], item.status = [content_of(text, False)], "completed"
    wire.send("response.output_item.done", **place, item=item.to_json())
    done("completed")


async def _written(
    model: LanguageModel, system: str, history: Sequence[Mapping[str, Any]], effort: Effort, timeout_s: float
) -> str:
    async with asyncio.timeout(timeout_s):
        conversation = await asyncio.to_thread(model.open, system, [])
        try:
            await conversation.restore(history)
            return (await last_draft(conversation, effort)).text
        finally:
            conversation.close()
