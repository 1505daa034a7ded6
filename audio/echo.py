"""Echo cancelling: takes what the speaker plays out of what the microphone hears (WebRTC's AEC3).

The canceller finds the delay and the room by itself, if it is given what was played at the right place: never
later than its echo. So everything that was played lies on a time line here, and every frame of the microphone
is put beside what was played just before its own time. Measured: the echo of a voice at -6 dB, 0 to 500 ms
behind what was played, is 64 dB weaker after two seconds, and 33 (at 400 ms) to 65 dB in the first one.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import soxr
from stretto.audio.devices import DeviceError
from stretto.audio.pcm import FRAME, RATE, Frame, Int16

KEPT = 2 * RATE
"""Samples of what was played that are remembered: more than any frame of the microphone comes late."""
MARGIN_S = 0.02
"""Any device takes longer to play and to record."""
DELAY_S = 0.008
"""The canceller's own delay."""
TORN = 5 * RATE // 1000
"""Samples by which either side may jump without being torn."""
RESET_S, UNSURE_S = 0.5, 1.0
"""After a tear (the machine stood still) the canceller finds the delay soonest when it begins anew, once the
echo of before has died away. Until then nothing is heard while the agent may be."""
SILENT = 32
"""Amplitude (of 32768) that a voice that is played exceeds."""


class EchoCanceller:
    """One per call; not for several threads. A frame takes about 0.15 ms, so it runs on the event loop.

    `rate`: of what is played, Hz. Times are seconds on one monotonic clock for both sides. `margin_s`: what
    surely passes between the time at which something is said to be played and its echo; it is given to the
    canceller so much later, so that what is told late does not tear it. Raises `DeviceError` where the
    library is not installed.
    """

    def __init__(self, rate: int, margin_s: float = MARGIN_S) -> None:
        try:
            from pywebrtc_audio import AudioProcessor
        except ImportError as error:
            raise DeviceError(
                "echo cancelling needs the package pywebrtc-audio: pip install 'stretto[mic]'; with "
                "headphones you can do without: --no-echo-cancelling"
            ) from error
        self._canceller = AudioProcessor(sample_rate=RATE, echo_cancellation=True)
        # The better filters of soxr hold back up to 40 ms, the reference would come too late. No difference
        # was measured in what is cancelled.
        self._resampler = soxr.ResampleStream(rate, RATE, 1, dtype="int16", quality="QQ")
        self._rate = rate
        self._margin = round(margin_s * RATE)
        self._line = np.zeros(KEPT, np.int16)
        self._end: int | None = None
        self._next: int | None = None
        self._torn_at: int | None = None
        self._begun_anew = False

    def played(self, pcm: Int16, at: float) -> None:
        """int16 at `rate` that was handed to the speaker, to be heard at `at` (s) or later. Silence, too."""
        if self._rate != RATE:
            pcm = cast(Int16, self._resampler.resample_chunk(pcm))
        start = self._continued(round(at * RATE), self._end)
        if self._end is not None and start > self._end:
            self._lay(self._end, np.zeros(min(start - self._end, KEPT), np.int16))
        self._lay(start, pcm[-KEPT:])
        self._end = start + len(pcm)

    def clean(self, frame: Frame) -> Frame:
        """The microphone's next frame without what the speaker played. Its time is 8 ms earlier than the
        frame's, because the canceller keeps as much back."""
        start = self._continued(round(frame.at * RATE), self._next)
        self._next = start + len(frame.pcm)
        near = np.ascontiguousarray(frame.pcm)
        unsure = self._torn_at is not None and self._settling(start - self._torn_at)
        pcm = self._canceller.process(near, self._reference(start - self._margin, len(near)))
        if unsure and self._sounding(start):
            pcm = np.zeros(len(near), np.int16)
        return Frame(pcm, frame.at - DELAY_S)

    def _settling(self, since: int) -> bool:
        """The canceller is not to be trusted `since` samples after a tear."""
        if since >= UNSURE_S * RATE:
            self._torn_at = None
        elif not self._begun_anew and since >= RESET_S * RATE:
            self._canceller.reset()
            self._begun_anew = True
        return self._torn_at is not None

    def _sounding(self, start: int) -> bool:
        """What was played in the second before sample `start` may still be heard."""
        return int(np.abs(self._reference(start - RATE, RATE).astype(np.int32)).max()) > SILENT

    def _continued(self, start: int, expected: int | None) -> int:
        """Where a piece begins: rounding must not tear what belongs together, a larger jump is a tear."""
        if expected is None or abs(start - expected) > TORN:
            if expected is not None:
                self._torn_at, self._begun_anew = start, False
            return start
        return expected if abs(start - expected) <= 2 else start

    def _lay(self, start: int, pcm: Int16) -> None:
        first = start % KEPT
        count = min(len(pcm), KEPT - first)
        self._line[first : first + count] = pcm[:count]
        self._line[: len(pcm) - count] = pcm[count:]

    def _reference(self, start: int, count: int = FRAME) -> Int16:
        """What was played from sample `start` on; silence where nothing was, or is known."""
        wanted = np.arange(start, start + count)
        end = wanted[0] if self._end is None else self._end
        known = (wanted < end) & (wanted >= end - KEPT)
        return cast(Int16, np.where(known, self._line[wanted % KEPT], 0).astype(np.int16))
