"""The door for Asterisk's AudioSocket. The protocol knows no keys: who may come in is told by addresses."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from stretto.agent.realtime.connection import Service
from stretto.agent.server.doors import Doors, Refused
from stretto.agent.server.held_calls import HeldCalls
from stretto.agent.ways_in.audiosocket import (
    HANG_UP,
    WAY,
    AudioSocketCall,
    SocketFrame,
    announced,
    read_frame,
)

log = logging.getLogger("stretto.server")

CLOSE_S = 2.0
"""A connection may take so long to close."""


@dataclass
class AudioSocketDoor:
    """`host`, `port`: where it listens. `peers`: addresses and networks that may call beside this machine.

    `idle_s`: a connection on which nothing comes for so long is closed, s.
    """

    host: str
    port: int
    peers: Sequence[str] = ()
    idle_s: float = 300.0
    address: tuple[str, int] = ("", 0)
    """Where it really listens, once it does."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def listening(self, service: Service, doors: Doors, calls: HeldCalls) -> AsyncIterator[None]:
        """Take calls while the block runs; whoever leaves it has hung up `calls`. Raises OSError."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._answer(reader, writer, service, doors, calls)
            except asyncio.CancelledError:
                writer.transport.abort()  # only this door breaks its calls off, and waits for that
            finally:
                self._tasks.discard(task)

        try:
            server = await asyncio.start_server(answer, self.host, self.port)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"{self.host}:{self.port}") from error
        self.address = server.sockets[0].getsockname()[:2]
        try:
            yield
        finally:
            server.close()
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        service: Service,
        doors: Doors,
        calls: HeldCalls,
    ) -> None:
        """One connection from its first frame to its last; whatever happens in it, the door stays open."""
        frames = self._frames(reader)
        try:
            if not self._welcome(writer.get_extra_info("peername")):
                calls.turned_away(403)
                return
            doors.admit_line(WAY, time.monotonic())
            with doors.session(WAY):
                call_id = await announced(frames, calls.refused)
                if call_id is None:
                    calls.refused()
                    return
                call = AudioSocketCall(service, call_id, writer, calls.refused)
                async with calls.holding(call):
                    await call.run(frames)
        except Refused as refused:
            log.warning("a call of Asterisk's is not taken: %s", refused)
            calls.turned_away(refused.status.value)
        except Exception:
            log.exception("a call broke off")
        finally:
            await frames.aclose()
            await _close(writer)

    def _welcome(self, peer: object) -> bool:
        try:
            address = ipaddress.ip_address(str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else "")
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or any(
            address in ipaddress.ip_network(network, strict=False) for network in self.peers
        )

    async def _frames(self, reader: asyncio.StreamReader) -> AsyncGenerator[SocketFrame, None]:
        """What comes, until the other end is gone or says nothing for too long."""
        while True:
            try:
                async with asyncio.timeout(self.idle_s):
                    frame = await read_frame(reader)
            except TimeoutError:
                return
            if frame is None:
                return
            yield frame


async def _close(writer: asyncio.StreamWriter) -> None:
    """Say goodbye and close; one who does not take it is cut off."""
    try:
        async with asyncio.timeout(CLOSE_S):
            if not writer.is_closing():
                writer.write(SocketFrame(HANG_UP).encode())
                await writer.drain()
            writer.close()
            await writer.wait_closed()
    except (TimeoutError, ConnectionError):
        with contextlib.suppress(Exception):
            writer.transport.abort()
