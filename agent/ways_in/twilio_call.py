"""One telephone call over a stream of Twilio's: its messages lead a session, the agent's voice goes back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

from stretto.agent.caller_id import CallInformation
from stretto.agent.realtime.connection import Service
from stretto.agent.realtime.wire import Wire
from stretto.agent.timeline import CallRecord
from stretto.agent.ways_in.marked_playback import MarkedPlayback
from stretto.agent.ways_in.phone_call import PhoneCall
from stretto.agent.ways_in.twilio_messages import BadMessage, Dtmf, Mark, Media, Start, Stop, parse
from stretto.audio.g711 import decode_mu_law

log = logging.getLogger("stretto.server")

WAY = "twilio"
START_S = 10.0
"""A stream that does not say by then which call it is of is closed."""
STRANGE_FIRST = 20
"""Messages that are none which may come before that."""


class TwilioLine:
    """What goes to Twilio; `MarkedPlayback` speaks through it."""

    def __init__(self, wire: Wire, stream_sid: str) -> None:
        self._wire = wire
        self._stream_sid = stream_sid

    def media(self, payload: str) -> None:
        self._wire.put({"event": "media", "streamSid": self._stream_sid, "media": {"payload": payload}})

    def mark(self, name: str) -> None:
        self._wire.put({"event": "mark", "streamSid": self._stream_sid, "mark": {"name": name}})

    def clear(self) -> None:
        self._wire.put({"event": "clear", "streamSid": self._stream_sid})


async def started(received: AsyncIterator[str | bytes], refused: Callable[[], object]) -> Start | None:
    """The stream's start; None where none comes. `refused` is called for each message that is none."""
    strange = 0
    try:
        async with asyncio.timeout(START_S):
            async for frame in received:
                try:
                    message = parse(frame)
                except BadMessage as error:
                    log.debug("%s", error)
                    refused()
                    strange += 1
                    if strange > STRANGE_FIRST:
                        return None
                    continue
                if isinstance(message, Start):
                    return message
                if isinstance(message, Stop):
                    return None
    except TimeoutError:
        log.warning("a stream did not start within %g s", START_S)
    return None


def information_of(start: Start) -> CallInformation:
    """Numbers are those of the parameters `from` and `to`, as `/twilio/voice` gives them."""
    parameters = dict(start.parameters)
    caller, called = parameters.pop("from", ""), parameters.pop("to", "")
    return CallInformation(WAY, start.call_sid, caller, called, parameters)


class TwilioCall(PhoneCall):
    """`run` it until somebody hangs up. `refused` is called for each message that is none."""

    confirmed = True

    def __init__(
        self, service: Service, wire: Wire, start: Start, refused: Callable[[], object] = lambda: None
    ) -> None:
        self._voice = MarkedPlayback(TwilioLine(wire, start.stream_sid), time.monotonic)
        super().__init__(service, information_of(start), outlet=self._voice)
        self._wire = wire
        self._refused = refused

    async def run(self, received: AsyncIterator[str | bytes]) -> CallRecord:
        """Serve the stream's messages until they end; the call's record."""
        async with asyncio.TaskGroup() as group:
            call = group.create_task(self.session.run())
            reader = group.create_task(self._read(received))
            await asyncio.wait([call, reader], return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            if not call.done():
                await self.session.hang_up()
            record = await call
            self._wire.finish()
        return record

    async def _read(self, received: AsyncIterator[str | bytes]) -> None:
        async for frame in received:
            try:
                message = parse(frame)
            except BadMessage as error:
                log.debug("%s", error)
                self._refused()
                continue
            match message:
                case Media(payload, timestamp_ms):
                    self.hear(decode_mu_law(payload), timestamp_ms)
                case Mark(name):
                    self._voice.echoed(name)
                case Dtmf(digit) if not self.press(digit):
                    self._refused()
                case Stop():
                    return
