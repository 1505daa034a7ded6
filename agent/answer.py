"""One turn in text: hear, draft, commit, run the calls, draft again. What `chat` and `simulate` do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stretto.agent.builtin import split
from stretto.agent.canned import Canned
from stretto.llm.language_model import Canvas, Conversation, Draft, Effort, Settled, last_draft
from stretto.tools.runner import ToolRunner


@dataclass
class Answer:
    """The agent's side of one turn; the fields mean what they mean in `TurnRecord`."""

    texts: list[str] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    forwards: int = 0
    ms: float = 0.0
    hang_up: bool = False
    transfer: bool = False
    canned: bool = False
    failure: str | None = None
    """Why the model gave no reply; the agent apologised."""

    @property
    def text(self) -> str:
        """All words, in order."""
        return " ".join(self.texts)


async def answer(
    conversation: Conversation,
    runner: ToolRunner,
    words: str,
    *,
    effort: Effort = "medium",
    canned: Canned | None = None,
    show: Callable[[Canvas | Settled | Draft], None] | None = None,
) -> Answer:
    """Let the model answer the caller's words; tools run between its drafts, at most the runner's rounds."""
    canned = canned or Canned()
    result = Answer()
    await conversation.hear(words)
    for rounds in range(runner.max_rounds + 1):
        try:
            draft = await last_draft(conversation, effort, show)
        except RuntimeError as error:
            result.failure = str(error)
            await _say(conversation, result, canned.apology)
            return result
        result.forwards += draft.forwards
        result.ms += draft.ms
        calls, ends = split(draft.calls)
        if calls and rounds == runner.max_rounds:
            await _say(conversation, result, canned.apology)
            return result
        if draft.text:
            result.texts.append(draft.text)
        await conversation.commit(draft)
        result.hang_up |= ends == "hang_up"
        result.transfer |= ends == "transfer"
        if not calls:
            break
        outcomes = await runner.run_all(calls)
        for call, outcome in zip(calls, outcomes, strict=True):
            await conversation.tool_result(call.id, outcome.text)
            result.tools.append(
                {
                    "name": call.name,
                    "arguments": call.arguments,
                    "result": json.loads(outcome.content) if outcome.content is not None else None,
                    "error": outcome.error,
                    "ms": round(outcome.ms, 1),
                }
            )
    if not result.texts and not result.hang_up:
        await _say(conversation, result, canned.transferring if result.transfer else canned.apology)
    return result


async def _say(conversation: Conversation, result: Answer, text: str) -> None:
    """Add a canned sentence; a turn that the model spoke in as well is still its own."""
    result.canned = not result.texts
    result.texts.append(text)
    await conversation.say(text)
