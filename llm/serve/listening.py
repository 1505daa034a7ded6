"""An ASGI application on a port: uvicorn in the running event loop, ended by whoever started it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S, IDLE_S, STOP_S = 20.0, 30, 10
"""Seconds that the head of a request may take, that a connection may wait for its next one, and that requests
may still take when the server ends."""
LONGEST_HEAD = 32 * 1024
"""Bytes."""
CONNECTIONS = 512


@asynccontextmanager
async def listening(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Answer requests while the block runs; gives the URL. Then those that run are finished, or broken off.

    Raises OSError where the port is taken.
    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Bound here: uvicorn would end the process where the port is taken.
    listener = socket.create_server(address[:2], family=family)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.wait(
            [serving, started := asyncio.create_task(server.listens.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        started.cancel()
        if serving.done():
            raise OSError("the server ended before it listened") from serving.exception()
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Tells when it listens, and leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """Hangs up on a client that does not get to the end of a request's head: uvicorn waits for ever."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._forget()  # the time between requests is uvicorn's
        if self.conn.trailing_data[0]:
            self._expect_head()

    def _expect_head(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            self._forget()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_S, self.transport.close)

    def _forget(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
