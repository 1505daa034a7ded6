"""HTTP and WebSocket on one port: the page, `/healthz`, `/metrics`, tokens, and calls on `/v1/realtime`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

from stretto.agent.realtime.connection import Connection, Service
from stretto.agent.realtime.wire import TooSlow, Wire
from stretto.agent.server import twilio_door
from stretto.agent.server.audiosocket_door import AudioSocketDoor
from stretto.agent.server.doors import Doors, Refused, mint
from stretto.agent.server.held_calls import CLOSE_S, HeldCalls
from stretto.agent.server.metrics import Metrics
from stretto.agent.server.twilio_door import TwilioDoor
from stretto.agent.ways_in import twilio_call
from websockets.asyncio.server import Server as WebSockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

log = logging.getLogger("stretto.server")

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
} | {
    f"/{file.name}": (file.name, "text/javascript; charset=utf-8")
    for file in files("stretto.agent.page").iterdir()
    if file.name.endswith(".js")
}
"""Files of the page by their path."""
KEY_ONLY = ("/token", "/metrics")
"""Where a token is not enough: it would renew itself for ever, and it is for calls alone."""
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
OVERSIZE = 4
"""A frame of up to so many times the longest is read, refused and forgotten; a longer one ends the call."""
FRAMES_WAITING = 4
"""Frames of a connection that may wait to be read, before no more are taken from the network."""


@dataclass
class Limits:
    """Of what one connection may send; see `ServeSettings`. Bytes and seconds."""

    frame: int = 1024 * 1024
    json: int = 256 * 1024
    idle_s: float = 300.0


@dataclass
class Server:
    """Serve with `listening`. `record`: a folder for recordings of calls."""

    service: Service
    doors: Doors = field(default_factory=Doors)
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics | None = field(default_factory=Metrics)
    record: Path | None = None
    twilio: TwilioDoor = field(default_factory=TwilioDoor)
    audiosocket: AudioSocketDoor | None = None
    _names: WeakKeyDictionary[ServerConnection, str] = field(default_factory=WeakKeyDictionary)
    """Who a connection is of, until its call begins; a handshake that fails has none."""

    def __post_init__(self) -> None:
        tools = frozenset(tool.spec.name for tool in self.service.tools)
        self._calls = HeldCalls(self.metrics, self.record, tools)

    @asynccontextmanager
    async def listening(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Take calls while the block runs; gives the URL. Then all calls are hung up.

        Raises OSError where the port is taken.
        """
        async with (
            self._telephones(),
            serve(
                self._call,
                host,
                port,
                process_request=self._request,
                select_subprotocol=_chosen,
                compression=None,
                max_size=OVERSIZE * self.limits.frame,
                max_queue=FRAMES_WAITING,
                ping_interval=20,
                ping_timeout=20,
                close_timeout=2,
                server_header="Stretto",
            ) as listener,
        ):
            yield _url(listener, host)
            await self._calls.hang_up()

    def _telephones(self) -> AbstractAsyncContextManager[None]:
        if self.audiosocket is None:
            return nullcontext()
        return self.audiosocket.listening(self.service, self.doors, self._calls)

    # ------------------------------------------------------------------ plain requests

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no call; None lets a call begin."""
        path = urlsplit(request.path).path
        try:
            if path == "/healthz":
                return _json({"ok": True, "sessions": self.doors.sessions})
            if path in PAGE:
                name, kind = PAGE[path]
                return _response(files("stretto.agent.page").joinpath(name).read_bytes(), kind)
            if path in (twilio_door.STREAM, twilio_door.VOICE):
                return self._telephone(connection, request, path)
            if path not in ("/v1/realtime", "/v1/models", "/token", "/metrics"):
                return _json(
                    {"error": {"message": f"there is nothing at {path[:200]}"}}, HTTPStatus.NOT_FOUND
                )
            peer = connection.remote_address
            name = self.doors.admit(
                _plain(request.headers),
                time.monotonic(),
                str(peer[0]) if peer else "",
                tokens=path not in KEY_ONLY,
            )
            if path == "/v1/realtime":
                self._let_in(connection, request, name)
                return None
            return self._answer(path, name)
        except Refused as refused:
            self._calls.turned_away(refused.status.value)
            return _json({"error": {"message": str(refused)}}, refused.status)

    def _let_in(self, connection: ServerConnection, request: Request, name: str) -> None:
        """Let a call of somebody begin. Raises Refused."""
        if ", ".join(request.headers.get_all("Upgrade")).lower() != "websocket":
            raise Refused(HTTPStatus.UPGRADE_REQUIRED, "connect with a WebSocket")
        self.doors.check_room(name)
        self._names[connection] = name

    def _telephone(self, connection: ServerConnection, request: Request, path: str) -> Response | None:
        """Twilio asks what to do with a call, or streams one. Raises Refused."""
        host, now = ", ".join(request.headers.get_all("Host")), time.monotonic()
        if self.twilio.auth_token is None:  # nothing is signed: the doors are those of everybody
            peer = connection.remote_address
            self.doors.admit(_plain(request.headers), now, str(peer[0]) if peer else "")
        else:
            given = ", ".join(request.headers.get_all("X-Twilio-Signature"))
            self.twilio.check(given, request.path, host)
        name = self.doors.admit_line(twilio_call.WAY, now)
        if path == twilio_door.STREAM:
            self._let_in(connection, request, name)
            return None
        try:
            self.doors.check_room(name)
            body = self.twilio.answer(urlsplit(request.path).query, host)
        except Refused as refused:
            self._calls.turned_away(refused.status.value)
            body = twilio_door.BUSY
        return _response(body.encode(), "text/xml; charset=utf-8")

    def _answer(self, path: str, name: str) -> Response:
        if path == "/metrics":
            if self.metrics is None:
                raise Refused(HTTPStatus.NOT_FOUND, "metrics are switched off")
            return _response(self.metrics.page(), "text/plain; version=0.0.4; charset=utf-8")
        if path == "/token":
            key = self.doors.key_of(name)
            return _json({"token": mint(key) if key is not None else None})
        model = {"id": self.service.model_name, "object": "model", "created": 0, "owned_by": "stretto"}
        return _json({"object": "list", "data": [model]})

    # ------------------------------------------------------------------ calls

    async def _call(self, connection: ServerConnection) -> None:
        """One call from its first event to its last; whatever happens in it, the server goes on."""
        name = self._names.pop(connection)
        try:
            with self.doors.session(name):
                await self._hold(connection)
        except Refused as refused:
            await connection.close(1013, str(refused))
        except Exception:
            log.exception("a call broke off")
            await connection.close(1011, "the call broke off")
        except asyncio.CancelledError:
            connection.transport.abort()
            raise

    async def _hold(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        if urlsplit(connection.request.path).path == twilio_door.STREAM:
            await self._hold_telephone(connection)
            return
        asked = parse_qs(urlsplit(connection.request.path).query)
        beta = "realtime=v1" in connection.request.headers.get("OpenAI-Beta", "")
        wire = Wire(connection.send, beta)
        flags = {flag: flag in asked.get("stretto", []) for flag in ("events", "greet")}
        call = Connection(self.service, wire, extra=flags["events"], greet=flags["greet"])
        async with self._calls.holding(call), self._sending(wire, connection):
            record = await call.run(self._received(connection, wire))
        await connection.close(1000, record.ended)

    async def _hold_telephone(self, connection: ServerConnection) -> None:
        """A call that Twilio streams."""
        wire = Wire(connection.send)
        received = self._received(connection, None)
        start = await twilio_call.started(received, self._calls.refused)
        if start is None:
            await connection.close(1002, "the stream does not start")
            return
        call = twilio_call.TwilioCall(self.service, wire, start, self._calls.refused)
        async with self._calls.holding(call), self._sending(wire, connection):
            record = await call.run(received)
            await self.twilio.ended(record, start.call_sid)
        await connection.close(1000, record.ended)

    @asynccontextmanager
    async def _sending(self, wire: Wire, connection: ServerConnection) -> AsyncIterator[None]:
        """Send what is put on the wire while the block runs, and then the rest of it."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send(wire, connection))
            yield
            await asyncio.wait([sending], timeout=CLOSE_S)
            sending.cancel()

    async def _send(self, wire: Wire, connection: ServerConnection) -> None:
        try:
            await wire.run()
        except ConnectionClosed:
            return
        except (TooSlow, TimeoutError) as error:
            log.warning("a client takes no events: %s", error)
            await connection.close(1013, "events are not taken")

    async def _received(self, connection: ServerConnection, wire: Wire | None) -> AsyncIterator[str | bytes]:
        """The client's frames until it is gone; those that are too long are refused, and the call goes on.

        `wire`: where it is told so, in the words of the Realtime protocol.
        """
        while True:
            try:
                async with asyncio.timeout(self.limits.idle_s):
                    frame = await connection.recv()
            except TimeoutError:
                if wire is not None:
                    wire.error(f"nothing came for {self.limits.idle_s:g} s: goodbye", "session_expired")
                return
            except ConnectionClosed:
                return
            if (told := self._too_long(frame)) is not None:
                self._calls.refused()
                if wire is not None:
                    wire.error(told, "event_too_long")
                continue
            yield frame

    def _too_long(self, frame: str | bytes) -> str | None:
        """Why a frame is too long, if it is."""
        if _size(frame) > self.limits.frame:
            return f"a frame has at most {self.limits.frame} bytes"
        if _size(frame) > self.limits.json and not _is_audio(frame):
            return f"an event has at most {self.limits.json} bytes"
        return None


def _size(frame: str | bytes) -> int:
    """Bytes on the wire."""
    return len(frame) if isinstance(frame, bytes) or frame.isascii() else len(frame.encode())


def _is_audio(frame: str | bytes) -> bool:
    """Only audio may be longer than other events."""
    return isinstance(frame, str) and "input_audio_buffer.append" in frame[:200] + frame[-200:]


def _chosen(connection: ServerConnection, offered: object) -> Subprotocol | None:
    """Browsers offer `realtime` and their key; only the first is spoken."""
    names = [str(name) for name in offered] if isinstance(offered, (list, tuple)) else []
    return Subprotocol("realtime") if "realtime" in names else None


def _plain(headers: Headers) -> dict[str, str]:
    """The headers that count; of one that is there twice, all values."""
    names = ("Origin", "Host", "Authorization", "Sec-WebSocket-Protocol")
    return {name: ", ".join(headers.get_all(name)) for name in names if name in headers}


def _response(body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    headers = Headers(
        {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"} | SECURITY
    )
    return Response(status.value, status.phrase, headers, body)


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _response(json.dumps(value).encode() + b"\n", "application/json", status)


def _url(listener: WebSockets, host: str) -> str:
    port = next(iter(listener.sockets)).getsockname()[1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
