"""Devices: which there are, streams over them, and what happens when they fail.

The library is replaced here only to force faults; real streams run in tests/integration/test_talk.py.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.audio import streams
from stretto.audio.devices import Device, DeviceError, DeviceLost, devices, find, level_dbfs
from stretto.audio.jitter_buffer import JitterBuffer
from stretto.audio.pcm import FRAME, RATE, Int16
from stretto.audio.stream_clock import DRIFT_S, JITTER_S, StreamClock
from stretto.audio.streams import Microphone, Speaker

# ---------------------------------------------------------------------- which devices

SOME = [
    Device(0, "HDA Intel PCH: ALC257", 2, 2, 48_000),
    Device(1, "USB Headset", 1, 0, 44_100, microphone=True),
    Device(2, "USB Headset", 0, 2, 44_100),
    Device(3, "USB Headset Pro", 1, 2, 16_000, speaker=True),
    Device(4, "HDMI 3", 0, 8, 48_000),
]


@pytest.mark.parametrize(
    ("kind", "which", "number"),
    [
        ("microphone", None, 1), ("speaker", None, 3), ("microphone", "0", 0), ("speaker", "intel", 0),
        ("microphone", "usb headset", 1), ("speaker", "USB Headset", 2), ("speaker", "pro", 3),
        ("speaker", "hdmi 3", 4),
    ],
)  # fmt: skip
def test_a_device_is_found_by_number_name_or_part_of_it(kind: Any, which: str | None, number: int) -> None:
    assert find(kind, which, SOME).number == number


def test_the_first_that_can_is_taken_where_the_system_names_none() -> None:
    assert find("speaker", None, [SOME[1], SOME[4]]).number == 4


@pytest.mark.parametrize(
    ("kind", "which", "told"),
    [
        ("speaker", "usb", "names 2 speakers: 2 USB Headset, 3 USB Headset Pro"),
        ("microphone", "4", "no microphone '4'"),  # it has no inputs
        ("microphone", "webcam", "There are: 0 HDA"),
    ],
)
def test_a_name_that_fits_none_or_several_is_told(kind: Any, which: str, told: str) -> None:
    with pytest.raises(DeviceError, match=told):
        find(kind, which, SOME)


def test_no_device_at_all_is_told_with_what_to_install() -> None:
    with pytest.raises(DeviceError, match=r"no microphone on this machine.*libportaudio2"):
        find("microphone", None, [SOME[4]])


def test_the_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DeviceError, match=r"pip install 'stretto\[mic\]'"):
        devices()


def test_the_missing_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeviceError, match=r"PortAudio library not found.*apt-get install libportaudio2"):
        devices()


def test_levels_are_decibels_of_full_scale() -> None:
    assert level_dbfs(np.full(100, -32768, np.int16)) == pytest.approx(0.0)
    sine = (32767 * np.sin(np.arange(16_000) * 0.1)).astype(np.int16)
    assert level_dbfs(sine) == pytest.approx(-3.01, abs=0.02)
    assert level_dbfs((sine // 10).astype(np.int16)) == pytest.approx(-23.01, abs=0.1)
    assert level_dbfs(np.zeros(10, np.int16)) == level_dbfs(np.zeros(0, np.int16)) == -100.0


# ---------------------------------------------------------------------- time and jitter


@given(
    late=st.lists(st.floats(0.0, 0.3), min_size=5, max_size=400),
    playing=st.booleans(),
    origin=st.floats(0.0, 1e6),
)
def test_the_time_of_samples_keeps_its_bound_and_late_callbacks_move_it_little(
    late: list[float], playing: bool, origin: float
) -> None:
    """True times are known here: a callback comes up to 0.3 s after its block was captured, or before it is
    played."""
    clock, called, ends = StreamClock(RATE, playing=playing), origin, []
    for number, delay in enumerate(late):
        true = origin + number * 0.02
        called = max(called, true + 0.02 + delay if not playing else true - 0.3 + delay)
        at = clock.block(FRAME, called)
        if playing:
            assert called - JITTER_S - 1e-6 <= at <= true + 1e-6
        else:
            assert true - 1e-6 <= at <= called - 0.02 + JITTER_S + 1e-6
        ends.append(at - number * 0.02)
    moves = np.abs(np.diff(ends))
    assert np.all((moves < 1e-6) | (moves > JITTER_S))


@pytest.mark.parametrize("drift", [-8e-5, 8e-5])
@pytest.mark.parametrize("playing", [False, True])
def test_a_device_whose_clock_runs_away_is_followed(drift: float, playing: bool) -> None:
    clock = StreamClock(RATE, playing=playing)
    for number in range(50 * 1200):
        due = number * 0.02 * (1 + drift)
        at = clock.block(FRAME, due if playing else due + 0.02)
        assert abs(at - due) <= DRIFT_S + 0.002


def test_callbacks_that_come_late_now_and_then_move_nothing() -> None:
    """The device's buffer hides them, so the sound is not late."""
    clock, starts = StreamClock(RATE, playing=True, jitter_s=0.05), []
    for number in range(50 * 60):
        late = 0.045 if number % 97 == 5 else 0.0
        starts.append(clock.block(FRAME, number * 0.02 + late, silent=False) - number * 0.02)
    assert np.ptp(starts) < 1e-6
    # One that the buffer cannot hide is a gap, and what follows is later.
    later = clock.block(FRAME, 60.0 + 0.3, silent=False)
    assert later == pytest.approx(60.3)


def test_a_clock_that_ran_away_is_not_followed_in_the_middle_of_a_word() -> None:
    clock, number = StreamClock(RATE, playing=True), 0
    for number in range(400):  # from the 100th block on, 50 ms were left out
        called = number * 0.02 - (0.05 if number >= 100 else 0.0)
        at = clock.block(FRAME, called, silent=False)
    assert at == pytest.approx(number * 0.02)
    number += 1
    assert clock.block(FRAME, number * 0.02 - 0.05) == pytest.approx(number * 0.02 - 0.05)


def test_lost_samples_are_not_waited_for() -> None:
    clock = StreamClock(RATE, playing=False)
    for number in range(10):
        clock.block(FRAME, number * 0.02 + 0.02)
    clock.lost()
    assert clock.block(FRAME, 1.02) == pytest.approx(1.0)


@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=200),
    target=st.integers(1, 400),
)
def test_the_jitter_buffer_is_bounded_and_keeps_the_order(steps: list[tuple[bool, int]], target: int) -> None:
    buffer, limit, number, got = JitterBuffer(target, 1000), 1000, 100, []
    for writes, count in steps:
        if writes:  # loud, so that nothing may be left out or doubled
            buffer.put(np.arange(number, number + count).astype(np.int16))
            number += count
        else:
            piece = buffer.take(count)
            assert len(piece) == count
            got.append(piece[piece != 0])
        assert 0 <= buffer.waiting <= limit
    heard = np.concatenate([*got, np.zeros(0, np.int16)])
    assert np.all(np.diff(heard.astype(int)) > 0)
    assert len(heard) + buffer.waiting + buffer.dropped == number - 100


def test_silence_brings_the_jitter_buffer_back_to_its_target() -> None:
    loud, silent = np.full(20, 500, np.int16), np.zeros(20, np.int16)
    buffer = JitterBuffer(60, 1000)
    for _ in range(20):
        buffer.put(loud)
    assert buffer.waiting == 400 and buffer.take(20).all()
    for _ in range(40):
        buffer.put(silent)
        buffer.take(20)
    assert buffer.waiting <= 80
    buffer.take(buffer.waiting - 10)
    for _ in range(5):  # the device is faster: silence is doubled before the buffer runs dry
        buffer.put(silent)
    assert buffer.waiting >= 60 and buffer.underruns == 0


def test_a_jitter_buffer_that_ran_dry_in_a_word_says_so_and_fills_again() -> None:
    buffer = JitterBuffer(60, 1000)
    assert not buffer.take(20).any() and buffer.underruns == 0
    for _ in range(3):
        buffer.put(np.full(20, 500, np.int16))
    assert buffer.take(80).tolist() == [500] * 60 + [0] * 20 and buffer.underruns == 1
    buffer.put(np.full(20, 500, np.int16))
    assert not buffer.take(20).any(), "it waits for its target"
    with pytest.raises(ValueError, match="target"):
        JitterBuffer(10, 10)


# ---------------------------------------------------------------------- streams


class Library(ModuleType):
    """A PortAudio whose device does what a test wants. `rates`: what it can do, with how many channels."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rates: tuple[tuple[int, int], ...]) -> None:
        super().__init__("sounddevice")
        self.rates = rates
        self.default = SimpleNamespace(device=(0, 0))
        self._exit_handler = lambda: None
        self.streams: list[Any] = []
        self.open_hangs = threading.Event()
        self.open_hangs.set()
        self.close_hangs = threading.Event()
        self.close_hangs.set()
        self.latency = 0.03
        self.now = 1000.0
        """The devices' clock, s."""

    def query_devices(self) -> list[dict[str, Any]]:
        info = {"max_input_channels": 2, "max_output_channels": 2, "default_samplerate": 48_000.0}
        return [{"name": "fake", **info}]

    def check_input_settings(self, samplerate: int, channels: int, **_: Any) -> None:
        if (samplerate, channels) not in self.rates:
            raise self.PortAudioError("Invalid sample rate")

    check_output_settings = check_input_settings

    def RawInputStream(self, **settings: Any) -> Any:
        library = self

        class Stream:
            latency = library.latency
            closed = started = False

            def __init__(self) -> None:
                self.over = threading.Event()

            def start(self) -> None:
                library.open_hangs.wait(20)
                self.started = True

            def abort(self) -> None:
                library.close_hangs.wait(20)

            def close(self) -> None:
                self.closed = True
                self.over.set()

        stream: Any = Stream()
        stream.settings = settings
        self.streams.append(stream)
        return stream

    RawOutputStream = RawInputStream


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library(((16_000, 1), (24_000, 1)))
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    monkeypatch.setattr(streams, "time", SimpleNamespace(monotonic=lambda: library.now))
    return library


def captured(library: Library, pcm: Int16, status: Any = None) -> None:
    """20 ms pass, and the device calls back with them, on a thread of its own."""
    library.now += 0.02
    callback = library.streams[-1].settings["callback"]
    thread = threading.Thread(target=callback, args=(pcm.tobytes(), len(pcm), None, status))
    thread.start()
    thread.join()


async def collect(microphone: Microphone, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        found = []
        async for frame in microphone.frames():
            found.append(frame)
            if len(found) == count:
                break
        return found


def test_frames_come_at_16_khz_in_order_and_with_times(library: Library) -> None:
    async def run() -> None:
        microphone = Microphone()
        await microphone.open()
        assert (microphone.rate, microphone.channels, microphone.latency_ms) == (16_000, 1, 30.0)
        for number in range(5):
            captured(library, np.full(FRAME, number, np.int16))
        found = await collect(microphone, 5)
        assert [int(frame.pcm[0]) for frame in found] == [0, 1, 2, 3, 4]
        assert np.allclose(np.diff([frame.at for frame in found]), 0.02)
        assert found[0].at == pytest.approx(1000.0)
        await microphone.close()
        assert library.streams[-1].closed

    asyncio.run(run())


def test_a_device_that_cannot_do_16_khz_mono_is_resampled_and_mixed(library: Library) -> None:
    library.rates = ((48_000, 2),)
    sine = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000) * 8000
    stereo = np.stack([sine * 2, np.zeros_like(sine)], axis=1).astype(np.int16)

    async def run() -> None:
        microphone = Microphone()
        await microphone.open()
        assert (microphone.rate, microphone.channels) == (48_000, 2)
        for number in range(50):
            captured(library, stereo[number * 960 : (number + 1) * 960])
        found = await collect(microphone, 45)
        pcm = np.concatenate([frame.pcm for frame in found]).astype(float)
        wanted = np.sin(2 * np.pi * 440 * np.arange(len(pcm)) / RATE) * 8000
        assert np.abs(pcm - wanted)[500:].max() < 100, "nothing is shifted, both channels are mixed"
        assert found[0].at == pytest.approx(1000.0, abs=0.001)
        assert np.allclose(np.diff([frame.at for frame in found]), 0.02)
        await microphone.close()

    asyncio.run(run())


def test_a_microphone_that_nobody_reads_loses_the_oldest_and_counts(library: Library) -> None:
    async def run() -> None:
        microphone = Microphone()
        await microphone.open()
        for number in range(streams.BLOCKS_WAITING + 7):
            captured(library, np.full(FRAME, number, np.int16))
        assert microphone.dropped == 7
        found = await collect(microphone, streams.BLOCKS_WAITING)
        assert int(found[0].pcm[0]) == 7
        captured(library, np.zeros(FRAME, np.int16), status="input overflow")
        assert microphone.faults == 1
        await microphone.close()

    asyncio.run(run())


def test_a_device_that_ends_is_lost_at_once(library: Library) -> None:
    async def run() -> None:
        microphone, speaker = Microphone(), Speaker()
        await microphone.open()
        captured(library, np.zeros(FRAME, np.int16))
        await speaker.open(24_000)
        speaker.play(np.zeros(480, np.int16))
        for stream in library.streams:
            stream.settings["finished_callback"]()
        with pytest.raises(DeviceLost, match="microphone fake is gone"):
            await collect(microphone, 2)
        with pytest.raises(DeviceLost, match="speaker fake is gone"):
            speaker.play(np.zeros(480, np.int16))
        await microphone.close()
        await speaker.close()

    asyncio.run(run())


def test_a_device_that_falls_silent_is_lost_after_a_while(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "time", time)
    monkeypatch.setattr(streams, "FIRST_S", 0.4)
    monkeypatch.setattr(streams, "GONE_S", 0.4)

    async def run() -> None:
        for blocks in (0, 3):
            microphone = Microphone()
            await microphone.open()
            for _ in range(blocks):
                captured(library, np.zeros(FRAME, np.int16))
            with pytest.raises(DeviceLost):
                await collect(microphone, blocks + 1)

    asyncio.run(run())


def test_a_process_that_stood_still_loses_no_device(library: Library) -> None:
    async def run() -> None:
        speaker = Speaker()
        await speaker.open(24_000)
        library.streams[-1].settings["callback"](bytearray(960), 480, None, None)
        for passed in (0.1, 0.1, 30.0, 0.02):
            library.now += passed
            speaker.check()
        began = library.now
        with pytest.raises(DeviceLost):
            while library.now < began + 10:
                library.now += 0.05
                speaker.check()
        assert library.now > began + streams.GONE_S / 2

    asyncio.run(run())


def test_a_device_that_does_not_open_or_close_holds_nobody_up(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "OPEN_S", 0.2)
    monkeypatch.setattr(streams, "CLOSE_S", 0.2)

    async def run() -> None:
        library.open_hangs.clear()
        with pytest.raises(DeviceError, match="does not open"):
            await Microphone().open()
        late = library.streams[-1]
        library.open_hangs.set()
        # It opens after all, and nobody wants it any more.
        assert await asyncio.to_thread(late.over.wait, 10)
        speaker = Speaker()
        await speaker.open(24_000)
        library.close_hangs.clear()
        await speaker.close()
        assert not library.streams[-1].closed
        library.close_hangs.set()

    asyncio.run(run())


class Device20ms(threading.Thread):
    """Calls the newest stream back every 20 ms; the first `dry` streams run dry a hundred times a second."""

    def __init__(self, library: Library, dry: int) -> None:
        super().__init__(daemon=True)
        self.library, self.dry, self.over = library, dry, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.01 if len(self.library.streams) <= self.dry else 0.02):
            status = "output underflow" if len(self.library.streams) <= self.dry else None
            if self.library.streams:
                self.library.streams[-1].settings["callback"](bytearray(960), 480, None, status)


@pytest.mark.parametrize("dry", [0, 1])
def test_a_speaker_that_begins_with_gaps_is_opened_again_with_a_larger_buffer(
    dry: int, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "time", time)
    monkeypatch.setattr(streams, "CALM_TRIES", 4)
    library.latency = 0.12  # PortAudio gives what it can, not what it was asked for
    device = Device20ms(library, dry)

    async def run() -> None:
        speaker = Speaker()
        await speaker.open(24_000)
        device.start()
        await speaker.flowing()
        assert len(library.streams) == 1 + dry and all(each.closed for each in library.streams[:dry])
        assert [each.settings["latency"] for each in library.streams] == [0.1, pytest.approx(0.18)][: 1 + dry]
        await asyncio.sleep(0.1)
        told = speaker.played()
        assert told and len(told) < 15, "what came before it flowed does not count"
        await speaker.close()

    asyncio.run(run())
    device.over.set()
    device.join(5)


def test_a_device_that_is_taken_is_told(library: Library) -> None:
    library.rates = ()
    with pytest.raises(DeviceError, match=r"fake cannot be used \(Invalid sample rate\).*--devices"):
        asyncio.run(Speaker().open(24_000))


def test_the_speaker_plays_what_it_got_and_tells_when(library: Library) -> None:
    library.rates = ((24_000, 2),)

    async def run() -> None:
        speaker = Speaker()
        await speaker.open(24_000)
        callback = library.streams[-1].settings["callback"]
        pieces = [np.full(480, 100 + number, np.int16) for number in range(6)]
        for piece in pieces:
            speaker.play(piece)
        got, before = [], library.now
        for _ in range(6):
            data = bytearray(480 * 2 * 2)
            callback(data, 480, None, None)
            got.append(np.frombuffer(bytes(data), np.int16).reshape(-1, 2))
        both = np.concatenate(got)
        assert np.array_equal(both[:, 0], both[:, 1])
        assert np.array_equal(both[:, 0], np.concatenate(pieces))
        told = speaker.played()
        assert np.array_equal(np.concatenate([pcm for pcm, _ in told]), np.concatenate(pieces))
        assert told[0][1] >= before and speaker.played() == []
        # Six callbacks at once do not play six pieces at once.
        assert np.allclose(np.diff([at for _, at in told]), 0.02)
        await speaker.close()

    asyncio.run(run())


def test_no_sound_server_no_device_and_no_hang(tmp_path: Path) -> None:
    """The real library, where nothing is connected."""
    pytest.importorskip("_sounddevice")
    program = "from stretto.audio.devices import find\nfind('microphone')"
    environment = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    # A machine with a sound card of its own finds that one.
    assert done.returncode == 0 or "there is no microphone" in last or "PortAudio" in last
