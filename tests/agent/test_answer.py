"""A turn in text: tools between the drafts, at most three rounds, canned words where the model has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from stretto.agent.answer import Answer, answer
from stretto.agent.canned import Canned
from stretto.agent.chat import turn_fields
from stretto.llm.language_model import Call, Draft, TurnSignal
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import tool

CANNED = Canned()


class Conversation:
    """Writes one scripted draft after the other; keeps what was told."""

    def __init__(self, drafts: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        self._drafts = list(drafts)
        self.log: list[tuple[str, str]] = []
        self._count = 0

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        self.log.append(("hear", stable))
        return TurnSignal(0.9, 0.5, 0.5)

    async def draft(self, *options: Any) -> AsyncIterator[Draft]:
        text, names = self._drafts[min(self._count, len(self._drafts) - 1)]
        self._count += 1
        calls = tuple(Call(f"{self._count}.{i}", name, {}) for i, name in enumerate(names))
        yield Draft(text, calls, forwards=2, ms=10.0)

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        self.log.append(("commit", draft.text))

    async def say(self, text: str) -> None:
        self.log.append(("say", text))

    async def tool_result(self, call_id: str, content: str) -> None:
        self.log.append(("result", content))

    def close(self) -> None:
        return None


def turn(*drafts: tuple[str, tuple[str, ...]]) -> tuple[Answer, Conversation, list[int]]:
    ran: list[int] = []

    @tool
    async def look() -> dict[str, int]:
        """Look it up."""
        ran.append(1)
        return {"found": len(ran)}

    @tool
    async def broken() -> str:
        """Always fails."""
        raise RuntimeError("no such table")

    conversation = Conversation(drafts)
    return asyncio.run(answer(conversation, ToolRunner([look, broken]), "Hello.")), conversation, ran


def test_a_result_is_read_before_the_answer() -> None:
    reply, conversation, ran = turn(("One moment.", ("look",)), ("It is there.", ()))
    assert reply.text == "One moment. It is there." and not reply.canned
    assert [entry[0] for entry in conversation.log] == ["hear", "commit", "result", "commit"]
    assert reply.tools[0]["result"] == {"found": 1} and reply.tools[0]["error"] is None
    assert (reply.forwards, reply.ms, len(ran)) == (4, 20.0, 1)


def test_no_tool_runs_in_a_fourth_round() -> None:
    reply, conversation, ran = turn(("", ("look",)))
    assert len(ran) == ToolRunner([]).max_rounds == 3
    assert reply.text == CANNED.apology and reply.canned
    assert conversation.log[-1] == ("say", CANNED.apology)


def test_a_failing_tool_is_something_the_model_can_speak_about() -> None:
    reply, conversation, _ = turn(("", ("broken",)), ("That did not work.", ()))
    assert reply.text == "That did not work." and "no such table" in reply.tools[0]["error"]
    assert any(kind == "result" and "no such table" in text for kind, text in conversation.log)


def test_an_empty_reply_is_apologised_for() -> None:
    reply, _, _ = turn(("", ()))
    assert reply.text == CANNED.apology and reply.canned


def test_the_end_of_the_call_needs_no_words_but_a_transfer_is_announced() -> None:
    reply, _, _ = turn(("", ("hang_up",)))
    assert reply.hang_up and reply.text == "" and not reply.canned
    reply, _, _ = turn(("", ("transfer",)))
    assert reply.transfer and reply.text == CANNED.transferring and reply.canned


def test_a_turn_of_a_chat_has_the_fields_of_every_turn() -> None:
    reply, _, _ = turn(("Hello.", ()))
    fields = {"caller", "agent", "heard", "tools", "speech_end_ms", "committed_ms", "first_audio_ms"}
    fields |= {"voice_to_voice_ms", "forwards", "speculation", "canned", "interrupted"}
    assert fields <= set(turn_fields("Hi.", reply))
