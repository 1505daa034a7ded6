"""A voice agent in your own asyncio program: models loaded once, calls as context managers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
from stretto.agent import events
from stretto.agent.builtin import check_names
from stretto.agent.call import SessionOptions
from stretto.agent.caller_id import CallInformation
from stretto.agent.facts import facts_tool
from stretto.agent.hearing import Recogniser
from stretto.agent.mcp_tools import LiveTools
from stretto.agent.realtime.stream_clock import StreamClock
from stretto.agent.session import Session
from stretto.agent.speaking import Sink, Voice
from stretto.agent.timeline import CallRecord
from stretto.agent.ways_in.recording import play_recording
from stretto.agent.ways_in.stereo import RATE_OUT, StereoRecorder
from stretto.audio.pcm import FRAME, RATE, Frame, Int16, Resampler, read_audio
from stretto.llm.language_model import LanguageModel
from stretto.tools.journal import Journal
from stretto.tools.mcp import McpServers
from stretto.tools.runner import AnyTool
from stretto.tools.tool import Tool

if TYPE_CHECKING:
    from stretto.agent.mqtt_link import MqttLink
    from stretto.agent.server.opening import ServeOptions
    from stretto.agent.settings import MqttSettings

SYSTEM = "You are a helpful phone agent. Plain spoken English, short."


class Agent:
    """Who answers your calls; one for all of them.

        async with Agent("You answer the phone of a bike shop.", tools=[open_on, book_repair]) as agent:
            async with agent.call(play) as call:
                call.hear(pcm, rate=8000)

    `tools`: typed functions (their docstring tells the model what they do), tools, or `McpServers`.
    `model`: None for the embedded one, a folder of weights, the URL of an OpenAI-compatible server, or a
    `LanguageModel` of your own. `recogniser`, `voice`: None for the embedded ones, a name, a folder or a
    file, or your own (`stretto.agent.hearing.Recogniser`, `stretto.agent.speaking.Voice`); what you bring is
    not closed.
    `facts`: a text file that the agent looks things up in. `bias`: names that callers are likely to say.
    `mqtt`: a broker for MQTT tools, that is also told of every call: its URL, or all of its settings.

    Entering loads the models, off the event loop: raises what is wrong with a name, a schema or a file.
    """

    def __init__(
        self,
        system: str = SYSTEM,
        tools: Sequence[Callable[..., Any] | AnyTool | McpServers] = (),
        *,
        model: LanguageModel | str | Path | None = None,
        recogniser: Recogniser | str | Path | None = None,
        voice: Voice | str | Path | None = None,
        facts: str | Path | None = None,
        options: SessionOptions | None = None,
        bias: Sequence[str] = (),
        mqtt: MqttSettings | str | None = None,
    ) -> None:
        self.options = replace(options or SessionOptions(), system=system)
        self._servers = [each for each in tools if isinstance(each, McpServers)]
        self.tools: Sequence[AnyTool] = [_as_tool(each) for each in tools if not isinstance(each, McpServers)]
        """What calls that begin now are offered; once the agent is entered, with what MCP servers have."""
        if facts is not None:
            self.tools = [*self.tools, facts_tool(facts)]
        self.bias = tuple(bias)
        self._link: MqttLink | None = None
        if mqtt is not None:
            from stretto.agent.mqtt_link import link_of, observed
            from stretto.agent.settings import MqttSettings

            settings = MqttSettings(url=mqtt) if isinstance(mqtt, str) else mqtt
            self._link = link_of(settings, self.tools)
            self.options = observed(self.options, self._link)
        self._given = (model, recogniser, voice)
        self._stack = AsyncExitStack()
        self._parts: tuple[LanguageModel, Recogniser, Voice] | None = None

    async def __aenter__(self) -> Agent:
        try:
            self._parts = await asyncio.to_thread(self._load)
            if self._link is not None:
                await self._stack.enter_async_context(self._link)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts = None
        await self._stack.aclose()

    @property
    def model(self) -> LanguageModel:
        return self._loaded()[0]

    @property
    def recogniser(self) -> Recogniser:
        return self._loaded()[1]

    @property
    def voice(self) -> Voice:
        return self._loaded()[2]

    def _loaded(self) -> tuple[LanguageModel, Recogniser, Voice]:
        if self._parts is None:
            raise RuntimeError("the agent is not loaded: use it within `async with Agent(...) as agent:`")
        return self._parts

    def _load(self) -> tuple[LanguageModel, Recogniser, Voice]:
        from stretto.audio.recognise import Recogniser as Whisper
        from stretto.audio.synthesise import Synthesiser
        from stretto.audio.threads import limit_threads
        from stretto.llm.checkpoint_model import open_model
        from stretto.llm.remote import remote

        check_names(self.tools)
        limit_threads()
        model, recogniser, voice = self._given
        if model is None or isinstance(model, (str, Path)):
            own = remote(str(model)) if "://" in str(model) else open_model(model)
            self._stack.callback(own.close)
            model = own
        if recogniser is None or isinstance(recogniser, (str, Path)):
            ears = Whisper(None if recogniser is None else str(recogniser))
            self._stack.callback(ears.close)
            recogniser = ears
        if voice is None or isinstance(voice, (str, Path)):
            throat = Synthesiser(voice)
            self._stack.callback(throat.close)
            throat.warm()
            voice = throat
        model.open(self.options.system, [tool.spec for tool in self.tools]).close()  # refuses bad schemas
        for servers in self._servers:
            self._stack.callback(servers.close)
            servers.start()
            self.tools = LiveTools(self.tools, servers, model)
        return model, recogniser, voice

    # ------------------------------------------------------------------ calls

    @asynccontextmanager
    async def call(
        self,
        play: Sink,
        *,
        rate: int | None = None,
        transcript: str | Path | None = None,
        information: CallInformation | None = None,
        journal: str | Path | None = None,
    ) -> AsyncIterator[AgentCall]:
        """A call. `play` gets the agent's audio, 20 ms at a time: int16 at `rate` Hz (None: the voice's own),
        and the time (s, `call.clock`) at which it is due.

        `information`: who calls, for the tools (`call_information()`).
        `transcript`, `journal`: files that keep every message, and every tool begun and what came of it.

        The block ends with the call if the agent hangs up first: `call.over` tells. Leaving it hangs up.
        """
        model, recogniser, voice = self._loaded()
        clock = StreamClock()
        kept = None if journal is None else Journal(journal)
        session = Session(
            recogniser=recogniser,
            synthesiser=voice,
            model=model,
            sink=play,
            tools=self.tools,
            options=replace(self.options, rate=rate),
            clock=clock,
            bias=self.bias,
            transcript_path=transcript,
            information=information,
            journal=kept,
        )
        try:
            async with asyncio.TaskGroup() as group:
                held = AgentCall(session, clock, group.create_task(session.run()))
                try:
                    yield held
                finally:
                    await held.hang_up()
        finally:
            if kept is not None:
                kept.close()

    async def answer(self, recording: str | Path, record: str | Path | None = None) -> CallRecord:
        """Play a caller's recording (WAV, FLAC, OGG) to the agent in real time.

        `record`: write both sides there, caller left, agent right. Raises AudioFileError.
        """
        pcm = await asyncio.to_thread(read_audio, recording)
        recorder = StereoRecorder(RATE_OUT, time.monotonic)
        model, recogniser, voice = self._loaded()
        session = Session(
            recogniser=recogniser,
            synthesiser=voice,
            model=model,
            sink=recorder.agent,
            tools=self.tools,
            options=replace(self.options, rate=RATE_OUT),
            bias=self.bias,
        )
        call = await play_recording(session, pcm, recorder)
        if record is not None:
            await asyncio.to_thread(recorder.save, record, session.started)
        return call

    @asynccontextmanager
    async def serving(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        keys: Sequence[str] = (),
        **options: Unpack[ServeOptions],
    ) -> AsyncIterator[str]:
        """Take calls while the block runs, as `stretto serve` does; gives the URL.

        `options`: the other settings of `[serve]`, as in `record="calls"`, `max_sessions=2`,
        `origins=["https://shop.example"]`. `SessionOptions.observers` are told of every call.
        Raises ValueError for a host that others reach without `keys` and for what no setting can be, OSError
        for a port that is taken and a folder that cannot be made.
        """
        from stretto.agent.realtime.connection import Service
        from stretto.agent.realtime.wire_voice import WireVoice
        from stretto.agent.server.opening import server_for
        from stretto.agent.server.serve_settings import ServeSettings

        asked = {"host": host, "port": port, "keys": list(keys), **options}
        settings = ServeSettings.model_validate(asked)
        model, recogniser, voice = self._loaded()
        service = Service(
            model,
            recogniser,
            lambda speed: WireVoice(voice),
            self.options,
            self.tools,
            keep_tools=True,
            bias=self.bias,
            record=settings.record,
        )
        server = server_for(service, settings)
        if settings.record is not None:
            await asyncio.to_thread(settings.record.mkdir, parents=True, exist_ok=True)
        async with server.listening(host, port) as url:
            yield url


class AgentCall:
    """One call that is held. `session` has the rest of what can be done with it (`Session`)."""

    def __init__(self, session: Session, clock: StreamClock, task: asyncio.Task[CallRecord]) -> None:
        self.session = session
        self.clock = clock
        self._task = task
        self._resampler = Resampler(RATE, RATE)
        self._rate = RATE
        self._waiting: Int16 = np.zeros(0, np.int16)

    @property
    def over(self) -> bool:
        """Somebody hung up."""
        return self._task.done()

    @property
    def record(self) -> CallRecord:
        """What happened so far."""
        return self.session.record

    def hear(self, pcm: Int16 | bytes, rate: int = RATE) -> None:
        """The caller's next audio, of any length: int16 (or its bytes, little-endian), mono, at `rate` Hz."""
        samples = np.frombuffer(pcm, "<i2").astype(np.int16) if isinstance(pcm, bytes) else pcm
        if rate != self._rate:
            self._rate, self._resampler = rate, Resampler(rate, RATE)
        self._waiting = np.concatenate([self._waiting, self._resampler.feed(samples)])
        while len(self._waiting) >= FRAME:
            frame, self._waiting = self._waiting[:FRAME], self._waiting[FRAME:]
            self.session.hear(Frame(frame, self.clock.place(FRAME / RATE)))

    def events(self) -> AsyncIterator[events.Event]:
        """What happens from now on, in order, until the call is over."""
        return self.session.events()

    def press(self, key: str) -> None:
        """The caller pressed a key of the telephone. Raises ValueError for what is no key."""
        self.session.press(key)

    def say(self, text: str) -> None:
        """Have the agent say these very words."""
        self.session.say(text)

    def write(self, text: str) -> None:
        """The caller typed something: the agent answers."""
        self.session.write(text)
        self.session.respond()

    async def wait(self, timeout_s: float | None = None) -> CallRecord:
        """Until somebody hangs up. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(self._task)

    async def hang_up(self) -> CallRecord:
        """End the call and wait until it is over."""
        await self.session.hang_up()
        return await self._task


def _as_tool(given: Callable[..., Any] | AnyTool) -> AnyTool:
    return cast(AnyTool, given) if hasattr(given, "spec") else Tool(given)
