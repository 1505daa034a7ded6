"""Asterisk's AudioSocket: its frames on a TCP stream, and one call over them.

A frame is a byte of kind, two of length (big-endian) and so much payload; audio is 16-bit little-endian mono.
https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/
"""

from __future__ import annotations

import asyncio
import logging
import struct
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from stretto.agent.caller_id import CallInformation
from stretto.agent.realtime.connection import Service
from stretto.agent.timeline import CallRecord
from stretto.agent.ways_in.phone_call import PhoneCall
from stretto.audio.pcm import Int16

log = logging.getLogger("stretto.server")

WAY = "audiosocket"
HANG_UP, UUID, DTMF, AUDIO, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
RATES = {
    AUDIO: 8_000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000, 0x15: 44_100, 0x16: 48_000,
    0x17: 96_000, 0x18: 192_000,
}  # fmt: skip
"""Samples a second of the kinds of audio, Hz."""
CALLER_GONE = 0x01
"""The error that says that the caller hung up; others are Asterisk's own."""
HEADER = struct.Struct(">BH")
START_S = 10.0
"""A connection that does not say by then which call it is of is closed."""
STRANGE_FIRST = 20
"""Frames that make no sense which may come before that."""
MOST_WAITING = 64 * 1024
"""Bytes (4 s) that the other end may leave unread, before the line counts as dead."""
TAIL_S = 0.2
"""What was said last is on its way for so long; only then the call is ended."""


@dataclass(frozen=True)
class SocketFrame:
    kind: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """As one piece: Asterisk does not wait for the second half of a frame."""
        return HEADER.pack(self.kind, len(self.payload)) + self.payload


async def read_frame(reader: asyncio.StreamReader) -> SocketFrame | None:
    """The next frame; None at the end of the stream, also in the middle of a frame."""
    try:
        kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
        return SocketFrame(kind, await reader.readexactly(length) if length else b"")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def announced(frames: AsyncIterator[SocketFrame], refused: Callable[[], object]) -> uuid.UUID | None:
    """The id with which a connection begins; None where none comes."""
    strange = 0
    try:
        async with asyncio.timeout(START_S):
            async for frame in frames:
                if frame.kind == UUID and len(frame.payload) == 16:
                    return uuid.UUID(bytes=frame.payload)
                if frame.kind in (HANG_UP, ERROR):
                    return None
                refused()
                strange += 1
                if strange > STRANGE_FIRST:
                    return None
    except TimeoutError:
        log.warning("a connection to AudioSocket said nothing within %g s", START_S)
    return None


class AudioSocketCall(PhoneCall):
    """`run` it until somebody hangs up. `refused` is called for each frame that makes no sense."""

    def __init__(
        self, service: Service, call_id: uuid.UUID, writer: asyncio.StreamWriter,
        refused: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        super().__init__(service, CallInformation(WAY, str(call_id)), send=self._speak)
        self._writer = writer
        self._refused = refused

    async def run(self, frames: AsyncIterator[SocketFrame]) -> CallRecord:
        """Serve the frames until they end; the call's record."""
        async with asyncio.TaskGroup() as group:
            call = group.create_task(self.session.run())
            reader = group.create_task(self._read(frames))
            await asyncio.wait([call, reader], return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                await self.session.hang_up()
            elif not reader.done():
                await asyncio.wait([reader], timeout=TAIL_S)
            reader.cancel()
            return await call

    def _speak(self, pcm: Int16, at: float) -> None:
        """Raises ConnectionError where nobody takes it: the session ends the call."""
        if self._writer.is_closing():
            return  # the other end is gone, as the reader is about to learn
        if self._writer.transport.get_write_buffer_size() > MOST_WAITING:
            raise ConnectionError("Asterisk takes no audio any more")
        self._writer.write(SocketFrame(AUDIO, pcm.astype("<i2").tobytes()).encode())

    async def _read(self, frames: AsyncIterator[SocketFrame]) -> None:
        async for frame in frames:
            match frame.kind:
                case kind if kind in RATES and frame.payload and len(frame.payload) % 2 == 0:
                    pcm = cast(Int16, np.frombuffer(frame.payload, "<i2").astype(np.int16))
                    self.hear(pcm, rate=RATES[kind])
                case kind if kind == DTMF and len(frame.payload) == 1:
                    if not self.press(frame.payload.decode("latin-1")):
                        self._refused()
                case kind if kind == HANG_UP and not frame.payload:
                    return
                case kind if kind == ERROR:
                    log.warning("Asterisk tells of an error: %s", frame.payload[:8].hex() or "no code")
                    if frame.payload[:1] == bytes([CALLER_GONE]):
                        return
                case _:
                    self._refused()
