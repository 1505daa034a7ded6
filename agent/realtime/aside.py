"""A response outside of the conversation: written, and remembered by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from stretto.agent.realtime.client_events import NewItem, ResponseParams
from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.items import Item, content_of, part_of
from stretto.agent.realtime.wire import Wire, new_id
from stretto.llm.language_model import Effort, LanguageModel, last_draft


def messages_of(items: Sequence[NewItem]) -> list[dict[str, Any]]:
    """A client's items as messages of a history. Raises RequestError for what is no message."""
    if any(item.type != "message" or item.role not in ("user", "assistant") for item in items):
        raise RequestError("input takes messages of user and assistant", param="response.input")
    return [{"role": item.role, "content": item.text()} for item in items]


async def answer_aside(
    model: LanguageModel,
    wire: Wire,
    params: ResponseParams,
    *,
    system: str,
    history: Sequence[Mapping[str, Any]],
    effort: Effort,
    timeout_s: float,
) -> None:
    """Write one text response and tell the client. Raises RequestError where sound or tools are wanted."""
    if params.wanted != ["text"] or params.tools:
        raise RequestError(
            "outside of the conversation there is only text: give output_modalities ['text'] and no tools",
            param="response.output_modalities",
        )
    told = list(history) if params.input is None else messages_of(params.input)
    name, item = new_id("resp"), Item("message", {"role": "assistant", "content": []}, status="in_progress")
    shown: dict[str, Any] = {
        "id": name,
        "object": "realtime.response",
        "conversation_id": None,
        "output_modalities": ["text"],
        "metadata": params.metadata,
        "usage": None,
    }
    wire.send("response.created", response={**shown, "status": "in_progress", "output": []})
    conversation = await asyncio.to_thread(model.open, params.instructions or system, [])
    try:
        async with asyncio.timeout(timeout_s):
            await conversation.restore(told)
            text = (await last_draft(conversation, effort)).text
    except Exception as error:
        what = {"type": "server_error", "code": "server_error", "message": str(error) or type(error).__name__}
        details = {"type": "failed", "error": what}
        wire.send(
            "response.done", response={**shown, "status": "failed", "output": [], "status_details": details}
        )
        return
    finally:
        conversation.close()
    place: dict[str, Any] = {"response_id": name, "output_index": 0}
    key = {**place, "item_id": item.id, "content_index": 0}
    wire.send("response.output_item.added", **place, item=item.to_json())
    wire.send("response.content_part.added", **key, part=part_of("", False))
    wire.send("response.output_text.delta", **key, delta=text)
    wire.send("response.output_text.done", **key, text=text)
    wire.send("response.content_part.done", **key, part=part_of(text, False))
    item.fields["content"], item.status = [content_of(text, False)], "completed"
    wire.send("response.output_item.done", **place, item=item.to_json())
    done = {**shown, "status": "completed", "output": [item.to_json()]}
    wire.send("response.done", response={**done, "status_details": {"type": "completed"}})
