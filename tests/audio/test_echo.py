"""The agent's own voice must not interrupt the agent; a caller must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.agent.interruption import AgentAudible, Interruption
from stretto.audio.echo import DELAY_S, KEPT, MARGIN_S, EchoCanceller
from stretto.audio.pcm import FRAME, RATE, Frame, Int16, frames, read_audio
from stretto.audio.synthesise import Synthesiser, clauses
from stretto.audio.vad import VAD

SAID = (
    "Welcome to the concierge. I have found three restaurants near the station. The first one is Italian and "
    "quite expensive. The second one serves fish, and it has a table at eight. Which one shall I book?"
)
GAIN = 0.5
"""-6 dB."""


@pytest.fixture(scope="module")
def agent(synthesiser: Synthesiser) -> Int16:
    """The agent's words with half a second of silence around them, at the voice's own rate (22,050 Hz)."""
    assert synthesiser.rate == 22_050
    silence = np.zeros(synthesiser.rate // 2, np.int16)
    spoken = [chunk.pcm for clause in clauses(SAID) for chunk in synthesiser.synthesise(clause)]
    return np.concatenate([silence, *spoken, silence])


@pytest.fixture(scope="module")
def human(clips: dict[Path, str]) -> Int16:
    """Three seconds of a person who reads."""
    pcm = read_audio(next(path for path in clips if path.name == "austen-0870.flac"))
    return pcm[: 3 * RATE]


def microphone(
    played: Int16, rate: int, delay_ms: float, caller: Int16 | None = None, at: float = 0.0
) -> Int16:
    """What the microphone hears at 16 kHz: the echo at -6 dB, and the caller from `at` seconds on."""
    heard = soxr.resample(played.astype(np.float32) * GAIN, rate, RATE)
    echo = np.concatenate([np.zeros(round(delay_ms * RATE / 1000)), heard])[: len(heard)]
    if caller is not None:
        start = round(at * RATE)
        echo[start : start + len(caller)] += caller[: len(echo) - start]
    return np.clip(np.rint(echo), -32768, 32767).astype(np.int16)


def cleaned(near: Int16, played: Int16, rate: int) -> list[Frame]:
    """Block by block, as devices do it: what is played is handed over before the frame of the same time."""
    echo, block = EchoCanceller(rate), rate // 50
    out = []
    for number, frame in enumerate(frames(near, 100.0)):
        echo.played(played[number * block : (number + 1) * block], 100.0 + number * 0.02)
        out.append(echo.clean(frame))
    return out


def stops(heard: list[Frame]) -> list[float]:
    """Times (s from the start) at which the session would silence an agent who speaks all the time."""
    vad, interruption, found = VAD(), Interruption(), []
    for frame in heard:
        now = frame.at + FRAME / RATE
        events: list[Any] = [AgentAudible(), *vad.feed(frame)]
        found += [now - 100.0 for event in events if interruption.feed(event, now)]
    return found


def loudness(pcm: Int16) -> float:
    return float(10 * np.log10(np.mean(np.square(pcm.astype(float))) + 1e-3))


def pcm_of(heard: list[Frame]) -> Int16:
    return np.concatenate([frame.pcm for frame in heard])


@pytest.mark.parametrize("rate", [22_050, 24_000, 48_000])
def test_the_agents_voice_never_interrupts_the_agent(agent: Int16, rate: int) -> None:
    played = soxr.resample(agent, 22_050, rate)
    near = microphone(played, rate, 80)
    assert len(stops(list(frames(near, 100.0)))) >= 1, "without cancelling it does"
    assert stops(cleaned(near, played, rate)) == []


def test_a_caller_who_speaks_over_the_agent_interrupts(agent: Int16, human: Int16) -> None:
    near = microphone(agent, 22_050, 80, human, at=4.0)
    first, *_ = stops(cleaned(near, agent, 22_050))
    assert 4.0 < first < 5.0
    # A softer one, too: 6 dB below.
    near = microphone(agent, 22_050, 80, (human * 0.5).astype(np.int16), at=4.0)
    first, *_ = stops(cleaned(near, agent, 22_050))
    assert 4.0 < first < 6.0


@pytest.mark.parametrize("delay_ms", [25, 60, 250, 450])
def test_the_delay_is_found(agent: Int16, delay_ms: float) -> None:
    near = microphone(agent, 22_050, delay_ms)
    heard = cleaned(near, agent, 22_050)
    assert stops(heard) == []
    settled = slice(2 * RATE, None)
    assert loudness(near[settled]) - loudness(pcm_of(heard)[settled]) > 30


def test_what_was_played_must_be_told_before_it_is_heard(agent: Int16) -> None:
    # The reason for the time line: a reference that comes after its echo is worth nothing.
    near = microphone(agent, 22_050, 0)
    late = np.concatenate([np.zeros(2205, np.int16), agent])[: len(agent)]
    heard = cleaned(near, late, 22_050)
    assert loudness(near[2 * RATE :]) - loudness(pcm_of(heard)[2 * RATE :]) < 20


def test_a_gap_in_what_is_played_does_no_lasting_harm(agent: Int16) -> None:
    """The speaker ran dry for 60 ms: what follows comes later, and its times say so."""
    block, hole, echo = 441, 150, EchoCanceller(22_050)
    moved = np.concatenate([agent[: hole * block], np.zeros(3 * block, np.int16), agent[hole * block :]])
    near = microphone(moved, 22_050, 80)
    heard = []
    for number, frame in enumerate(frames(near, 100.0)):
        if not hole <= number < hole + 3:
            echo.played(moved[number * block : (number + 1) * block], 100.0 + number * 0.02)
        heard.append(echo.clean(frame))
    assert stops(heard) == []


def test_the_caller_alone_passes_8_ms_later_and_the_times_say_so(human: Int16) -> None:
    echo = EchoCanceller(24_000)
    heard = [echo.clean(frame) for frame in frames(human, 5.0)]
    pcm, lag = pcm_of(heard), round(DELAY_S * RATE)
    assert heard[0].at == pytest.approx(5.0 - DELAY_S)
    scores = [float(np.dot(human[: 2 * RATE].astype(float), pcm[n : n + 2 * RATE])) for n in range(400)]
    assert abs(int(np.argmax(scores)) - lag) <= 1
    assert abs(loudness(pcm[lag:]) - loudness(human[:-lag])) < 1


@pytest.mark.parametrize("moved_ms", [-150, 150])
def test_when_the_delay_jumps_the_agent_still_does_not_interrupt_itself(agent: Int16, moved_ms: int) -> None:
    """The machine stood still: from then on the echo is earlier or later by far, and the clock tells it."""
    block, torn, echo = 441, 200, EchoCanceller(22_050)
    near = np.concatenate(
        [
            microphone(agent, 22_050, 200)[: torn * FRAME],
            microphone(agent, 22_050, 200 + moved_ms)[torn * FRAME :],
        ]
    )
    heard = []
    for number, frame in enumerate(frames(near, 100.0)):
        if not torn <= number < torn + 3:
            echo.played(agent[number * block : (number + 1) * block], 100.0 + number * 0.02)
        heard.append(echo.clean(frame))
    assert stops(heard) == []
    gap = pcm_of(heard)[(torn + 10) * FRAME : (torn + 45) * FRAME]
    assert not gap.any(), "while the delay is not known, nothing passes"
    assert any(frame.pcm.any() for frame in heard[torn + 60 :]), "and then it does again"


def test_a_tear_while_the_agent_is_silent_costs_the_caller_nothing(human: Int16) -> None:
    echo = EchoCanceller(RATE)
    for number, frame in enumerate(frames(human[: 2 * RATE], 5.0)):
        late = 0.3 if number > 20 else 0.0
        echo.played(np.zeros(FRAME, np.int16), 5.0 + number * 0.02 + late)
        assert number == 0 or echo.clean(frame).pcm.any()


class Ears:
    """Stands where the library is, and keeps the reference that it is given."""

    def __init__(self) -> None:
        self.reference: list[Int16] = []

    def process(self, near: Int16, far: Int16) -> Int16:
        self.reference.append(far)
        return near


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(1, 900), st.integers(0, 3 * KEPT // 2)), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
    origin=st.floats(0, 1e6),
)
def test_a_frame_lies_beside_what_was_played_at_its_time(
    pieces: list[tuple[int, int]], seed: int, origin: float
) -> None:
    """Pieces of any length with gaps between them, against a plain array."""
    rng, echo, ears = np.random.default_rng(seed), EchoCanceller(RATE), Ears()
    echo._canceller = ears  # type: ignore[assignment]
    whole, first = np.zeros(0, np.int16), round(origin * RATE)
    for length, gap in pieces:
        if gap > 2:  # closer than that counts as rounding
            whole = np.concatenate([whole, np.zeros(gap, np.int16)])
        pcm = rng.integers(-30000, 30000, length).astype(np.int16)
        echo.played(pcm, (first + len(whole)) / RATE)
        whole = np.concatenate([whole, pcm])
        echo._next = None
        begin = first + len(whole) - int(rng.integers(0, KEPT - FRAME))
        echo.clean(Frame(np.zeros(FRAME, np.int16), begin / RATE + MARGIN_S))
        wanted = np.arange(begin - first, begin - first + FRAME)
        inside = (wanted >= 0) & (wanted < len(whole))
        expected = np.where(inside, whole[np.clip(wanted, 0, len(whole) - 1)], 0)
        assert np.array_equal(ears.reference[-1], expected)


def test_the_speaker_may_be_silent_for_long() -> None:
    """Nothing of before comes back when the time line goes round."""
    echo, ears = EchoCanceller(RATE), Ears()
    echo._canceller = ears  # type: ignore[assignment]
    echo.played(np.full(KEPT, 5, np.int16), 10.0)
    for second in range(11, 20):
        echo.clean(Frame(np.zeros(FRAME, np.int16), float(second) + 2))
    assert not any(far.any() for far in ears.reference)


def test_the_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from stretto.audio.devices import DeviceError

    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with pytest.raises(DeviceError, match=r"stretto\[mic\].*--no-echo-cancelling"):
        EchoCanceller(RATE)
