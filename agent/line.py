"""The caller's frames between the edge that brings them and the session that hears them."""

from __future__ import annotations

import asyncio
from collections import deque

from stretto.audio.pcm import Frame

FRAMES_WAITING = 250
"""Frames (5 s) that wait at most; then the oldest are dropped and counted."""


class FrameLine:
    """A bounded queue with one reader; `put` never blocks."""

    def __init__(self, limit: int = FRAMES_WAITING) -> None:
        self._waiting: deque[Frame] = deque()
        self._limit = limit
        self._news = asyncio.Event()
        self.dropped = 0
        """Frames lost so far because the reader was too slow."""

    def put(self, frame: Frame) -> bool:
        """Append a frame; False if the oldest one had to go for it."""
        fits = len(self._waiting) < self._limit
        if not fits:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(frame)
        self._news.set()
        return fits

    @property
    def waiting(self) -> int:
        """Frames that nobody took yet."""
        return len(self._waiting)

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    async def next(self, timeout_s: float) -> Frame | None:
        """The oldest frame; None if none came in time. Lets other tasks run even under a backlog."""
        if self._waiting:
            await asyncio.sleep(0)
        else:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return None
        return self._waiting.popleft() if self._waiting else None
