"""A call in a room: what the loudspeaker plays is heard by the microphone.

Real voice, detector, canceller and session, in virtual time; only the devices are made of arrays.
"""

from __future__ import annotations

import asyncio
import io
import os
import pty
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent import events
from stretto.agent.cli import UsageError
from stretto.agent.session import Session, SessionOptions
from stretto.agent.ways_in.microphone import MicrophoneCall
from stretto.agent.ways_in.push_to_talk import FIRST_REPEAT_S, RELEASE_S, PushToTalk, check_keys, space_bar
from stretto.agent.ways_in.stereo import RATE_OUT, StereoRecorder
from stretto.audio.devices import DeviceLost, level_dbfs
from stretto.audio.pcm import FRAME, Frame, Int16, Resampler, read_audio
from stretto.audio.recognise import Transcript
from stretto.audio.synthesise import Chunk, Synthesiser

GREETING = (
    "Welcome to the concierge. I have found three restaurants near the station. Which one shall I book?"
)
PATH_FRAMES, PATH_GAIN = 4, 0.5
"""80 ms and -6 dB from the speaker back to the microphone."""


@pytest.fixture(scope="module")
def piper() -> Iterator[Synthesiser]:
    synthesiser = Synthesiser(deterministic=True)
    yield synthesiser
    synthesiser.close()


@pytest.fixture(scope="module")
def human() -> Int16:
    clip = Path(__file__).parents[1] / "audio" / "clips" / "austen-0870.flac"
    return read_audio(clip)[: 3 * 16_000]


class Voice:
    """Piper, without its thread: virtual time does not wait for threads."""

    def __init__(self, piper: Synthesiser) -> None:
        self.rate, self._piper = piper.rate, piper

    async def speak(self, clause: str) -> AsyncIterator[Chunk]:
        for chunk in self._piper.synthesise(clause):
            yield chunk


class Words:
    """A recogniser that always hears the same."""

    paused = False

    def open(self, bias: Any = ()) -> Words:
        return self

    def feed(self, frame: Frame) -> list[Any]:
        return []

    async def final(self, end: float | None = None) -> Transcript:
        return Transcript("The second one.", 0.9, 0.0, 0.0, 1.0)

    def close(self) -> None:
        pass


class Room:
    """Microphone and speaker at once. `caller` speaks from `at` seconds after the first frame on; `gone`: the
    devices vanish then."""

    rate = RATE_OUT
    margin_s = 0.0

    def __init__(self, caller: Int16 | None = None, at: float = 0.0, gone: float | None = None) -> None:
        self.closed = 0
        self._caller = np.zeros(0, np.int16) if caller is None else caller
        self._at, self._gone = at, gone
        self._waiting: list[Int16] = []
        self._news: list[tuple[Int16, float]] = []

    async def open(self, rate: int = 16_000) -> None:
        pass

    async def flowing(self) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1

    def play(self, pcm: Int16) -> None:
        self._waiting.append(pcm)

    def played(self) -> list[tuple[Int16, float]]:
        news, self._news = self._news, []
        return news

    async def frames(self) -> AsyncIterator[Frame]:
        loop = asyncio.get_running_loop()
        start, count, resampler = loop.time(), 0, Resampler(RATE_OUT, 16_000)
        air = np.zeros(PATH_FRAMES * FRAME + 800, np.int16)  # what the resampler keeps back, as well
        while True:
            at = start + count * 0.02
            await asyncio.sleep(max(0.0, at + 0.02 - loop.time()))
            if self._gone is not None and at - start >= self._gone:
                raise DeviceLost("the microphone is gone")
            pcm = self._waiting.pop(0) if self._waiting else np.zeros(480, np.int16)
            self._news.append((pcm, at))
            air = np.concatenate([air, resampler.feed(pcm)])
            heard, air = air[:FRAME].astype(np.float64) * PATH_GAIN, air[FRAME:]
            first = round((at - start - self._at) * 16_000)
            if 0 <= first < len(self._caller) - FRAME:
                heard += self._caller[first : first + FRAME]
            yield Frame(np.clip(heard, -32768, 32767).astype(np.int16), at)
            count += 1


def hold(
    cast: Any,
    piper: Synthesiser,
    room: Room,
    *,
    echo_cancelling: bool = True,
    line_open: Callable[[float], bool] = lambda at: True,
    until: tuple[type[events.Event], ...] = (events.AgentHeard,),
) -> tuple[list[events.Event], Any, Any]:
    """A call until an event of one of the kinds, then somebody hangs up: events, record, caller's channel."""
    seen: list[events.Event] = []

    async def run() -> tuple[Any, Any]:
        loop = asyncio.get_running_loop()
        recorder = StereoRecorder(RATE_OUT, loop.time)
        line = MicrophoneCall(
            room,  # type: ignore[arg-type]
            room,  # type: ignore[arg-type]
            recorder,
            echo_cancelling=echo_cancelling,
            line_open=line_open,
        )
        session = Session(
            recogniser=Words(),
            synthesiser=Voice(piper),
            model=cast.Model(["I have booked it."]),
            sink=line.sink,
            options=SessionOptions(greeting=GREETING, rate=RATE_OUT),
            clock=loop.time,
        )
        stop = asyncio.Event()

        def watch(event: events.Event) -> None:
            seen.append(event)
            if isinstance(event, until):
                stop.set()

        record = await line.hold(session, [watch], stop)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        return record, recorder.stereo(session.started)[:, 0]

    record, caller = cast.run_virtual(run())
    assert room.closed == 2
    return seen, record, caller


def of(seen: list[events.Event], *kinds: type[events.Event]) -> list[Any]:
    return [event for event in seen if isinstance(event, kinds)]


def test_the_agent_never_interrupts_itself(cast: Any, piper: Synthesiser) -> None:
    seen, record, caller = hold(cast, piper, Room())
    assert not of(seen, events.BargeIn, events.CallerSpeaking)
    assert record.turns[0].heard == GREETING and record.ended == "caller"
    assert level_dbfs(caller[48_000:]) < -55, "the recording holds no echo either"


def test_without_cancelling_it_does(cast: Any, piper: Synthesiser) -> None:
    seen, record, caller = hold(cast, piper, Room(), echo_cancelling=False)
    assert of(seen, events.BargeIn) and record.turns[0].heard != GREETING
    assert level_dbfs(caller) > -40


def test_a_caller_who_speaks_over_the_agent_is_heard_and_answered(
    cast: Any, piper: Synthesiser, human: Int16
) -> None:
    seen, record, _ = hold(cast, piper, Room(human, at=2.5), until=(events.Committed,))
    (barge_in,) = of(seen, events.BargeIn)
    assert 2500 < barge_in.at_ms < 3700
    assert record.turns[0].interrupted or record.turns[0].heard != GREETING
    assert any(turn.caller == "The second one." for turn in record.turns)


def test_outside_of_push_to_talk_the_agent_hears_silence(cast: Any, piper: Synthesiser, human: Int16) -> None:
    seen, record, caller = hold(cast, piper, Room(human, at=2.0), line_open=lambda at: False)
    assert not of(seen, events.BargeIn, events.CallerSpeaking) and np.abs(caller).max() <= 1
    assert record.turns[0].heard == GREETING


def test_when_the_line_closes_the_turn_ends_by_silence(cast: Any, piper: Synthesiser, human: Int16) -> None:
    """The line is open for the first two of three seconds of speech."""
    opened: list[float] = []

    def line_open(at: float) -> bool:
        opened.append(at)
        return 8.0 <= at - opened[0] < 10.0

    _, record, _ = hold(
        cast, piper, Room(human, at=8.0), line_open=line_open, until=(events.Committed, events.HangUp)
    )
    (turn,) = [turn for turn in record.turns if turn.caller]
    assert turn.speech_end_ms == pytest.approx(10_000, abs=500)


def test_a_device_that_goes_away_ends_the_call(cast: Any, piper: Synthesiser) -> None:
    seen, record, _ = hold(cast, piper, Room(gone=2.0), until=())
    assert record.ended == "line"
    assert any("the microphone is gone" in event.message for event in of(seen, events.Failure))
    assert of(seen, events.HangUp)[0].at_ms == pytest.approx(2000, abs=200)


# ---------------------------------------------------------------------- the key


def presses(times: list[float]) -> PushToTalk:
    key = PushToTalk()
    for at in times:
        key.press(at)
    return key


def test_a_tap_opens_the_line_until_the_next_one() -> None:
    assert not PushToTalk().talking(0.0)
    assert presses([1.0]).talking(60.0)
    assert not presses([1.0, 5.0]).talking(5.0)
    assert presses([1.0, 5.0, 9.0]).talking(30.0)
    # Two taps in quick succession: the second one might be the first repeat of a held key, for a moment.
    assert presses([1.0, 1.4]).talking(1.45) and not presses([1.0, 1.4]).talking(1.6)


@given(
    first=st.floats(0.26, 0.66),
    every=st.floats(0.02, 0.06),
    repeats=st.integers(2, 200),
    began=st.floats(0.0, 1e5),
)
def test_a_held_key_keeps_the_line_open_until_it_is_let_go(
    first: float, every: float, repeats: int, began: float
) -> None:
    key = PushToTalk()
    times = [began, *(began + first + number * every for number in range(repeats))]
    for now, following in zip(times, [*times[1:], times[-1]], strict=True):
        key.press(now)
        assert key.talking(now) and key.talking((now + following) / 2)
    assert not key.talking(times[-1] + RELEASE_S + 0.01)
    key.press(times[-1] + 1.0)
    assert key.talking(times[-1] + 60.0), "the next tap opens it again"


@given(st.lists(st.floats(FIRST_REPEAT_S + 0.01, 10.0), min_size=1, max_size=30))
def test_slow_taps_toggle(gaps: list[float]) -> None:
    key, now = PushToTalk(), 0.0
    for number, gap in enumerate(gaps):
        now += gap
        key.press(now)
        assert key.talking(now + gap / 2) == (number % 2 == 0)


def test_the_space_bar_of_a_terminal_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    terminal = os.fdopen(theirs, "r")
    monkeypatch.setattr("sys.stdin", terminal)
    before, pressed = termios.tcgetattr(theirs), []

    async def run() -> None:
        heard = asyncio.Event()

        def press() -> None:
            pressed.append(1)
            if len(pressed) == 3:
                heard.set()

        check_keys()
        with space_bar(press):
            os.write(ours, b"x ")
            os.write(ours, b" \n ")  # no line has to be finished
            async with asyncio.timeout(10):
                await heard.wait()

    asyncio.run(run())
    assert pressed == [1, 1, 1]
    assert termios.tcgetattr(theirs) == before, "the terminal is as it was"
    terminal.close()
    os.close(ours)


def test_push_to_talk_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="must be a terminal"):
        check_keys()
