"""A real browser before a real server: real ears, a real voice, a language model that says what a test wants.

The server runs in a thread with a loop of its own, behind a line that a test can cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import wave
from collections.abc import Callable, Iterator
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
    brain: Any
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
def place(ears: Recogniser, throat: Synthesiser, brain: Any) -> Place:
    return Place(ears, throat, brain)


# ---------------------------------------------------------------------- the caller


@dataclass
class Caller:
    """Makes recordings for the browser's microphone; `parts`: words to say, clips, seconds of silence."""

    throat: Synthesiser
    folder: Path

    def recording(self, *parts: str | Path | float) -> Path:
        pieces = []
        said: dict[str, np.ndarray] = {}
        for part in parts:
            if isinstance(part, str):
                if part not in said:
                    pcm = np.concatenate([chunk.pcm for chunk in self.throat.synthesise(part)])
                    said[part] = soxr.resample(pcm, self.throat.rate, RATE)
                pieces.append(said[part])
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
