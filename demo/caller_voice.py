"""The simulated caller's voice: Piper at another pitch and pace, pauses for thought, a telephone line."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from typing import cast

import numpy as np
import soxr
from stretto.audio.pcm import RATE, Int16, to_float, to_int16
from stretto.audio.synthesise import Synthesiser
from stretto.audio.telephone import telephone

PITCH, SPEED = 1.16, 1.04
LEVEL = 0.09
"""RMS of the louder half of an utterance, of full scale."""
SNR_DB = 26.0
"""How far the line's noise lies below that."""
AUDIBLE = 200
"""Amplitude (of 32768) from which a sample counts as sound; the session's measure for the agent, too."""
PAUSE_MS = (200, 900)
PAUSE_SHARE = 0.25
"""At least this share of the turns has a pause in the middle."""
KEEP = int(0.004 * RATE)
"""Samples kept around audible sound, so that nothing begins or ends with a click."""


@dataclass(frozen=True)
class Pause:
    """Silence put between two words; times in milliseconds from the start of the utterance."""

    start_ms: float
    end_ms: float
    after: str
    """The words said before it."""


@dataclass(frozen=True, eq=False)
class Spoken:
    """An utterance as audio: int16 at 16 kHz, telephone band, no noise; begins and ends with its sound."""

    text: str
    pcm: Int16
    pauses: tuple[Pause, ...] = ()


class CallerVoice:
    """The same seed gives the same voice, pauses and line noise. Synthesis runs in a thread of its own.

    `pause_share`: at least this share of the turns has a pause in the middle (0: none). `pitch`, `speed`:
    against the voice as it was recorded.
    """

    def __init__(
        self,
        seed: int,
        voice: str | PathLike[str] | None = None,
        pause_share: float = PAUSE_SHARE,
        pitch: float = PITCH,
        speed: float = SPEED,
    ) -> None:
        self._share = pause_share
        self._seed = seed
        self._synthesiser = Synthesiser(voice, speed, pitch=pitch, deterministic=True)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="caller")

    def warm(self) -> None:
        """Run the voice once."""
        self._synthesiser.warm()

    async def speak(self, text: str, turn: int, paused: int) -> Spoken:
        """Synthesise turn number `turn` (from 0) of the caller; `paused` of those before it had a pause."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self.synthesise, text, turn, paused)

    def synthesise(self, text: str, turn: int, paused: int) -> Spoken:
        """The same as `speak`, in the calling thread."""
        rng = random.Random(f"voice/{self._seed}/{turn}")
        parts = parts_of(text, rng, paused < self._share * (turn + 1), self._share)
        sounds = [self._sound(part) for part in parts]
        pieces: list[Int16] = [sounds[0]]
        pauses: list[Pause] = []
        length = len(sounds[0])
        for index, sound in enumerate(sounds[1:], 1):
            gap = round(rng.uniform(*PAUSE_MS) * RATE / 1000)
            spoken = " ".join(parts[:index])
            pauses.append(Pause(length * 1000 / RATE, (length + gap) * 1000 / RATE, spoken))
            pieces += [np.zeros(gap, np.int16), sound]
            length += gap + len(sound)
        return Spoken(text, np.concatenate(pieces), tuple(pauses))

    def _sound(self, text: str) -> Int16:
        """A stretch of speech over the telephone, cut to its audible part."""
        chunks = [chunk.pcm for chunk in self._synthesiser.synthesise(text)]
        if not chunks:
            return np.zeros(0, np.int16)
        pcm = cast(Int16, soxr.resample(np.concatenate(chunks), self._synthesiser.rate, RATE))
        padded = np.concatenate([np.zeros(KEEP * 4, np.int16), pcm, np.zeros(KEEP * 4, np.int16)])
        line = to_float(telephone(padded, 90.0, np.random.default_rng(0)))
        blocks = np.sqrt(np.square(line[: len(line) // 320 * 320]).reshape(-1, 320).mean(axis=1))
        level = float(np.sqrt(np.mean(np.square(np.sort(blocks)[len(blocks) // 2 :]))))
        sound = to_int16(line * (LEVEL / max(level, 1e-4)))
        first, last = audible_span(sound)
        return sound[max(0, first - KEEP) : last + 1 + KEEP]

    def noise(self, seconds: float = 12.0) -> Int16:
        """Steady noise of the line, to be repeated: int16 at 16 kHz."""
        white = np.random.default_rng(self._seed).standard_normal(int(seconds * 8000)).astype(np.float32)
        noise = soxr.resample(white, 8000, RATE)
        return to_int16(noise * (LEVEL * 10 ** (-SNR_DB / 20) / float(np.std(noise))))

    def close(self) -> None:
        """End the threads."""
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._synthesiser.close()


def audible_span(pcm: Int16) -> tuple[int, int]:
    """First and last audible sample; (0, -1) where there is none."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > AUDIBLE)
    return (int(loud[0]), int(loud[-1])) if len(loud) else (0, -1)


def parts_of(text: str, rng: random.Random, must: bool, share: float = PAUSE_SHARE) -> list[str]:
    """The text in one part, or in two between any of its words (not after the end of a sentence).

    `must`: a pause is due; otherwise a `share` of the turns gets one. A single word has no gap.
    """
    words = text.split()
    gaps = [i for i in range(1, len(words)) if not words[i - 1].endswith((".", "!", "?"))]
    inner = [i for i in gaps if 2 <= i <= len(words) - 2]
    if not gaps or not (must or (inner and rng.random() < share)):
        return [text]
    cut = rng.choice(inner or gaps)
    return [" ".join(words[:cut]), " ".join(words[cut:])]
