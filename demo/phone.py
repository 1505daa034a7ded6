"""A simulated telephone, for tests of an agent: over Twilio's Media Streams or Asterisk's AudioSocket.

It sends 20 ms every 20 ms, plays what it gets at the pace of a real one, and keeps both sides.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from stretto.agent.ways_in.audiosocket import AUDIO, DTMF, HANG_UP, UUID, SocketFrame, read_frame
from stretto.agent.ways_in.stereo import lay
from stretto.audio.g711 import decode_mu_law, encode_mu_law
from stretto.audio.pcm import Int16
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PHONE_RATE = 8_000
FRAME = PHONE_RATE // 50
FRAME_S = 0.02
MOST_WAITING = 2
"""Frames that may wait in a telephone that gets them paced."""
LATE_S = 0.5
"""The longest jitter, s."""


@dataclass(frozen=True)
class Network:
    """What happens to the caller's packets on the way: the share that is lost, and jitter up to `jitter_ms`.

    Twilio's packets that jitter overtake each other; AudioSocket is TCP, there a lost one leaves a gap.
    """

    loss: float = 0.0
    jitter_ms: float = 0.0
    seed: int = 0


class Line(Protocol):
    """The protocol's side of a telephone."""

    async def packet(self, pcm: Int16, number: int) -> None:
        """Send 20 ms of the caller's, packet `number` from 0. Raises ConnectionError."""
        ...

    async def key(self, digit: str) -> None: ...
    async def hang_up(self) -> None: ...


class Earpiece:
    """Plays pieces one after the other in real time, and knows when each mark between them is come to.

    `live`: they come paced, and a real telephone leaves silence out where too many wait.
    """

    def __init__(self, reached: Callable[[str], None] = lambda name: None, live: bool = False) -> None:
        self.played: list[tuple[float, Int16]] = []
        """What was really played, each piece with its time (s, monotonic)."""
        self.heard: Callable[[Int16, float], object] = lambda pcm, at: None
        """Is told of every piece, with its time."""
        self._waiting: deque[Int16 | str] = deque()
        self._reached = reached
        self._live = live
        self._news = asyncio.Event()

    def put(self, piece: Int16 | str) -> None:
        """Audio, or the name of a mark."""
        self._waiting.append(piece)
        self._news.set()

    def clear(self) -> list[str]:
        """Silence at once; the marks that were not come to."""
        marks = [each for each in self._waiting if isinstance(each, str)]
        self._waiting.clear()
        return marks

    async def run(self) -> None:
        """Until cancelled."""
        at = time.monotonic()
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
                at = max(at, time.monotonic())
            piece = self._waiting.popleft()
            if isinstance(piece, str):
                self._reached(piece)
                continue
            if self._live and len(self._waiting) > MOST_WAITING and np.abs(piece.astype(np.int32)).max() < 8:
                continue
            if len(piece) > FRAME:
                self._waiting.appendleft(piece[FRAME:])
                piece = piece[:FRAME]
            self.played.append((at, piece))
            self.heard(piece, at)
            at += len(piece) / PHONE_RATE
            await asyncio.sleep(max(0.0, at - time.monotonic()))


@dataclass
class Phone:
    """A telephone in a call: `say` and `press`, `hang_up`, and what was heard. Times are s, monotonic."""

    line: Line
    ear: Earpiece
    network: Network = field(default_factory=Network)
    noise: Int16 | None = None
    """Steady noise of the line, int16 at 8 kHz, repeated; else there is silence."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """The other end hung up, or this one did."""
    sent: list[tuple[float, Int16]] = field(default_factory=list)
    """What the caller's microphone took, whether it arrived or not."""
    said: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of everything that was said."""
    _speech: Int16 | None = None
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, pcm: Int16) -> None:
        """Speak (int16 at 8 kHz); returns when it is said, or the call is over."""
        self._quiet.clear()
        self._speech = pcm
        self.said.append((0.0, 0.0))
        waiting = [asyncio.create_task(each.wait()) for each in (self._quiet, self.over)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def press(self, keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.line.key(key)
            await asyncio.sleep(0.1)

    async def hang_up(self) -> None:
        """At once, whatever goes on."""
        self.over.set()
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            await self.line.hang_up()

    def silent_for(self) -> float:
        """Since when nothing loud was played, s."""
        loud = next((at for at, pcm in reversed(self.ear.played) if np.abs(pcm.astype(int)).max() > 200), 0.0)
        return time.monotonic() - loud - FRAME_S

    def stereo(self, started: float) -> Int16:
        """Both sides from `started` (s) on, int16 of shape (n, 2) at 8 kHz: as caller and ear had them."""
        sides = [lay(list(each), started, PHONE_RATE) for each in (self.sent, self.ear.played)]
        both = np.zeros((max(len(side) for side in sides), 2), np.int16)
        for channel, side in enumerate(sides):
            both[: len(side), channel] = side
        return both

    async def talk(self) -> None:
        """Send packets until the call is over."""
        rng = random.Random(self.network.seed)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                at = began + number * FRAME_S
                await asyncio.sleep(max(0.0, at + FRAME_S - time.monotonic()))
                if self.over.is_set():
                    return
                pcm = self._next(at, number)
                self.sent.append((at, pcm))
                if rng.random() < self.network.loss:
                    continue
                late_s = rng.uniform(0.0, min(LATE_S, self.network.jitter_ms / 1000))
                try:
                    if late_s:
                        group.create_task(self._later(late_s, pcm, number))
                    else:
                        await self.line.packet(pcm, number)
                except (ConnectionClosed, ConnectionError):
                    self.over.set()

    async def _later(self, late_s: float, pcm: Int16, number: int) -> None:
        await asyncio.sleep(late_s)
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            await self.line.packet(pcm, number)

    def _next(self, at: float, number: int) -> Int16:
        frame = np.zeros(FRAME, np.int32)
        if self.noise is not None:
            frame += np.take(self.noise, range(number * FRAME, (number + 1) * FRAME), mode="wrap")
        if self._speech is not None:
            if self.said[-1] == (0.0, 0.0):
                self.said[-1] = (at, at + len(self._speech) / PHONE_RATE)
            piece, self._speech = self._speech[:FRAME], self._speech[FRAME:]
            frame[: len(piece)] += piece
            if not len(self._speech):
                self._speech = None
                self._quiet.set()
        return np.clip(frame, -32768, 32767).astype(np.int16)


# ---------------------------------------------------------------------- Twilio


class _Stream:
    def __init__(self, socket: ClientConnection, sid: str) -> None:
        self.socket, self.sid = socket, sid
        self._count = itertools.count(2)

    async def send(self, event: str, **fields: Any) -> None:
        known = {"event": event, "sequenceNumber": str(next(self._count)), "streamSid": self.sid}
        await self.socket.send(json.dumps(known | fields))

    async def packet(self, pcm: Int16, number: int) -> None:
        payload = base64.b64encode(encode_mu_law(pcm)).decode()
        stamps = {"chunk": str(number + 1), "timestamp": str(number * 20)}
        await self.send("media", media={"track": "inbound", **stamps, "payload": payload})

    async def key(self, digit: str) -> None:
        await self.send("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    async def hang_up(self) -> None:
        await self.send("stop", stop={"accountSid": "AC0", "callSid": "CA0"})
        await self.socket.close()


@asynccontextmanager
async def twilio_phone(
    url: str,
    *,
    signature: str | None = None,
    parameters: Mapping[str, str] | None = None,
    call_sid: str = "CA0",
    network: Network | None = None,
    noise: Int16 | None = None,
    open_microphone: bool = True,
) -> AsyncIterator[Phone]:
    """A call that is streamed to `url` (`ws://…/twilio`), as `<Connect><Stream>` does; leaving hangs up.

    `open_microphone` False: whoever holds the phone sends its packets (`Phone.line`).
    """
    headers = {"X-Twilio-Signature": signature} if signature is not None else {}
    async with connect(url, additional_headers=headers, compression=None) as socket:
        stream = _Stream(socket, "MZ0")
        echoes: asyncio.Queue[str] = asyncio.Queue()
        phone = Phone(stream, Earpiece(echoes.put_nowait), network or Network(), noise)

        async def hear() -> None:
            with contextlib.suppress(ConnectionClosed):
                async for text in socket:
                    message = json.loads(text)
                    match message["event"]:
                        case "media":
                            phone.ear.put(decode_mu_law(base64.b64decode(message["media"]["payload"])))
                        case "mark":
                            phone.ear.put(message["mark"]["name"])
                        case "clear":
                            for name in phone.ear.clear():
                                echoes.put_nowait(name)
            phone.over.set()

        async def echo() -> None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await stream.send("mark", mark={"name": await echoes.get()})

        await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        start = {
            "accountSid": "AC0", "streamSid": "MZ0", "callSid": call_sid, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters or {}),
        }  # fmt: skip
        known = {"event": "start", "sequenceNumber": "1", "streamSid": "MZ0"}
        await socket.send(json.dumps(known | {"start": start}))
        async with _running(phone, hear(), echo(), *([phone.talk()] if open_microphone else [])):
            yield phone


# ---------------------------------------------------------------------- AudioSocket


class _Socket:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    async def send(self, frame: SocketFrame) -> None:
        if self.writer.is_closing():
            raise ConnectionError("the line is gone")
        self.writer.write(frame.encode())
        await self.writer.drain()

    async def packet(self, pcm: Int16, number: int) -> None:
        await self.send(SocketFrame(AUDIO, pcm.astype("<i2").tobytes()))

    async def key(self, digit: str) -> None:
        await self.send(SocketFrame(DTMF, digit.encode("ascii")))

    async def hang_up(self) -> None:
        await self.send(SocketFrame(HANG_UP))
        self.writer.close()


@asynccontextmanager
async def audiosocket_phone(
    host: str,
    port: int,
    *,
    call_id: uuid.UUID | None = None,
    network: Network | None = None,
    noise: Int16 | None = None,
    open_microphone: bool = True,
) -> AsyncIterator[Phone]:
    """A call as Asterisk's application AudioSocket() makes it; leaving hangs up. See `twilio_phone`."""
    reader, writer = await asyncio.open_connection(host, port)
    line = _Socket(writer)
    phone = Phone(line, Earpiece(live=True), network or Network(), noise)

    async def hear() -> None:
        while (frame := await read_frame(reader)) is not None and frame.kind != HANG_UP:
            if frame.kind == AUDIO:
                phone.ear.put(np.frombuffer(frame.payload, "<i2").astype(np.int16))
        phone.over.set()

    try:
        await line.send(SocketFrame(UUID, (call_id or uuid.uuid4()).bytes))
        async with _running(phone, hear(), *([phone.talk()] if open_microphone else [])):
            yield phone
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def _running(phone: Phone, *works: Any) -> AsyncIterator[None]:
    """The telephone works while the block runs; then it hangs up."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in (*works, phone.ear.run())]
        try:
            yield
        finally:
            if not phone.over.is_set():
                await phone.hang_up()
            for task in tasks:
                task.cancel()
