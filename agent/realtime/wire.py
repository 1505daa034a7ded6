"""Events on their way to the client: named, numbered, in order, and never more than a slow one can take."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

MOST_WAITING = 4000
"""Events that wait at most (13 minutes of audio): a client that takes none is gone."""
SEND_TIMEOUT_S = 30.0

BETA_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
"""What events were called before general availability; `conversation.item.done` did not exist."""
BETA_PARTS = {"output_audio": "audio", "output_text": "text"}


class TooSlow(Exception):
    """The client does not take its events."""


def new_id(kind: str) -> str:
    """A fresh id, as `resp_…`."""
    return f"{kind}_{secrets.token_hex(10)}"


class Wire:
    """`send` never blocks; `run` hands the events to `write`, one after the other."""

    def __init__(self, write: Callable[[str], Awaitable[None]], beta: bool = False) -> None:
        self._write = write
        self._beta = beta
        self._waiting: deque[str] = deque()
        self._news = asyncio.Event()
        self._finished = False

    def send(self, kind: str, **fields: Any) -> None:
        """Append an event."""
        event = {"type": kind, "event_id": new_id("event"), **fields}
        if self._beta:
            if kind == "conversation.item.done":
                return
            event = _as_beta(event)
        self._waiting.append(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
        self._news.set()

    def error(self, message: str, code: str, param: str | None = None, event_id: str | None = None) -> None:
        """Tell that an event of the client (`event_id`, if it had one) is refused."""
        kind = "server_error" if code == "server_error" else "invalid_request_error"
        self.send(
            "error",
            error={"type": kind, "code": code, "message": message, "param": param, "event_id": event_id},
        )

    def finish(self) -> None:
        """`run` returns when all is sent."""
        self._finished = True
        self._news.set()

    async def run(self) -> None:
        """Raises TooSlow, and what `write` raises when the client is gone."""
        while True:
            while self._waiting:
                if len(self._waiting) > MOST_WAITING:
                    raise TooSlow(f"{len(self._waiting)} events wait for the client")
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._write(self._waiting.popleft())
            if self._finished:
                return
            self._news.clear()
            await self._news.wait()


def _as_beta(event: dict[str, Any]) -> dict[str, Any]:
    event["type"] = BETA_NAMES.get(event["type"], event["type"])
    if "part" in event:
        event["part"] = {
            **event["part"],
            "type": BETA_PARTS.get(event["part"]["type"], event["part"]["type"]),
        }
    if "item" in event and "content" in event["item"]:
        parts = [{**p, "type": BETA_PARTS.get(p["type"], p["type"])} for p in event["item"]["content"]]
        event["item"] = {**event["item"], "content": parts}
    return event
