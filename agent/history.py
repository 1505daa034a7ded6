"""The messages of a call as they were really said, kept on disk while it runs if a path is given."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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
            file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - the thread closes it
            self._writer = threading.Thread(target=self._write, args=(file,), name="transcript", daemon=True)
            self._writer.start()

    def system(self, text: str) -> None:
        self.add({"role": "system", "content": text})

    def caller(self, turn: int, text: str, at_ms: float) -> None:
        """The caller's words; those of a reopened turn replace its earlier ones (on disk the last count)."""
        self.messages = [m for m in self.messages if (m["role"], m.get("turn")) != ("user", turn)]
        self.add({"role": "user", "content": text, "turn": turn, "at_ms": round(at_ms, 1)})

    def written(self, role: str, text: str, at_ms: float) -> dict[str, Any]:
        """Words that were typed, not spoken; returns the message."""
        return self.add({"role": role, "content": text, "typed": True, "at_ms": round(at_ms, 1)})

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

    def call(self, turn: int, call_id: str, name: str, arguments: dict[str, Any], at_ms: float) -> None:
        self.add(
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": call_id, "name": name, "arguments": arguments}],
                "turn": turn,
                "at_ms": round(at_ms, 1),
            }
        )

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

    What was said before a call of the same turn is one message with it. Left out are the system text, calls
    without a result, and the words of the turn `open_turn`.
    """
    known = {message.get("tool_call_id") for message in messages if message["role"] == "tool"}
    kept: list[dict[str, Any]] = []
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        calls = [call for call in message.get("tool_calls") or [] if call["id"] in known]
        if role == "tool":
            names = ("role", "content", "name", "tool_call_id")
            kept.append({name: message[name] for name in names})
        elif role == "user" and content and message.get("turn", 0) != open_turn:
            kept.append({"role": "user", "content": content})
        elif role == "assistant" and (content or calls):
            before = kept[-1] if kept else {}
            if calls and not content and before.get("role") == "assistant":
                before.setdefault("tool_calls", []).extend(calls)
            else:
                kept.append(
                    {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})
                )
    return kept
