"""Packet loss concealment: what is heard in place of a packet that never came (ITU-T G.711 Appendix I)."""

from __future__ import annotations

from typing import cast

import numpy as np
from stretto.audio.pcm import Int16

PITCH_HZ = (66, 200)
"""Voices repeat themselves so often in a second."""
FADE_MS = 60
"""What is repeated has faded out after so long; from then on there is silence."""


def conceal(before: Int16, count: int, rate: int) -> Int16:
    """`count` samples in place of lost ones: the last period of what came `before`, repeated and fading.

    int16 at `rate` Hz. Silence where too little came before to have a period (30 ms).
    """
    shortest, longest = rate // PITCH_HZ[1], rate // PITCH_HZ[0]
    fade = min(count, rate * FADE_MS // 1000)
    out = np.zeros(count, np.int16)
    if len(before) < 2 * longest or not fade:
        return out
    recent = before[-2 * longest :].astype(np.float64)
    end = recent[-longest:]
    likeness = [
        float(end @ recent[len(recent) - longest - lag : len(recent) - lag])
        for lag in range(shortest, longest + 1)
    ]
    period = shortest + int(np.argmax(likeness))
    repeated = np.resize(recent[-period:], fade)
    gains = 1.0 - np.arange(1, fade + 1) / (rate * FADE_MS / 1000)
    out[:fade] = np.rint(repeated * gains)
    return cast(Int16, out)
