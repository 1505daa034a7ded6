"""Both sides of a call land on one clock, and what came late is heard late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.agent.ways_in.stereo import SLACK_S, StereoRecorder, lay

RATE = 24_000
FRAME = RATE // 50


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def tone(count: int, value: int = 9000) -> np.ndarray:
    return np.full(count, value, np.int16)


def test_both_sides_are_on_one_clock(tmp_path: Path) -> None:
    clock = Clock()
    recorder = StereoRecorder(RATE, clock)
    recorder.caller(tone(1600), 100.5)
    recorder.agent(tone(FRAME), 101.25)
    both = recorder.save(tmp_path / "call.wav", 100.0)
    samples, rate = soundfile.read(tmp_path / "call.wav", dtype="int16")
    assert rate == RATE and np.array_equal(samples, both)
    left, right = np.flatnonzero(np.abs(both[:, 0].astype(int)) > 4500), np.flatnonzero(both[:, 1])
    assert abs(left[0] - 0.5 * RATE) <= 2 and abs(left[-1] - 0.6 * RATE) <= 2
    assert right[0] == 1.25 * RATE and len(right) == FRAME


def test_what_was_before_the_pick_up_is_left_out() -> None:
    recorder = StereoRecorder(16_000, Clock())
    recorder.caller(tone(320, 1), 99.0)
    recorder.caller(tone(320, 2), 99.99)
    both = recorder.stereo(100.0)
    assert len(both) == 160 and set(both[:, 0]) == {2}


def test_a_call_that_was_never_picked_up_is_an_empty_recording(tmp_path: Path) -> None:
    recorder = StereoRecorder(RATE, Clock())
    recorder.caller(tone(320), 100.0)
    recorder.agent(tone(FRAME), 100.0)
    assert recorder.save(tmp_path / "call.wav", 101.0).shape == (0, 2)
    assert soundfile.info(tmp_path / "call.wav").frames == 0


def test_a_late_frame_leaves_a_gap_and_silence_makes_up_for_it() -> None:
    clock = Clock()
    recorder = StereoRecorder(RATE, clock)
    due = 100.0
    assert recorder.agent(tone(FRAME), due) == due
    clock.now = 100.3  # the loop stalled: the next frames come 280 ms late
    for number in range(1, 4):
        recorder.agent(tone(FRAME, number), due + number * 0.02)
    recorder.agent(np.zeros(FRAME, np.int16), 100.4)
    clock.now = 101.0
    assert recorder.agent(tone(FRAME, 4), 101.0) == 101.0
    agent = recorder.stereo(100.0)[:, 1]
    assert recorder.underruns == 1
    assert not agent[FRAME : int(0.3 * RATE)].any()
    late = agent[int(0.3 * RATE) :][: 3 * FRAME]
    assert [set(late[n * FRAME : (n + 1) * FRAME]) for n in range(3)] == [{1}, {2}, {3}]
    assert agent[RATE] == 4


def test_jitter_within_the_slack_is_no_under_run() -> None:
    clock = Clock()
    recorder = StereoRecorder(RATE, clock)
    for number in range(20):
        clock.now = 100.0 + number * 0.02 + (SLACK_S - 0.001) * (number % 2)
        recorder.agent(tone(FRAME), 100.0 + number * 0.02)
    assert recorder.underruns == 0 and recorder.stereo(100.0)[:, 1].all()


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1e6), st.integers(1, 200), st.sampled_from([16_000, 24_000]))
def test_frames_that_follow_each_other_are_never_torn(started: float, count: int, rate: int) -> None:
    frame = rate // 50
    pieces = [(started + 0.5 + n * 0.02, np.full(frame, n + 1, np.int16)) for n in range(count)]
    channel = lay(pieces, started, rate)
    sound = np.flatnonzero(channel)
    assert len(sound) == count * frame == sound[-1] - sound[0] + 1
    assert abs(sound[0] - 0.5 * rate) <= 1
