"""A served call kept in a folder: both sides as a WAV file, and the page that plays and shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stretto.agent.call_page.page import about_record, write_page
from stretto.agent.call_page.turn_view import RecordedCall
from stretto.agent.events import Event
from stretto.agent.realtime.connection import Connection
from stretto.agent.ways_in.stereo import StereoRecorder


class CallRecorder:
    """Made before the call begins; `save` it when it is over, however it ended."""

    def __init__(self, call: Connection, folder: Path) -> None:
        self._call = call
        self._path = folder / f"{call.id}.wav"
        self._both = StereoRecorder(call.session.rate, call.clock)
        self._events: list[Event] = []
        call.heard = self._both.caller
        call.played = self._both.agent
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
