"""A dialogue in the form that chat-completions servers read: messages by role, calls paired with results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stretto.llm.constraints.call_text import compact_json
from stretto.llm.language_model import Call

STILL_RUNNING = '{"status":"still running"}'
"""Stands for a result that has not come: servers refuse a call without one."""
LONGEST_WORDS = 4000
"""Characters kept of one turn of the caller (the last ones)."""
KEPT = 0.75
"""Part of the budget that is left after the oldest turns were dropped: a server that keeps what it read of a
prompt would read it anew if its beginning changed every turn."""

Message = dict[str, Any]


@dataclass
class _Turn:
    """What one side said, and the calls that go with it; `draft` is the revision it came from, if any."""

    role: Literal["user", "assistant"]
    text: str
    calls: tuple[Call, ...] = ()
    results: dict[str, str] = field(default_factory=dict)
    draft: int | None = None

    def size(self) -> int:
        calls = sum(len(call.name) + len(compact_json(call.arguments)) for call in self.calls)
        return len(self.text) + calls + sum(map(len, self.results.values()))

    def messages(self) -> list[Message]:
        if not self.text and not self.calls:
            return []
        message: Message = {"role": self.role, "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [
                call_message(c.id, c.name, compact_json(c.arguments)) for c in self.calls
            ]
        return [message] + [
            {"role": "tool", "tool_call_id": c.id, "content": self.results.get(c.id, STILL_RUNNING)}
            for c in self.calls
        ]


def call_message(call_id: str, name: str, arguments: str) -> Message:
    """A call as part of an assistant's message; `arguments` is JSON text."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class ChatHistory:
    """What was said in one call. An *exchange* is the caller's words and all that follows them.

    More than `characters` of them, or more than `exchanges`, and the oldest exchanges are dropped for good;
    the system text stays, and so does the newest exchange, however long.
    """

    def __init__(self, system: str, characters: int, exchanges: int) -> None:
        self._system = system
        self._characters, self._exchanges = characters, exchanges
        self._turns: list[_Turn] = []
        self._pending = ""
        self._calls: set[str] = set()
        self._drafts: set[int] = set()
        self._number = 0

    def hear(self, words: str) -> None:
        """The caller's words so far in the open turn."""
        self._pending = words[-LONGEST_WORDS:]

    def commit(self, draft: int, text: str, calls: Sequence[Call]) -> None:
        """The agent's turn of that revision; one that is held already is replaced, its results stay."""
        held = next((turn for turn in self._turns if turn.draft == draft), None)
        self._calls |= {call.id for call in calls}
        if held is None:
            if draft in self._drafts:
                return  # dropped as too old
            self._keep_pending()
            held = _Turn("assistant", "", draft=draft)
            self._turns.append(held)
            self._drafts.add(draft)
        held.text, held.calls = text, tuple(calls)

    def say(self, text: str) -> None:
        """Words of the agent that no draft holds."""
        self._keep_pending()
        self._turns.append(_Turn("assistant", text))

    def result(self, call_id: str, content: str) -> None:
        """The result of a committed call; that of a dropped one is ignored. Raises KeyError."""
        if call_id not in self._calls:
            raise KeyError(f"no committed call {call_id!r}: commit its draft before its result")
        for turn in reversed(self._turns):
            if any(call.id == call_id for call in turn.calls):
                turn.results[call_id] = content
                return

    def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Take these for the history, in the form of `Conversation.restore`.

        A result without its call is left out. Raises ValueError for a role that is none of a dialogue.
        """
        self._turns, self._drafts = [], set()
        self._calls = set()
        for message in messages:
            role, content = message["role"], message.get("content") or ""
            if role == "tool":
                if message["tool_call_id"] in self._calls:
                    self.result(message["tool_call_id"], content)
            elif role in ("user", "assistant"):
                calls = [
                    Call(c["id"], c["name"], dict(c["arguments"])) for c in message.get("tool_calls") or ()
                ]
                self._calls |= {call.id for call in calls}
                self._turns.append(_Turn(role, content, tuple(calls)))
            else:
                raise ValueError(f"a message of {role!r} cannot be restored: give user, assistant and tool")

    def new_call_id(self) -> str:
        """An id that no call of this dialogue has; nine letters and digits, as the strictest servers want."""
        self._number += 1
        while (name := f"call{self._number:05d}") in self._calls:
            self._number += 1
        return name

    def messages(self) -> list[Message]:
        """All of it for a request; sentences of one side that follow each other are one message."""
        self._drop_oldest()
        told: list[Message] = [{"role": "system", "content": self._system}] if self._system else []
        for turn in [*self._turns, _Turn("user", self._pending)]:
            for message in turn.messages():
                last = told[-1] if told else {}
                if last.get("role") == message["role"] != "tool" and not last.get("tool_calls"):
                    words = f"{last['content']} {message['content'] or ''}".strip()
                    told[-1] = {**message, "content": words}
                else:
                    told.append(message)
        return told

    def _keep_pending(self) -> None:
        if self._pending:
            self._turns.append(_Turn("user", self._pending))
            self._pending = ""

    def _drop_oldest(self) -> None:
        sizes = [turn.size() for turn in self._turns]
        size = sum(sizes) + len(self._pending)
        starts = [i for i, turn in enumerate(self._turns) if turn.role == "user"]
        starts += [len(self._turns)] if self._pending else []
        if size <= self._characters and len(starts) <= self._exchanges:
            return
        for number, start in enumerate(starts):
            left = len(starts) - number
            fits = left <= max(1, int(KEPT * self._exchanges))
            if (fits and size - sum(sizes[:start]) <= KEPT * self._characters) or left == 1:
                del self._turns[:start]
                return
