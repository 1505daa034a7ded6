"""What a draft shows, on its way from the thread that writes it to who follows it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from stretto.llm.language_model import Canvas, Settled

MOST_SHOWN = 64
"""Canvases and settled words that wait for who follows a draft; beyond them the oldest are left out."""


class Shown:
    """Made on the event loop that iterates over it; `put` is for any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Canvas | Settled] = deque(maxlen=MOST_SHOWN)
        self._ready = asyncio.Event()
        self._ended = False

    def put(self, item: Canvas | Settled) -> None:
        """Show one more."""
        self._items.append(item)
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            self._loop.call_soon_threadsafe(self._ready.set)

    def end(self, _: object = None) -> None:
        """There are no more; on the event loop."""
        self._ended = True
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Canvas | Settled]:
        while True:
            while self._items:
                yield self._items.popleft()
            if self._ended:
                return
            await self._ready.wait()
            self._ready.clear()
