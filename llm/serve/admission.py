"""How many requests are answered at once, and how many may wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stretto.llm.language_model import Busy
from stretto.llm.serve.metrics import Metrics


class Admission:
    """First come, first served.

    Args:
        live: requests that are answered at once.
        waiting: those that wait for a place; one more is refused.
        wait_s: seconds after which one that waits is refused.
    """

    def __init__(self, live: int, waiting: int, wait_s: float, metrics: Metrics) -> None:
        self._most_waiting, self._wait_s = waiting, wait_s
        self._free = asyncio.Semaphore(live)
        self._waiting = 0
        self._metrics = metrics

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one while the block runs. Raises Busy."""
        if self._free.locked() and self._waiting >= self._most_waiting:
            raise Busy("as many requests as are taken wait already: try again in a second")
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"no place came free in {self._wait_s:g} s: try again later") from None
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)
        self._metrics.live.inc()
        try:
            yield
        finally:
            self._metrics.live.dec()
            self._free.release()
