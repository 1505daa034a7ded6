"""One turn in text: hear, draft, commit, run the calls, draft again. What `chat` and `simulate` do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stretto.agent.asking import sort
from stretto.agent.builtin import split
from stretto.agent.canned import Canned
from stretto.agent.text_asking import TextDialogue
from stretto.agent.tool_calls import confirmed_text
from stretto.llm.language_model import Call, Canvas, Conversation, Draft, Effort, Settled, last_draft
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import Result


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
    dialogue: TextDialogue | None = None,
) -> Answer:
    """Let the model answer the caller's words; tools run between its drafts, at most the runner's rounds.

    `dialogue`: what is remembered from turn to turn, without which nobody can say yes to a tool that asks.
    """
    canned = canned or Canned()
    dialogue = dialogue or TextDialogue()
    result = Answer()
    dialogue.caller(words)
    await conversation.hear(words)
    if (after := dialogue.answered(words, runner, canned)) is not None:
        run, say, goes_on = after
        if decided := bool(run or say or dialogue.history.messages[-1]["role"] == "tool"):
            await dialogue.keep_words(conversation)
        await _run(dialogue, runner, run, result, confirmed=True)
        if say:
            await _say(conversation, result, say, dialogue)
        if decided:
            await dialogue.retell(conversation)
        if not goes_on:
            return result
    for rounds in range(runner.max_rounds + 1):
        try:
            draft = await last_draft(conversation, effort, show)
        except RuntimeError as error:
            result.failure = str(error)
            await _say(conversation, result, canned.apology, dialogue)
            return result
        result.forwards += draft.forwards
        result.ms += draft.ms
        calls, ends = split(draft.calls)
        if calls and rounds == runner.max_rounds:
            await _say(conversation, result, canned.apology, dialogue)
            return result
        calls, ask = sort(calls, dialogue.confirmation, runner, dialogue.turn)
        if draft.text:
            result.texts.append(draft.text)
            dialogue.agent(draft.text)
        await conversation.commit(draft)
        result.hang_up |= ends == "hang_up"
        result.transfer |= ends == "transfer"
        outcomes = await _run(dialogue, runner, calls, result)
        if ask:
            # The model is not to know of calls that may never be made.
            run, say = dialogue.want(ask, runner, canned)
            await _run(dialogue, runner, run, result, confirmed=True)
            if say:
                await _say(conversation, result, say, dialogue)
            await dialogue.retell(conversation)
            if not run:
                return result
            continue
        if not calls:
            break
        for call, outcome in zip(calls, outcomes, strict=True):
            await conversation.tool_result(call.id, outcome.text)
    if not result.texts and not result.hang_up:
        await _say(conversation, result, canned.transferring if result.transfer else canned.apology, dialogue)
    return result


async def _run(
    dialogue: TextDialogue, runner: ToolRunner, calls: Sequence[Call], result: Answer, confirmed: bool = False
) -> list[Result]:
    """Run calls; their results are in the answer and in the dialogue's history."""
    outcomes = await runner.run_all(calls)
    for call, outcome in zip(calls, outcomes, strict=True):
        dialogue.call(call, confirmed_text(outcome) if confirmed else outcome.text)
        result.tools.append(
            {
                "name": call.name,
                "arguments": call.arguments,
                "result": json.loads(outcome.content) if outcome.content is not None else None,
                "error": outcome.error,
                "ms": round(outcome.ms, 1),
            }
        )
    return outcomes


async def _say(conversation: Conversation, result: Answer, text: str, dialogue: TextDialogue) -> None:
    """Add a canned sentence; a turn that the model spoke in as well is still its own."""
    result.canned = not result.texts
    result.texts.append(text)
    dialogue.agent(text)
    await conversation.say(text)
