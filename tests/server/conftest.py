"""A running server: real ears, a real voice, a language model that says what a test wants, real sockets."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soxr
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.agent.realtime.connection import Service
from stretto.agent.realtime.wire_voice import WireVoice
from stretto.agent.server.audiosocket_door import AudioSocketDoor
from stretto.agent.server.doors import Doors
from stretto.agent.server.server import Limits, Server
from stretto.agent.server.twilio_door import TwilioDoor
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Synthesiser
from stretto.demo.phone import Phone, audiosocket_phone, twilio_phone

OFFICIAL_TYPES: dict[str, Any] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind
    for kind in get_args(get_args(RealtimeServerEvent)[0])
}
"""The official type of every server event, by its name."""
PATIENCE_S = 60.0


@dataclass
class House:
    """What a test gets: `serving` is a context with the URL of a server."""

    ears: Recogniser
    throat: Synthesiser
    brain: Any
    tools: tuple[Any, ...] = ()
    options: SessionOptions = field(default_factory=lambda: SessionOptions(system="Be brief."))
    doors: Doors = field(default_factory=Doors)
    limits: Limits = field(default_factory=Limits)
    keep_tools: bool = False
    record: Any = None
    twilio: TwilioDoor = field(default_factory=TwilioDoor)
    audiosocket: AudioSocketDoor | None = None
    server: Server | None = None

    def made(self) -> Server:
        """The server, not yet listening."""
        service = Service(
            self.brain, self.ears, lambda speed: WireVoice(self.throat), self.options, self.tools,
            self.keep_tools, record=self.record,
        )  # fmt: skip
        self.server = Server(
            service, self.doors, self.limits, record=self.record, twilio=self.twilio,
            audiosocket=self.audiosocket,
        )  # fmt: skip
        return self.server

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = self.made()
        before = asyncio.all_tasks()
        async with server.listening() as url:
            yield url
        await asyncio.sleep(0.1)
        left = [task for task in asyncio.all_tasks() - before if not task.done()]
        assert not left, left

    @asynccontextmanager
    async def client(self, url: str, key: str = "none", **options: Any) -> AsyncIterator[Talk]:
        """The official client, connected."""
        http = AsyncOpenAI(
            api_key=key, base_url=f"{url}/v1", websocket_base_url=f"{url}/v1".replace("http", "ws")
        )
        async with http, http.realtime.connect(model="stretto", **options) as connection:
            yield Talk(connection)

    def spoken(self, text: str, silence_s: float = 2.0, rate: int = 24_000) -> np.ndarray:
        """Somebody says it and is silent then; int16."""
        pcm = np.concatenate([chunk.pcm for chunk in self.throat.synthesise(text)])
        pcm = soxr.resample(pcm, self.throat.rate, rate)
        return np.concatenate([pcm, np.zeros(int(silence_s * rate), np.int16)])


class Talk:
    """A connection of the official client and every event that came, each checked by the official types."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def until(self, kind: str, count: int = 1) -> Any:
        """Read until there are so many events of a kind from here on; the last of them."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                event = await self.next()
                count -= event.type == kind
                if event.type == kind and not count:
                    return event

    async def next(self) -> Any:
        event = await self.connection.recv()
        kind = OFFICIAL_TYPES.get(event.type)
        assert kind is not None, f"no official type for {event.type}"
        kind.model_validate(event.model_dump(exclude_unset=True))
        self.events.append(event)
        return event

    async def say(self, pcm: np.ndarray, pieces: int = 20) -> None:
        for piece in np.array_split(pcm, pieces):
            audio = base64.b64encode(piece.astype("<i2").tobytes()).decode()
            await self.connection.input_audio_buffer.append(audio=audio)

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    def kinds(self) -> list[str]:
        return [event.type for event in self.events]

    def audio(self) -> np.ndarray:
        """All that the agent said so far, as bytes of the wire."""
        data = b"".join(base64.b64decode(event.delta) for event in self.of("response.output_audio.delta"))
        return np.frombuffer(data, np.uint8)


@dataclass
class Caller:
    """A simulated telephone in a call of `way`, and what its session tells."""

    phone: Phone
    call: Any
    events: list[events.Event] = field(default_factory=list)

    def of(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def said(self) -> list[str]:
        """What the agent said, as far as it was heard."""
        return [m["content"] for m in self.call.session.history.messages if m["role"] == "assistant"]

    async def until(self, there: Callable[[], Any]) -> None:
        await until(there)

    async def answered(self, count: int = 1) -> None:
        """So many times the agent has spoken to an end, and the line has been silent since."""
        await until(lambda: len(self.of(events.AgentHeard)) >= count and self.phone.silent_for() > 0.5)


async def until(there: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Phones(House):
    """A house that can be called by telephone, and records."""

    @asynccontextmanager
    async def phoning(self, way: str, url: str, **options: Any) -> AsyncIterator[Caller]:
        if way == "twilio":
            made = twilio_phone(url.replace("http", "ws") + "/twilio", **options)
        else:
            made = audiosocket_phone(*self.audiosocket.address, **options)
        async with made as phone:
            await until(lambda: self.calls())
            caller = Caller(phone, self.calls()[-1])
            caller.call.session.watch(caller.events.append)
            await caller.call.session.picked_up()
            yield caller

    def calls(self) -> list[Any]:
        """Those that are held now."""
        return [call for call, _ in self.server._calls._calls.values()]

    async def quiet(self) -> None:
        """Until no call is held any more."""
        await until(lambda: self.server.doors.sessions == 0 and not self.calls())


@pytest.fixture
def phones(ears: Recogniser, throat: Synthesiser, brain: Any, tmp_path: Path) -> Phones:
    options = SessionOptions(system="Be brief.", greeting="Hello, who is there?")
    door = AudioSocketDoor("127.0.0.1", 0)
    return Phones(ears, throat, brain, options=options, record=tmp_path, audiosocket=door)


@pytest.fixture
def house(ears: Recogniser, throat: Synthesiser, brain: Any) -> House:
    return House(ears, throat, brain)
