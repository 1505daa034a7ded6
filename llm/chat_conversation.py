"""A dialogue that is told anew, as chat messages, to whatever writes its turns; and calls that are checked.

What a grammar guarantees for the house model is checked here behind the writing: a wrong call is asked for
once more.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stretto.llm.chat_history import ChatHistory, Message, call_message
from stretto.llm.chat_reply import CallError, CallSchemas, WrittenCall
from stretto.llm.constraints.call_text import compact_json
from stretto.llm.language_model import Call, Draft, ToolChoice, ToolSpec, TurnSignal

P_END = 0.35
"""What `hear` answers where nothing says whether the caller has finished: between `p_end_unfinished` and
`p_end_sure` of `TurnOptions`, so that a turn which the words do not decide counts as doubtful."""


class ChatConversation:
    """What a `Conversation` does besides drafting; see the protocol for what the methods promise.

    `characters`, `exchanges`: of the dialogue that are told at most. Raises ValueError for a tool whose
    parameters are no JSON schema.
    """

    def __init__(
        self, system: str, tools: Sequence[ToolSpec], choice: ToolChoice, characters: int, exchanges: int
    ) -> None:
        self._specs, self._choice = list(tools), choice
        self._schemas = CallSchemas(tools)
        self._history = ChatHistory(system, characters, exchanges)
        self._revision = 0
        self._busy = asyncio.Lock()
        self._closed = False

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        """Remember the caller's words so far. The signal is neutral: see `P_END`; nothing is asked."""
        async with self._busy:
            self._check_open()
            self._history.hear(" ".join(f"{stable} {tentative}".split()))
            return TurnSignal(P_END, 0.5, 0.5)

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        """Put a draft into the history, or correct what it holds of it; see `Conversation.commit`."""
        async with self._busy:
            text = draft.text if heard is None else heard
            self._history.commit(draft.revision, text.strip(), draft.calls)

    async def say(self, text: str) -> None:
        """Words of the agent that the model did not write; see `Conversation.say`."""
        async with self._busy:
            self._history.say(text)

    async def tool_result(self, call_id: str, content: str) -> None:
        """A result of a committed call; see `Conversation.tool_result`. Raises KeyError."""
        async with self._busy:
            self._history.result(call_id, content)

    async def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Take these messages for the history; see `Conversation.restore`."""
        async with self._busy:
            self._history.restore(messages)

    def close(self) -> None:
        """Later drafts raise; one that runs is ended by whoever reads it."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the conversation is closed; open another one")

    def _due(self) -> tuple[list[Message], list[str], bool]:
        """The dialogue, the names of the tools that the next turn may call, and whether it must call one."""
        messages = self._history.messages()
        after_result = bool(messages) and messages[-1]["role"] == "tool"
        allowed = [tool.name for tool in self._choice.among(self._specs, after_result)]
        return messages, allowed, bool(allowed) and self._choice.forces(after_result)

    def _checked(
        self, written: Sequence[WrittenCall], allowed: Collection[str], must_call: bool
    ) -> tuple[list[Call], dict[int, str]]:
        """The calls that can be run, and what is wrong with which of the others, or with there being none."""
        if must_call and not written:
            return [], {0: f"no tool was called; call {' or '.join(allowed)} now"}
        calls: list[Call] = []
        errors: dict[int, str] = {}
        for place, call in enumerate(written):
            try:
                arguments = self._schemas.arguments(call)
                if call.name not in allowed:
                    instead = f"call {' or '.join(allowed)}" if allowed else "answer in words"
                    raise CallError(f"{call.name} cannot be called now; {instead}")
            except CallError as error:
                errors[place] = str(error)
            else:
                # Not the writer's id: some give the same ones in every answer.
                calls.append(Call(self._history.new_call_id(), call.name, arguments))
        return calls, errors


_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
"""What servers refuse in the name of a call."""


def correction(
    text: str, written: Sequence[WrittenCall], errors: Mapping[int, str], may_call: bool
) -> list[Message]:
    """What tells the model that some calls of its answer are wrong: they, and errors for results."""
    if not written:  # one is missing
        said = [{"role": "assistant", "content": text}] if text else []
        return [*said, *({"role": "user", "content": error} for error in errors.values())]
    told: list[Message] = []
    calls: list[Message] = []
    for place, call in enumerate(written):
        call_id = f"wrong{place:04d}"
        # Text that is no JSON would break the templates of some servers.
        arguments = call.arguments if _is_object(call.arguments) else "{}"
        calls.append(call_message(call_id, _UNFIT.sub("_", call.name)[:64] or "unknown", arguments))
        error = errors.get(place, "not run, for another call was wrong: make this one again as well")
        if place in errors and may_call:
            error = f"{error}. You wrote {call.arguments[:300]!r}. Make the call again, correctly."
        told.append({"role": "tool", "tool_call_id": call_id, "content": compact_json({"error": error})})
    return [{"role": "assistant", "content": text or None, "tool_calls": calls}, *told]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
