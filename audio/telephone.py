"""What a telephone line does to a voice."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
import soxr
from stretto.audio.pcm import RATE, Float32, Int16, to_int16

BAND = (300.0, 3400.0)
"""Pass band of a telephone line, Hz (ITU-T G.712)."""
TAPS = 255


@lru_cache(maxsize=4)
def _band_pass(rate: int) -> Float32:
    """A linear-phase band pass: the difference of two windowed sinc low passes."""
    n = np.arange(TAPS) - (TAPS - 1) / 2
    low, high = (2 * edge / rate * np.sinc(2 * edge / rate * n) for edge in BAND)
    return cast(Float32, ((high - low) * np.blackman(TAPS)).astype(np.float32))


def telephone(pcm: Int16, snr_db: float, rng: np.random.Generator, rate: int = RATE) -> Int16:
    """int16 mono PCM as heard over a narrow-band line: 8 kHz, 300-3400 Hz, steady noise `snr_db` below the
    speech.

    The level of speech is that of its louder half, so that pauses do not count. Same rate and length as the
    input, without delay. Silence gets no noise.
    """
    if len(pcm) == 0:
        return pcm
    narrow = soxr.resample(pcm.astype(np.float32) / 32768.0, rate, 8000)
    kernel = _band_pass(8000)
    narrow = np.convolve(narrow, kernel)[(TAPS - 1) // 2 :][: len(narrow)]
    energy = np.square(narrow)
    blocks = energy[: len(energy) // 80 * 80].reshape(-1, 80).mean(axis=1) if len(energy) >= 80 else energy
    speech = float(np.mean(np.sort(blocks)[len(blocks) // 2 :]))
    noise = np.convolve(rng.standard_normal(len(narrow) + TAPS - 1), kernel, mode="valid").astype(np.float32)
    noise *= np.sqrt(speech / max(float(np.mean(np.square(noise))), 1e-12)) * 10 ** (-snr_db / 20)
    wide = soxr.resample((narrow + noise).astype(np.float32), 8000, rate)
    result = np.zeros(len(pcm), np.float32)
    count = min(len(pcm), len(wide))
    result[:count] = wide[:count]
    return to_int16(result)
