"""Events on their way to the client: named, numbered, in order, and never more than a slow one can take."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from stretto.agent.realtime.beta import event_to_beta

MOST_WAITING = 4000
MOST_CHARACTERS = 8 * 1024 * 1024
"""Events, and characters of them, that wait at most: a client that takes none is gone."""
MANY_WAITING = 1000
MANY_CHARACTERS = 2 * 1024 * 1024
"""While more wait, nothing is begun that makes more; the audio sent ahead (20 s) is less than that."""
SEND_TIMEOUT_S = 30.0


class TooSlow(Exception):
    """The client does not take its events."""


def new_id(kind: str) -> str:
    """A fresh id, as `resp_…`."""
    return f"{kind}_{secrets.token_hex(10)}"


class Wire:
    """`send` never blocks; `run` hands the events to `write`, one after the other.

    A client that is too slow is sent nothing more: `run` ends at once, what waits is forgotten.
    """

    def __init__(self, write: Callable[[str], Awaitable[None]], beta: bool = False) -> None:
        self._write = write
        self._beta = beta
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._finished = False
        self._too_slow: str | None = None
        self._writing: asyncio.Timeout | None = None

    def send(self, kind: str, **fields: Any) -> None:
        """Append an event; nothing once the client is too slow."""
        if self._too_slow is not None:
            return
        event = {"type": kind, "event_id": new_id("event"), **fields}
        if self._beta:
            changed = event_to_beta(event)
            if changed is None:
                return
            event = changed
        self.put(event)

    def put(self, event: dict[str, Any]) -> None:
        """Append an event as it is, for other protocols; nothing once the client is too slow."""
        if self._too_slow is None:
            self._append(_text(event))
            self._news.set()

    def _append(self, text: str) -> None:
        self._waiting.append(text)
        self._characters += len(text)
        if self._many:
            self._room.clear()
        if len(self._waiting) > MOST_WAITING or self._characters > MOST_CHARACTERS:
            self._too_slow = f"{len(self._waiting)} events of {self._characters} bytes wait for the client"
            self._waiting.clear()
            if self._writing is not None and not self._writing.expired():
                self._writing.reschedule(0.0)  # long past: what is being written is given up

    def error(self, message: str, code: str, param: str | None = None, event_id: str | None = None) -> None:
        """Tell that an event of the client (`event_id`, if it had one) is refused."""
        kind = "server_error" if code == "server_error" else "invalid_request_error"
        self.send(
            "error",
            error={"type": kind, "code": code, "message": message, "param": param, "event_id": event_id},
        )

    async def room(self) -> None:
        """Wait while much waits for the client; it ends with `run`, and so in limited time."""
        await self._room.wait()

    def finish(self) -> None:
        """`run` returns when all is sent."""
        self._finished = True
        self._news.set()

    async def run(self) -> None:
        """Raises TooSlow, and what `write` raises when the client is gone."""
        try:
            while True:
                while self._waiting and self._too_slow is None:
                    await self._write_next()
                if self._too_slow is not None:
                    raise TooSlow(self._too_slow)
                if self._finished:
                    return
                self._news.clear()
                await self._news.wait()
        finally:
            self._too_slow = self._too_slow or "nothing is sent any more"
            self._waiting.clear()
            self._room.set()

    async def _write_next(self) -> None:
        text = self._waiting[0]
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S) as self._writing:
                await self._write(text)
        except TimeoutError:
            raise TooSlow(self._too_slow or f"no event was taken for {SEND_TIMEOUT_S:g} s") from None
        finally:
            self._writing = None
        if self._too_slow is None:
            self._waiting.popleft()
            self._characters -= len(text)
            if not self._many:
                self._room.set()

    @property
    def _many(self) -> bool:
        return len(self._waiting) > MANY_WAITING or self._characters > MANY_CHARACTERS


def _text(event: dict[str, Any]) -> str:
    """An event as JSON, in ASCII: it can be sent, whatever is in it, and a character is a byte."""
    try:
        return json.dumps(event, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(event), separators=(",", ":"))


def _finite(value: Any) -> Any:
    """JSON has no infinite number and no NaN: null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
