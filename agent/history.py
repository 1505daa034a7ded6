"""The messages of a call as they were really said, kept on disk while it runs if a path is given."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OWED = '{"status": "there is no result yet"}'
"""What the model reads of a call that somebody else runs, until its result comes."""


class History:
    """System, caller, agent and tool messages in order; the agent's are what was heard.

    With `path` every message is appended to that JSONL file at once by a thread of its own, so a crash loses
    nothing and a slow disk delays nobody. Raises `OSError` at once if the file cannot be opened.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        if path is not None:
            # Half of a surrogate pair, of a model or a tool, must not end the record; the thread closes it.
            file = Path(path).open("a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            self._writer = threading.Thread(target=self._write, args=(file,), name="transcript", daemon=True)
            self._writer.start()

    def system(self, text: str) -> None:
        self.add({"role": "system", "content": text})

    def caller(self, turn: int, text: str, at_ms: float) -> None:
        """The caller's words; those of a reopened turn replace its earlier ones (on disk the last count)."""
        self.messages = [m for m in self.messages if (m["role"], m.get("turn")) != ("user", turn)]
        self.add({"role": "user", "content": text, "turn": turn, "at_ms": round(at_ms, 1)})

    def written(
        self, role: str, text: str, at_ms: float, before: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Words that were typed, not spoken, behind all others or `before` a message; returns the message."""
        place = len(self.messages)
        if before is not None:
            place = next(n for n, each in enumerate(self.messages) if each is before)
            at_ms = before["at_ms"]
        message = {"role": role, "content": text, "typed": True, "at_ms": round(at_ms, 1)}
        self.messages.insert(place, message)
        self._keep(message)
        return message

    def agent(self, turn: int, said: str, heard: str, at_ms: float, canned: bool = False) -> dict[str, Any]:
        """What was heard of the words `said`; returns the message."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": heard,
            "turn": turn,
            "at_ms": round(at_ms, 1),
        }
        if heard != said:
            message["said"] = said
        if canned:
            message["canned"] = True
        return self.add(message)

    def correct(self, message: dict[str, Any], heard: str) -> None:
        """Less was heard of an agent's message than was thought; on disk the last of the same time counts."""
        message.setdefault("said", message["content"])
        message["content"] = heard
        self._keep(message)

    def forget(self, message: dict[str, Any]) -> None:
        """Take a message out; on disk that is noted."""
        self.messages = [each for each in self.messages if each is not message]
        self._keep({**message, "deleted": True})

    def call(
        self,
        turn: int,
        call_id: str,
        name: str,
        arguments: dict[str, Any],
        at_ms: float,
        handed_over: bool = False,
    ) -> dict[str, Any]:
        """A call of the agent's; `handed_over`: somebody else runs it, and its result may take long."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": call_id, "name": name, "arguments": arguments}],
            "turn": turn,
            "at_ms": round(at_ms, 1),
        }
        return self.add(message | {"handed_over": True} if handed_over else message)

    def call_of(self, call_id: str) -> dict[str, Any] | None:
        """The message that a call is in."""
        made = (m for m in self.messages if any(call["id"] == call_id for call in m.get("tool_calls") or []))
        return next(made, None)

    def has_result(self, call_id: str) -> bool:
        return any(message.get("tool_call_id") == call_id for message in self.messages)

    def result(self, turn: int, call_id: str, name: str, content: str, at_ms: float) -> None:
        self.add(
            {
                "role": "tool",
                "tool_call_id": call_id,
                "name": name,
                "content": content,
                "turn": turn,
                "at_ms": round(at_ms, 1),
            }
        )

    def add(self, message: dict[str, Any]) -> dict[str, Any]:
        """Add a message; in memory they are in order of time (what was heard is known late)."""
        place = len(self.messages)
        while place and self.messages[place - 1].get("at_ms", 0.0) > message.get("at_ms", 0.0):
            place -= 1
        self.messages.insert(place, message)
        self._keep(message)
        return message

    def _keep(self, message: dict[str, Any]) -> None:
        if self._writer is not None:
            self._lines.put(json.dumps(message, ensure_ascii=False, default=str))

    def close(self, timeout: float = 2.0) -> None:
        """Wait until everything is on disk, at most `timeout` seconds."""
        if self._writer is not None:
            self._lines.put(None)
            self._writer.join(timeout)

    def _write(self, file: Any) -> None:
        with file:
            while (line := self._lines.get()) is not None:
                file.write(line + "\n")
                file.flush()


def told(messages: Sequence[Mapping[str, Any]], open_turn: int | None = None) -> list[dict[str, Any]]:
    """Messages of a history as a model takes them back (`Conversation.restore`).

    What was said before a call of the same turn is one message with it. Results stand behind their calls,
    however late they came; one that somebody else still owes is told as such. Left out are the system text,
    other calls without a result, and the words of the turn `open_turn`.
    """
    results = {message["tool_call_id"]: message for message in messages if message["role"] == "tool"}
    owed = {
        call["id"]: {"role": "tool", "content": OWED, "name": call["name"], "tool_call_id": call["id"]}
        for message in messages
        if message.get("handed_over")
        for call in message["tool_calls"]
    }
    results = owed | results
    kept: list[dict[str, Any]] = []
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        calls = [call for call in message.get("tool_calls") or [] if call["id"] in results]
        if role == "user" and content and message.get("turn", 0) != open_turn:
            kept.append({"role": "user", "content": content})
        elif role == "assistant" and (content or calls):
            before = kept[-1] if kept else {}
            if calls and not content and before.get("role") == "assistant":
                before.setdefault("tool_calls", []).extend(calls)
            else:
                kept.append(
                    {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})
                )
    names = ("role", "content", "name", "tool_call_id")
    answered: list[dict[str, Any]] = []
    for message in kept:
        answered.append(message)
        for call in message.get("tool_calls") or []:
            answered.append({name: results[call["id"]][name] for name in names})
    return answered
