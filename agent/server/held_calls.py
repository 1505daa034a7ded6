"""The calls of all doors: counted, recorded, and hung up when the server goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stretto.agent.server.call_recorder import CallRecorder, Recordable
from stretto.agent.server.metrics import Metrics
from stretto.agent.session import Session
from stretto.agent.ways_in.phone_call import PhoneCall

log = logging.getLogger("stretto.server")

CLOSE_S = 10.0
"""At the end all calls may take so long to hang up."""


class Held(Recordable, Protocol):
    """A call of any door."""

    @property
    def session(self) -> Session: ...


@dataclass
class HeldCalls:
    """`tools`: names that metrics show. `record`: a folder for recordings. `answering`: see `Service`."""

    metrics: Metrics | None
    record: Path | None
    tools: frozenset[str]
    answering: Callable[[Session], object] | None = None
    _calls: dict[str, tuple[Held, asyncio.Task[None] | None]] = field(default_factory=dict)

    @asynccontextmanager
    async def holding(self, call: Held) -> AsyncIterator[None]:
        """A call that is held in the block; its recording is saved at the end, however that comes."""
        recorder = CallRecorder(call, self.record) if self.record is not None else None
        if self.metrics is not None:
            self.metrics.watch(call.session, self.tools)
            self.metrics.sessions.inc()
        self._calls[call.id] = call, asyncio.current_task()
        if self.answering is not None:
            try:
                self.answering(call.session)
            except Exception:  # whoever watches must not break the call
                log.exception("`answering` failed")
        try:
            yield
            if self.metrics is not None:
                self.metrics.ended.labels(call.session.record.ended).inc()
        finally:
            del self._calls[call.id]
            if self.metrics is not None:
                self.metrics.sessions.dec()
                if isinstance(call, PhoneCall):
                    self.metrics.phone(call.session.information.way, call.packets)
            if recorder is not None:
                await recorder.save()

    async def hang_up(self) -> None:
        """End all; those that do not end in time are broken off."""
        async with asyncio.TaskGroup() as group:
            for call, task in list(self._calls.values()):
                group.create_task(_hang_up(call, task))

    def turned_away(self, status: int) -> None:
        """Somebody was not let in."""
        if self.metrics is not None:
            self.metrics.refused.labels(str(status)).inc()

    def refused(self) -> None:
        """A frame was no message of its protocol."""
        if self.metrics is not None:
            self.metrics.bad_frames.inc()


async def _hang_up(call: Held, task: asyncio.Task[None] | None) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await call.session.hang_up()
    except Exception as error:
        log.warning("call %s does not end (%s): it is broken off", call.id, type(error).__name__)
        if task is not None:
            task.cancel()
