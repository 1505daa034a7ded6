"""The messages of a call as they were really said, kept on disk while it runs if a path is given."""

from __future__ import annotations

import json
import queue
import threading
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

    def agent(self, turn: int, said: str, heard: str, at_ms: float, canned: bool = False) -> None:
        """What was heard of the words `said`."""
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
        self.add(message)

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

    def add(self, message: dict[str, Any]) -> None:
        """Add a message; in memory they are in order of time (what was heard is known late)."""
        place = len(self.messages)
        while place and self.messages[place - 1].get("at_ms", 0.0) > message.get("at_ms", 0.0):
            place -= 1
        self.messages.insert(place, message)
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
