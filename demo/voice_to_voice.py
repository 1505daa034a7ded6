"""Voice-to-voice times from a recorded stereo file alone, beside what the session's record says."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
import soundfile
from stretto.audio.pcm import Int16
from stretto.demo.caller_voice import AUDIBLE

TALKING_MS = 60.0
"""An agent audible so shortly before the caller's end was talking already: no answer to measure."""


def read_agent(path: str | PathLike[str]) -> tuple[Int16, int]:
    """The agent's channel (the right one) of a recorded call, and its rate. Raises `ValueError`."""
    samples, rate = soundfile.read(str(path), dtype="int16", always_2d=True)
    if samples.shape[1] != 2:
        raise ValueError(
            f"{path} has {samples.shape[1]} channel(s); a recorded call has two, the agent right"
        )
    return samples[:, 1], int(rate)


def answers_ms(
    agent: Int16, rate: int, ends_ms: Sequence[float], starts_ms: Sequence[float]
) -> list[float | None]:
    """Voice-to-voice time after each end of the caller's speech, from the agent's channel alone.

    `ends_ms`, `starts_ms`: the caller's turns, milliseconds from the start of the file. The answer is the
    first audible sample after the end and before the caller's next start; None where there is none, and where
    the agent was talking at the end already.
    """
    loud = np.flatnonzero(np.abs(agent.astype(np.int32)) > AUDIBLE) * (1000.0 / rate)
    result: list[float | None] = []
    for index, end in enumerate(ends_ms):
        until = starts_ms[index + 1] if index + 1 < len(starts_ms) else float("inf")
        first = int(np.searchsorted(loud, end))
        talking = first > 0 and end - loud[first - 1] < TALKING_MS
        found = first < len(loud) and loud[first] < until and not talking
        result.append(float(loud[first] - end) if found else None)
    return result
