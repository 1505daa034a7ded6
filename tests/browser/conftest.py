"""A real browser before a real server: real ears, a real voice, a language model that says what a test wants.

The server runs in a thread with a loop of its own, behind a line that a test can cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from stretto.agent.call import SessionOptions
from stretto.agent.realtime.connection import Service
from stretto.agent.realtime.wire_voice import WireVoice
from stretto.agent.server.doors import Doors
from stretto.agent.server.server import Server
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Synthesiser
from stretto.llm.language_model import Call, Canvas, Draft, Settled, TurnSignal

CHROMIUM = Path("/usr/bin/chromium")
CLIPS = Path(__file__).parent.parent / "audio" / "clips"
RATE = 48_000
PATIENCE_MS = 60_000
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream "
    "--autoplay-policy=no-user-gesture-required"
).split()
ALLOWED = "--use-fake-ui-for-media-stream"
"""The browser lets every page have the microphone."""
WATCH = """
window.levels = []; window.sent = []; window.streams = []; window.lines = [];
addEventListener("stretto:audio", ({ detail: { context, output } }) => {
  const analyser = new AnalyserNode(context, { fftSize: 1024 }), samples = new Float32Array(1024);
  output.connect(analyser);
  setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    levels.push([performance.now(), Math.hypot(...samples) / Math.sqrt(samples.length)]);
  }, 20);
});
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  const event = JSON.parse(text);
  if (event.type !== "input_audio_buffer.append") sent.push([performance.now(), event]);
  return send.call(this, text);
};
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const stream = await ask(wanted);
  streams.push([wanted.audio, stream]);
  return stream;
};
"""
"""What a test sees of the page: levels of its output (ms, RMS), events it sent (ms, event), microphones."""


# ---------------------------------------------------------------------- the server


@dataclass
class Brain:
    """Every conversation answers by `policy(heard, results)`: words, a call, or a Draft."""

    policy: Callable[[Any], Any] = lambda thought: f"You said {thought.words}"
    conversations: list[Any] = field(default_factory=list)

    def open(self, system: str, tools: Any) -> Thought:
        self.conversations.append(Thought(self))
        return self.conversations[-1]

    @property
    def last(self) -> Any:
        return self.conversations[-1]


class Thought:
    """Remembers what it is told as messages, and writes on a canvas in six passes."""

    def __init__(self, brain: Brain) -> None:
        self.brain = brain
        self.messages: list[tuple[str, str]] = []
        self.pending = ""
        self._revision = 0
        self._held: dict[int, int] = {}

    @property
    def words(self) -> str:
        return self.pending or next((text for role, text in reversed(self.messages) if role == "user"), "")

    @property
    def results(self) -> list[str]:
        """What came of tools since the caller last spoke."""
        last = max((n for n, (role, _) in enumerate(self.messages) if role == "user"), default=0)
        return [text for role, text in self.messages[last:] if role == "tool"] if not self.pending else []

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        self.pending = f"{stable} {tentative}".strip()
        return TurnSignal(0.9, 0.5, 0.5)

    async def draft(
        self, effort: str = "medium", deadline_ms: float | None = None, revise: Draft | None = None
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        made = self.brain.policy(self)
        if isinstance(made, str):
            made = Draft(made)
        elif isinstance(made, Call):
            made = Draft("", (made,))
        text = made.text or f"{made.calls[0].name} {json.dumps(made.calls[0].arguments)}"
        tokens = [f" {word}" if n else word for n, word in enumerate(text.split()[:24])] + ["<end>", "<pad0>"]
        order = np.random.default_rng(7).permutation(len(tokens))
        for forward in range(1, 7):
            await asyncio.sleep(0.015)
            settled = set(order[: len(tokens) * forward // 6])
            yield Canvas(tuple(t if n in settled else None for n, t in enumerate(tokens)), forward)
        self._revision += 1
        yield Draft(made.text, made.calls, 6, self._revision)

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        if self.pending:
            self.messages.append(("user", self.pending))
            self.pending = ""
        text = draft.text if heard is None else heard
        entry = ("assistant", " ".join([text, *(f"{c.name}({c.arguments})" for c in draft.calls)]).strip())
        if draft.revision in self._held:
            self.messages[self._held[draft.revision]] = entry
        elif entry[1]:
            self._held[draft.revision] = len(self.messages)
            self.messages.append(entry)

    async def say(self, text: str) -> None:
        self.messages.append(("assistant", text))

    async def tool_result(self, call_id: str, content: str) -> None:
        self.messages.append(("tool", content))

    async def restore(self, messages: Any) -> None:
        self._held.clear()
        self.messages = [(m["role"], m["content"]) for m in messages]

    def close(self) -> None:
        return None


@pytest.fixture(scope="session")
def ears() -> Iterator[Recogniser]:
    recogniser = Recogniser()
    yield recogniser
    recogniser.close()


@pytest.fixture(scope="session")
def throat() -> Iterator[Synthesiser]:
    synthesiser = Synthesiser()
    synthesiser.warm()
    yield synthesiser
    synthesiser.close()


class Line:
    """A TCP line to the server that can be cut: connections break without a word, and no new one is taken."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, far_writer}
        with contextlib.suppress(ConnectionError):
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, far_writer))
                group.create_task(_copy(far_reader, writer))

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Place:
    """A server: what it is made of, and once it is `open`, its `url`."""

    ears: Recogniser
    throat: Synthesiser
    brain: Brain = field(default_factory=Brain)
    tools: tuple[Any, ...] = ()
    doors: Doors = field(default_factory=Doors)
    options: SessionOptions = field(default_factory=lambda: SessionOptions(system="Be brief.", greeting=""))
    url: str = ""
    cut: Callable[[], None] = lambda: None
    hang_up: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def open(self) -> Iterator[str]:
        """Serve while the block runs."""
        ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

        async def serve() -> None:
            service = Service(
                self.brain, self.ears, lambda speed: WireVoice(self.throat), self.options, self.tools
            )
            async with Server(service, self.doors).listening() as url:
                line = Line(int(url.rsplit(":", 1)[1]))
                self.url = f"http://127.0.0.1:{await line.open()}"
                self.cut = lambda: asyncio.run_coroutine_threadsafe(line.cut(), loop).result(10)
                self.hang_up = lambda: loop.call_soon_threadsafe(stop.set)
                ready.set()
                await stop.wait()
            await line.cut()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        assert ready.wait(30)
        try:
            yield self.url
        finally:
            self.hang_up()
            thread.join(30)
            assert not thread.is_alive()
            loop.close()


@pytest.fixture
def place(ears: Recogniser, throat: Synthesiser) -> Place:
    return Place(ears, throat)


# ---------------------------------------------------------------------- the caller


@dataclass
class Caller:
    """Makes recordings for the browser's microphone; `parts`: words to say, clips, seconds of silence."""

    throat: Synthesiser
    folder: Path

    def recording(self, *parts: str | Path | float) -> Path:
        pieces = []
        for part in parts:
            if isinstance(part, str):
                pcm = np.concatenate([chunk.pcm for chunk in self.throat.synthesise(part)])
                pieces.append(soxr.resample(pcm, self.throat.rate, RATE))
            elif isinstance(part, Path):
                pcm, rate = soundfile.read(part, dtype="int16")
                pieces.append(soxr.resample(pcm, rate, RATE))
            else:
                pieces.append(np.zeros(round(part * RATE), np.int16))
        path = self.folder / f"caller-{len(list(self.folder.iterdir()))}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(np.concatenate(pieces).astype("<i2").tobytes())
        return path


@pytest.fixture
def caller(throat: Synthesiser, tmp_path: Path) -> Caller:
    folder = tmp_path / "caller"
    folder.mkdir()
    return Caller(throat, folder)


# ---------------------------------------------------------------------- the browser


# Not longer than a module: while it runs, no other test of this thread could have an event loop.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver


@pytest.fixture
def browse(playwright: Any) -> Iterator[Callable[..., Any]]:
    """`browse(url, recording)`: a page with that recording as microphone. Nothing may be complained about."""
    with contextlib.ExitStack() as stack:
        complaints: list[str] = []

        def opened(url: str, recording: Path | None = None, allowed: bool = True, **context: Any) -> Any:
            flags = [*FLAGS, *([ALLOWED] if allowed else [])]
            if recording is not None:
                flags.append(f"--use-file-for-fake-audio-capture={recording}%noloop")
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
            stack.callback(browser.close)
            page = browser.new_page(**context)
            page.set_default_timeout(PATIENCE_MS)
            page.add_init_script(WATCH)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
            page.goto(url)
            return page

        opened.complaints = complaints  # type: ignore[attr-defined]
        yield opened
    assert not complaints
