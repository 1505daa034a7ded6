"""Microphone and speaker as streams, through PortAudio.

PortAudio calls back on threads of its own; the callbacks here only move bytes and never wait. Whatever may
block (opening, closing, a sound server that hangs) happens on a thread that nobody waits for longer than a
while, so a broken device can neither stop the event loop nor the program.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, TypeVar

import numpy as np
from stretto.audio.devices import DeviceError, DeviceLost, Kind, find, portaudio
from stretto.audio.jitter_buffer import JitterBuffer
from stretto.audio.pcm import FRAME, RATE, Frame, Int16, Resampler
from stretto.audio.stream_clock import JITTER_S, StreamClock

log = logging.getLogger("stretto.audio")

T = TypeVar("T")
Latency = float | Literal["low", "high"]
"""Seconds, or what the device suggests."""

LATENCY_S = 0.1
"""Asked of a device by default. What PortAudio suggests for PulseAudio (35 ms) runs dry on a busy machine,
and the echo of torn audio cannot be cancelled."""
BLOCK_S = 0.02
"""Audio in one callback."""
BLOCKS_WAITING = 100
"""Blocks of the microphone (2 s) that wait at most; then the oldest are lost and counted."""
LARGEST_MARGIN_S = 0.1
"""See `Speaker.margin_s`."""
TARGET_S, LIMIT_S = 0.06, 1.0
"""What waits for the speaker, usually and at most."""
OPEN_S, CLOSE_S = 15.0, 2.0
"""Patience with a device that does not open or close."""
FIRST_S, GONE_S = 6.0, 2.0
"""A device that brings nothing for so long, at first and later, is gone."""
CHECK_S = 0.1
FLOWING_S = 0.3
"""A device runs when it has called back for so long, as often as it should and without a fault."""
CALM_TRIES, ATTEMPTS = 10, 3
"""If it does not after so many times, it is opened again with a larger buffer."""


async def _beside(call: Callable[[], T], timeout_s: float) -> T:
    """Run `call` on a thread of its own; raises `TimeoutError` and leaves the thread alone if it hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failed = None, None
        try:
            result = call()
        except Exception as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=work, name="stretto-device", daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await done


class _Stream:
    """What a microphone and a speaker have in common: opening, closing, and noticing that it is gone."""

    kind: Kind

    def __init__(self, which: str | None = None, latency: Latency = LATENCY_S) -> None:
        self.name = which or "default"
        self.rate = 0
        """The device's own sample rate, Hz; known once it is open, as are the two below."""
        self.channels = 0
        self.latency_ms = 0.0
        """What the device says that it keeps back."""
        self.faults = 0
        """Blocks that PortAudio says were lost or came too late."""
        self._which, self._wanted_latency, self._asked_rate = which, latency, 0
        self._stream: Any = None
        self._called: float | None = None
        self._blocks_called = 0
        self._finished = False
        self._abandoned = False
        self._seen: float | None = None
        self._checked: float | None = None
        self._still_s = 0.0

    async def open(self, rate: int) -> None:
        """Open at `rate` Hz if the device can, else at its own rate. Raises `DeviceError`."""
        self._asked_rate = rate
        try:
            self._stream = await _beside(lambda: self._opened(rate), OPEN_S)
        except TimeoutError as error:
            self._abandoned = True
            raise DeviceError(
                f"the {self.kind} {self.name} does not open: is the sound server alive?"
            ) from error
        except asyncio.CancelledError:
            self._abandoned = True
            raise

    async def flowing(self) -> None:
        """Wait until audio really flows: a device that slept fills its buffer, then takes a second to wake;
        some run dry a few hundred times before they get going. Raises `DeviceLost` if it never does."""
        for attempt in range(ATTEMPTS):
            if await self._calm():
                break
            # PulseAudio's plug-in for ALSA may begin with running dry and never get out of it.
            if attempt < ATTEMPTS - 1:
                log.warning("the %s %s has gaps: it is opened again", self.kind, self.name)
                await self.close()
                self._wanted_latency = max(LATENCY_S, 1.5 * self.latency_ms / 1000)
                self._called, self._finished, self._blocks_called, self._still_s = None, False, 0, 0.0
                await _Stream.open(self, self._asked_rate)
        self._flows()

    async def _calm(self) -> bool:
        """Wait until the device calls back as often as it should and without a fault; False if it does not
        in time."""
        for _ in range(CALM_TRIES):
            faults, blocks = self.faults, self._blocks_called
            for _ in range(round(FLOWING_S / BLOCK_S)):
                self.check()
                await asyncio.sleep(BLOCK_S)
            pace = (self._blocks_called - blocks) * BLOCK_S / FLOWING_S
            if self.faults == faults and 0.5 < pace < 2:
                return True
        return False

    def _flows(self) -> None:
        """What came before does not count."""

    async def close(self) -> None:
        """Stop at once; a device that hangs is left behind."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            await _beside(lambda: (stream.abort(), stream.close()), CLOSE_S)
        except TimeoutError:
            # At its exit the program would wait for this device, for ever.
            atexit.unregister(portaudio()._exit_handler)
        except Exception as error:
            log.warning("the %s %s does not close: %s", self.kind, self.name, error)

    def check(self) -> None:
        """Raises `DeviceLost` if the device is gone. Call it several times a second."""
        now = time.monotonic()
        # When the whole process stood still, the callbacks did too: then little of the time counts.
        passed = 0.0 if self._checked is None else min(now - self._checked, CHECK_S)
        self._checked = now
        self._still_s = self._still_s + passed if self._called == self._seen else 0.0
        self._seen = self._called
        if self._finished or self._still_s > (FIRST_S if self._called is None else GONE_S):
            raise DeviceLost(f"the {self.kind} {self.name} is gone: was it unplugged?")

    def _opened(self, rate: int) -> Any:
        library = portaudio()
        device = find(self.kind, self._which)
        self.name = device.name
        side = "input" if self.kind == "microphone" else "output"
        check = getattr(library, f"check_{side}_settings")
        error: Exception | None = None
        for self.rate, self.channels in ((rate, 1), (rate, 2), (device.rate, 1), (device.rate, 2)):
            settings = {
                "device": device.number,
                "samplerate": self.rate,
                "channels": self.channels,
                "dtype": "int16",
            }
            try:
                check(**settings)
                stream = getattr(library, f"Raw{side.capitalize()}Stream")(
                    **settings,
                    blocksize=round(self.rate * BLOCK_S),
                    latency=self._wanted_latency,
                    callback=self._callback,
                    finished_callback=self._over,
                )
            except (library.PortAudioError, ValueError) as failed:
                error = failed
                continue
            self.latency_ms = float(stream.latency) * 1000
            self._ready()
            stream.start()
            if self._abandoned:  # too late: whoever wanted it has gone
                stream.abort()
                stream.close()
            return stream
        raise DeviceError(
            f"the {self.kind} {device.name} cannot be used ({error}): close the program that holds it, or "
            f"name another one; `stretto talk --devices` lists them"
        )

    def _ready(self) -> None:
        """Rate and channels are known; the first callback may come."""

    def _callback(self, data: Any, samples: int, times: Any, status: Any) -> None:
        raise NotImplementedError

    def _over(self) -> None:
        self._finished = True


class Microphone(_Stream):
    """What is heard, as 20 ms frames at 16 kHz. Open it, iterate over `frames`, close it."""

    kind = "microphone"

    def __init__(self, which: str | None = None, latency: Latency = LATENCY_S) -> None:
        super().__init__(which, latency)
        self.dropped = 0
        """Blocks lost because nobody took them in time."""
        self._blocks: deque[tuple[bytes, float]] = deque()
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost = False

    async def open(self, rate: int = RATE) -> None:
        """Open at 16 kHz if the device can, else at its own rate. Raises `DeviceError`."""
        self._loop = asyncio.get_running_loop()
        await super().open(rate)

    async def frames(self) -> AsyncIterator[Frame]:
        """Every frame, its time on the monotonic clock (s) as close as callbacks tell. Never ends by itself;
        raises `DeviceLost`."""
        resampler, clock = Resampler(self.rate, RATE), StreamClock(self.rate, playing=False)
        pending, taken, given = np.zeros(0, np.int16), 0, 0
        while True:
            while self._blocks:
                data, called = self._blocks.popleft()
                if self._lost:
                    self._lost = False
                    clock.lost()
                pcm = np.frombuffer(data, np.int16)
                if self.channels > 1:
                    pcm = pcm.reshape(-1, self.channels).mean(axis=1).astype(np.int16)
                began = clock.block(len(pcm), called) - taken / self.rate
                taken += len(pcm)
                pending = np.concatenate([pending, resampler.feed(pcm)])
                while len(pending) >= FRAME:  # the resampler keeps some back: count what it gave
                    yield Frame(pending[:FRAME], began + given / RATE)
                    pending, given = pending[FRAME:], given + FRAME
            self.check()
            self._news.clear()
            if not self._blocks:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_S):
                        await self._news.wait()

    def _callback(self, data: Any, samples: int, times: Any, status: Any) -> None:
        called = time.monotonic()
        if status:
            self.faults += 1
            self._lost = True
        if len(self._blocks) >= BLOCKS_WAITING:
            with contextlib.suppress(IndexError):
                self._blocks.popleft()
            self.dropped += 1
            self._lost = True
        self._blocks.append((bytes(data), called))
        self._called = called
        self._blocks_called += 1
        self._wake()

    def _over(self) -> None:
        super()._over()
        self._wake()

    def _wake(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._news.set)


class Speaker(_Stream):
    """Plays 20 ms pieces behind a small jitter buffer, and tells what was played when."""

    kind = "speaker"

    def __init__(self, which: str | None = None, latency: Latency = LATENCY_S) -> None:
        super().__init__(which, latency)
        self.buffer = JitterBuffer(1, 2)
        self._resampler = Resampler(RATE, RATE)
        self._clock = StreamClock(RATE, playing=True)
        self._played: deque[tuple[Int16, float]] = deque(maxlen=BLOCKS_WAITING)

    async def open(self, rate: int) -> None:
        """Open for audio at `rate` Hz; it is resampled where the device cannot play that. Raises
        `DeviceError`."""
        await super().open(rate)

    @property
    def margin_s(self) -> float:
        """Seconds that surely pass between the time that `played` tells and the sound: half of what the
        device keeps back."""
        return min(LARGEST_MARGIN_S, self.latency_ms / 2000)

    def play(self, pcm: Int16) -> None:
        """The next piece, int16 at the rate it was opened for. Raises `DeviceLost`."""
        self.check()
        self.buffer.put(self._resampler.feed(pcm))

    def played(self) -> list[tuple[Int16, float]]:
        """What went to the device since the last call, silence too: int16 at the device's `rate`, and the
        time (s) before which none of it is heard. The last 2 s at most."""
        news = []
        while self._played:
            pcm, called = self._played.popleft()
            news.append((pcm, self._clock.block(len(pcm), called, silent=not pcm.any())))
        return news

    def _ready(self) -> None:
        self._resampler = Resampler(self._asked_rate, self.rate)
        self._clock = StreamClock(self.rate, playing=True, jitter_s=max(JITTER_S, self.margin_s))
        self.buffer = JitterBuffer(round(self.rate * TARGET_S), round(self.rate * LIMIT_S))

    def _flows(self) -> None:
        # The blocks that filled the device's buffer at once say nothing of the times of those to come.
        self._played.clear()
        self._clock.lost()

    def _callback(self, data: Any, samples: int, times: Any, status: Any) -> None:
        called = time.monotonic()
        self.faults += bool(status)
        pcm = self.buffer.take(samples)
        data[:] = np.repeat(pcm, self.channels).tobytes()
        self._played.append((pcm, called))
        self._called = called
        self._blocks_called += 1
