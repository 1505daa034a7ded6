from __future__ import annotations

import numpy as np
from stretto.audio.telephone import telephone


def power(pcm: np.ndarray, low: float, high: float, rate: int = 16_000) -> float:
    spectrum = np.square(np.abs(np.fft.rfft(pcm.astype(float))))
    hertz = np.fft.rfftfreq(len(pcm), 1 / rate)
    return float(spectrum[(hertz >= low) & (hertz < high)].sum())


def test_band_noise_length_and_delay() -> None:
    rng = np.random.default_rng(0)
    pcm = np.zeros(32_000, np.int16)
    pcm[8000:24_000] = rng.normal(0, 4000, 16_000).astype(np.int16)
    line = telephone(pcm, 30.0, np.random.default_rng(1))
    assert len(line) == len(pcm) and line.dtype == np.int16
    inside, outside = power(line, 300, 3400), power(line, 0, 200) + power(line, 3900, 8000)
    assert outside < inside / 1000
    noise = np.sqrt(np.mean(np.square(line[:7000].astype(float))))
    speech = np.sqrt(np.mean(np.square(line[9000:23_000].astype(float))))
    assert abs(20 * np.log10(speech / noise) - 30) < 1.5
    loud = np.flatnonzero(np.abs(line) > 2000)
    assert abs(int(loud[0]) - 8000) < 60 and abs(int(loud[-1]) - 24_000) < 60
    assert np.array_equal(line, telephone(pcm, 30.0, np.random.default_rng(1)))


def test_empty_and_silent_audio() -> None:
    rng = np.random.default_rng(0)
    assert len(telephone(np.zeros(0, np.int16), 20, rng)) == 0
    assert not telephone(np.zeros(5000, np.int16), 20, rng).any()
