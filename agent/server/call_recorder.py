"""A served call kept in a folder: both sides as a WAV file, and the page that plays and shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from stretto.agent.call_page.page import about_record, write_page
from stretto.agent.call_page.turn_view import RecordedCall
from stretto.agent.events import Event
from stretto.agent.session import Session
from stretto.agent.ways_in.stereo import StereoRecorder
from stretto.audio.pcm import Int16


class Recordable(Protocol):
    """A call of any door. `played` and `heard` are called with audio and its time on `clock` (s)."""

    id: str
    played: Callable[[Int16, float], object] | None
    heard: Callable[[Int16, float], object] | None

    @property
    def session(self) -> Session: ...
    @property
    def clock(self) -> Callable[[], float]: ...
    @property
    def confirmed(self) -> bool:
        """The times of `played` are told by the other end; else they are those at which it was due."""
        ...


class CallRecorder:
    """Made before the call begins; `save` it when it is over, however it ended."""

    def __init__(self, call: Recordable, folder: Path) -> None:
        self._call = call
        self._path = folder / f"{call.id}.wav"
        self._both = StereoRecorder(call.session.rate, call.clock)
        self._events: list[Event] = []
        call.heard = self._both.caller
        call.played = self._both.agent_heard if call.confirmed else self._both.agent
        call.session.watch(self._events.append)

    async def save(self) -> None:
        """Write the files, off the event loop. Raises OSError, RuntimeError."""
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        session = self._call.session
        stereo = self._both.save(self._path, session.started or self._call.clock())
        shown = RecordedCall(session.record, self._events, stereo, self._both.rate)
        about = about_record(session.record, "A call over the line", "`stretto serve`")
        # The sound is not put into the page: encoding it would cost the calls that go on.
        write_page(shown, about, self._path.with_suffix(".html"), self._path.name)
