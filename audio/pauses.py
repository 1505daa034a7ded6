"""Where in a stretch of speech to cut, when it is too long for one pass."""

from __future__ import annotations

import numpy as np
from stretto.audio.pcm import RATE, Float32

STEP = 0.02
"""Seconds of one energy reading."""


def cut_at_pause(audio: Float32, earliest: float, latest: float) -> float:
    """The middle of the longest quiet stretch between `earliest` and `latest`, all in seconds.

    Quiet is relative: below a tenth of the loud parts, or near the quietest part where there is steady noise.
    Speech without any pause is cut at its quietest point.
    """
    step = int(STEP * RATE)
    count = len(audio) // step
    if count == 0:
        return 0.0
    level = np.sqrt(np.mean(np.square(audio[: count * step].reshape(count, step)), axis=1) + 1e-12)
    smooth = np.convolve(level, np.ones(5) / 5, mode="same")
    first, last = int(earliest / STEP), min(count, int(latest / STEP))
    if last <= first:
        return min(earliest, len(audio) / RATE)
    limit = max(float(np.percentile(smooth, 90)) * 0.1, float(np.percentile(smooth, 5)) * 1.5)
    quiet = smooth[first:last] < limit
    best, best_length, run = first + int(np.argmin(smooth[first:last])), 0, 0
    for index, is_quiet in enumerate(quiet):
        run = run + 1 if is_quiet else 0
        if run > best_length:
            best_length, best = run, first + index - run // 2
    return best * STEP
