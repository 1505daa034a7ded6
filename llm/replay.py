"""A written dialogue held once more: before every turn of the agent the model drafts what it would do.

The history is always the true one, so that every decision is judged, or learnt from, by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from stretto.llm.conversation import LocalConversation
from stretto.llm.format import dialogue_segments, tools_of
from stretto.llm.language_model import Call, Draft, Effort, last_draft
from stretto.llm.local import LocalModel

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A message that is about to be taken into the conversation.

    `draft`: what the model would say or call in its place; None for callers, results, the welcome and slips.
    """

    number: int
    message: Message
    conversation: LocalConversation
    draft: Draft | None
    after_caller: bool


async def replay(model: LocalModel, dialogue: Mapping[str, Any], effort: Effort) -> AsyncIterator[Step]:
    """Every message of a dialogue in turn, but for the system's.

    Raises UnsupportedSchema for a tool whose schema no grammar covers.
    """
    messages = list(dialogue["messages"])
    system = messages.pop(0)["content"] if messages[0]["role"] == "system" else ""
    conversation = model.open(system, tools_of(dialogue))
    segments = iter(dialogue_segments(model.tokenizer, dialogue)[1:])
    waiting: list[str] = []
    try:
        for number, message in enumerate(messages):
            draft = None
            if message["role"] == "assistant" and number > 0 and not message.get("slip"):
                draft = await last_draft(conversation, effort)
            after_caller = number > 0 and messages[number - 1]["role"] == "user"
            yield Step(number, message, conversation, draft, after_caller)
            if message["role"] == "user":
                await conversation.hear(message["content"])
                next(segments)
            elif message["role"] == "tool":
                await conversation.tool_result(waiting.pop(0), message["content"] or "")
                next(segments)
            else:
                calls = [
                    Call(f"true_{number}_{i}", call["name"], call["arguments"])
                    for i, call in enumerate(message.get("tool_calls") or [])
                ]
                waiting = [call.id for call in calls]
                spoken = bool((message.get("content") or "").strip())
                ids = tuple(next(segments).ids for _ in range(spoken + len(calls)))
                true = Draft(message.get("content") or "", tuple(calls), revision=-number - 1, segments=ids)
                await conversation.commit(true)
    finally:
        conversation.close()
