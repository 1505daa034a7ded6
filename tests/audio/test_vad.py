from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from stretto.audio.pcm import RATE, Frame, Int16, Resampler, frames
from stretto.audio.telephone import telephone
from stretto.audio.vad import VAD, SpeechEnded, SpeechStarted, VADOptions

Say = Callable[..., Int16]


def loud_span(pcm: Int16) -> tuple[float, float]:
    loud = np.flatnonzero(np.abs(pcm) > 328)
    return loud[0] / RATE, loud[-1] / RATE


def events(vad: VAD, pcm: Int16, at: float = 0.0) -> list[tuple[SpeechStarted | SpeechEnded, float]]:
    """Every event with the stream time at which it was reported."""
    return [(event, frame.at + 0.02) for frame in frames(pcm, at) for event in vad.feed(frame)]


@pytest.mark.parametrize("snr_db", [None, 30.0])
def test_speech_is_found_to_within_40_ms(say: Say, snr_db: float | None) -> None:
    for text in ("I would like a table for two.", "Yes, that is fine.", "My name is John."):
        clean = say(text, 0.7, 1.0)
        pcm = clean if snr_db is None else telephone(clean, snr_db, np.random.default_rng(1))
        begin, end = loud_span(clean)
        found = events(VAD(), pcm, at=10.0)
        started, ended = found[0][0], found[-1][0]
        assert isinstance(started, SpeechStarted) and isinstance(ended, SpeechEnded)
        assert abs(started.at - 10.0 - begin) < 0.1
        assert abs(ended.at - 10.0 - end) <= 0.04
        assert found[-1][1] - 10.0 - end < 0.25  # the soft end


def test_silence_and_noise_are_no_speech() -> None:
    rng = np.random.default_rng(0)
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.int16)
    click = np.zeros(2 * RATE, np.int16)
    click[RATE : RATE + 80] = 20_000
    for pcm in (np.zeros(2 * RATE, np.int16), rng.normal(0, 1000, 2 * RATE).astype(np.int16), tone, click):
        assert events(VAD(), pcm) == []


def test_soft_end_waits_for_the_silence_that_is_asked_for(say: Say) -> None:
    pcm = say("Hello there.", 0.5, 2.0)
    end = loud_span(pcm)[1]
    for silence in (120.0, 500.0, 900.0):
        found = events(VAD(VADOptions(min_silence_ms=silence)), pcm)
        assert isinstance(found[-1][0], SpeechEnded)
        assert found[-1][1] - found[-1][0].at >= silence / 1000 - 1e-6
        assert abs(found[-1][1] - end - max(0.16, silence / 1000)) < 0.13


def test_short_sounds_are_ignored_when_asked(say: Say) -> None:
    pcm = say("Yes.", 0.5, 1.0)
    assert events(VAD(), pcm)
    assert events(VAD(VADOptions(min_speech_ms=2000)), pcm) == []


def test_starts_and_ends_alternate_and_pauses_are_reported(say: Say) -> None:
    pcm = np.concatenate([say("I would like", 0.4, 0.6), say("a table for two.", 0.0, 1.0)])
    kinds = [type(event) for event, _ in events(VAD(), pcm)]
    assert kinds == [SpeechStarted, SpeechEnded, SpeechStarted, SpeechEnded]


def test_reset_gives_a_fresh_detector_and_lost_frames_do_not_shift_times(say: Say) -> None:
    pcm = say("Hello, is anybody there?", 0.5, 1.0)
    vad = VAD()
    first = events(vad, pcm)
    vad.reset()
    assert events(vad, pcm) == first
    assert not vad.speaking
    late = VAD()
    late.feed(Frame(np.zeros(320, np.int16), 0.0))
    shifted = events(late, pcm, at=100.0)  # 100 s of frames never came
    assert abs(shifted[0][0].at - 100.0 - first[0][0].at) < 0.05


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="threshold"):
        VADOptions(threshold=1.5)
    with pytest.raises(ValueError, match="min_silence_ms"):
        VADOptions(min_silence_ms=-1)


def test_short_answers_are_still_noticed_after_minutes_of_a_noisy_line(say: Say) -> None:
    """Silero's memory fills with the noise: without clearing it, 3 of these 24 are noticed."""
    rng = np.random.default_rng(3)
    texts = ("No.", "Right.", "That works.", "At eight.")
    answers = [telephone(say(text, 0.1, 0.1), 90.0, rng) for text in texts]
    begins, parts, count = [], [], 0
    for number in range(24):
        gap = np.zeros(int(rng.uniform(2, 7) * RATE), np.int16)
        begins.append((count + len(gap)) / RATE)
        parts += [gap, answers[number % len(answers)]]
        count += len(gap) + len(parts[-1])
    clean = np.concatenate([*parts, np.zeros(RATE, np.int16)])
    loud = np.sqrt(np.mean(np.square(clean[np.abs(clean) > 328].astype(float))))
    hiss = Resampler(8000, RATE).feed(rng.normal(0, 0.07 * loud, len(clean) // 2 + 800).astype(np.int16))
    found = [e.at for e, _ in events(VAD(), clean + hiss[: len(clean)]) if isinstance(e, SpeechStarted)]
    noticed = [any(begin - 0.1 <= at <= begin + 1.0 for at in found) for begin in begins]
    assert all(noticed)
