"""The time from the caller's last sample to the agent's first one, from a recorded file alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.audio.pcm import write_wav
from stretto.demo.voice_to_voice import answers_ms, read_agent

RATE = 24_000


def agent_channel(spans_ms: list[tuple[float, float]], seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    pcm = rng.integers(-60, 60, int(seconds * RATE)).astype(np.int16)  # the voice's own hiss is no answer
    for start, end in spans_ms:
        pcm[int(start * RATE / 1000) : int(end * RATE / 1000)] = 6000
    return pcm


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(300, 3000), st.integers(80, 2500)), min_size=1, max_size=8),
)
def test_it_finds_the_truth(turns: list[tuple[int, int]]) -> None:
    at, starts, ends, spans = 0.0, [], [], []
    for length, gap in turns:
        starts.append(at)
        ends.append(at + length)
        spans.append((at + length + gap, at + length + gap + 700))
        at = spans[-1][1] + 500
    found = answers_ms(agent_channel(spans, at / 1000 + 1), RATE, ends, starts)
    assert found == [pytest.approx(gap, abs=0.1) for _, gap in turns]


def test_no_answer_is_none() -> None:
    agent = agent_channel([(5000, 5500)], 8)
    # the agent speaks only after the caller's second turn began, and was talking when that ended
    assert answers_ms(agent, RATE, [1000, 5200], [0, 4000]) == [None, None]
    assert answers_ms(np.zeros(0, np.int16), RATE, [1000], [0]) == [None]


def test_the_file_of_a_call(tmp_path: Path) -> None:
    stereo = np.stack([np.zeros(4 * RATE, np.int16), agent_channel([(2000, 3000)], 4)], axis=1)
    write_wav(tmp_path / "call.wav", stereo, RATE)
    agent, rate = read_agent(tmp_path / "call.wav")
    assert answers_ms(agent, rate, [1400], [0]) == [pytest.approx(600, abs=0.1)]
    write_wav(tmp_path / "mono.wav", stereo[:, 1], RATE)
    with pytest.raises(ValueError, match="two"):
        read_agent(tmp_path / "mono.wav")
