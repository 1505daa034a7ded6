"""The simulated caller's voice: another person than the agent, on a telephone, with pauses where it says."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.audio.pcm import RATE
from stretto.demo.caller_voice import (
    AUDIBLE,
    LEVEL,
    PAUSE_MS,
    PAUSE_SHARE,
    SNR_DB,
    CallerVoice,
    audible_span,
    parts_of,
)

TEXT = "Hello, I would like to book a table for four people on Friday."


@pytest.fixture(scope="module")
def voice() -> Iterator[CallerVoice]:
    voice = CallerVoice(7)
    yield voice
    voice.close()


def test_a_pause_is_silent_and_where_it_says(voice: CallerVoice) -> None:
    spoken = voice.synthesise(TEXT, 0, 0)
    (pause,) = spoken.pauses
    assert PAUSE_MS[0] <= pause.end_ms - pause.start_ms <= PAUSE_MS[1]
    start, end = (round(ms * RATE / 1000) for ms in (pause.start_ms, pause.end_ms))
    assert not spoken.pcm[start:end].any()
    # sound reaches up to it on both sides
    near = int(0.01 * RATE)
    loud = np.abs(spoken.pcm.astype(int)) > AUDIBLE
    assert loud[start - near : start].any() and loud[end : end + near].any()
    assert TEXT.startswith(pause.after) and pause.after != TEXT


def test_it_begins_and_ends_with_its_sound(voice: CallerVoice) -> None:
    pcm = voice.synthesise(TEXT, 1, 9).pcm
    first, last = audible_span(pcm)
    assert first <= 0.005 * RATE and len(pcm) - last <= 0.006 * RATE


def test_the_same_seed_gives_the_same_call(voice: CallerVoice) -> None:
    other = CallerVoice(7)
    a, b = voice.synthesise(TEXT, 3, 0), other.synthesise(TEXT, 3, 0)
    other.close()
    assert np.array_equal(a.pcm, b.pcm) and a.pauses == b.pauses
    assert np.array_equal(voice.noise(1), other.noise(1))


def test_the_line_is_a_telephone(voice: CallerVoice) -> None:
    pcm = voice.synthesise(TEXT, 1, 9).pcm.astype(float)
    power = np.abs(np.fft.rfft(pcm)) ** 2
    hertz = np.fft.rfftfreq(len(pcm), 1 / RATE)
    inside = power[(hertz > 250) & (hertz < 3600)].sum()
    assert inside / power.sum() > 0.98
    noise = float(np.std(voice.noise(2).astype(float))) / 32768
    assert 20 * np.log10(LEVEL / noise) == pytest.approx(SNR_DB, abs=0.5)


def test_at_least_a_quarter_of_the_turns_has_a_pause() -> None:
    texts = [TEXT, "Yes please.", "At half past seven in the evening.", "The Copper Kettle, if you can."]
    for seed in range(20):
        paused = 0
        for turn in range(24):
            rng = random.Random(f"voice/{seed}/{turn}")
            paused += len(parts_of(texts[turn % 4], rng, must=paused < PAUSE_SHARE * (turn + 1))) > 1
            assert paused >= PAUSE_SHARE * (turn + 1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["yes", "Friday.", "for", "four", "Hi,", "o'clock", "Sure!"]), max_size=12),
    st.integers(0, 99),
    st.booleans(),
)
def test_no_word_is_lost_and_no_sentence_end_is_a_pause(words: list[str], seed: int, must: bool) -> None:
    text = " ".join(words)
    parts = parts_of(text, random.Random(seed), must)
    assert " ".join(parts) == text and len(parts) <= 2
    if len(parts) == 2:
        assert parts[0][-1] not in ".!?"
