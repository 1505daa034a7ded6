"""The caller's side: voice activity, the recognition of the open turn, and the audio just before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from stretto.audio.pcm import Frame
from stretto.audio.recognise import GUARD, Partial, Transcript
from stretto.audio.vad import SpeechEnded, SpeechStarted

FRAME_S = 0.02
DETECTION_S = 0.4
"""Audio kept beyond the prefix: what passes until a start is reported."""


class Recognition(Protocol):
    """One caller turn; `stretto.audio.recognise.Recognition` is one."""

    paused: bool

    def feed(self, frame: Frame) -> list[Partial]: ...
    async def final(self, end: float | None = None) -> Transcript: ...
    def close(self) -> None: ...


class Recogniser(Protocol):
    """Opens recognitions; `stretto.audio.recognise.Recogniser` is one."""

    def open(self, bias: Sequence[str] = ()) -> Recognition: ...


class VoiceActivity(Protocol):
    """Tells speech from silence; `stretto.audio.vad.VAD` is one."""

    def feed(self, frame: Frame) -> list[SpeechStarted | SpeechEnded]: ...
    def reset(self) -> None: ...


class Hearing:
    """Every frame goes to the detector, those of a turn (from `prefix_ms` before it) to its recognition."""

    def __init__(
        self, recogniser: Recogniser, vad: VoiceActivity, bias: Sequence[str] = (), prefix_ms: float = 500.0
    ) -> None:
        self._recogniser = recogniser
        self._vad = vad
        self._bias = tuple(bias)
        self._prefix_s = prefix_ms / 1000
        self._before: deque[Frame] = deque(maxlen=int((self._prefix_s + DETECTION_S) / FRAME_S))
        self._recognition: Recognition | None = None
        self._not_before = float("-inf")

    def use(self, vad: VoiceActivity, prefix_ms: float) -> None:
        """Detect speech in another way from now on."""
        self._vad = vad
        self._prefix_s = prefix_ms / 1000
        length = int((self._prefix_s + DETECTION_S) / FRAME_S)
        self._before = deque(self._before, maxlen=length)

    def detect(self, frame: Frame) -> list[SpeechStarted | SpeechEnded]:
        """What the voice activity detector makes of the next frame."""
        return self._vad.feed(frame)

    def feed(self, frame: Frame) -> list[Partial]:
        """Give the frame to the open turn, and keep it for the beginning of the next one."""
        self._before.append(frame)
        return self._recognition.feed(frame) if self._recognition is not None else []

    def open(self, began: float) -> None:
        """Begin a turn whose speech starts at `began` (s); the open one must be closed."""
        if self._recognition is not None:
            raise RuntimeError("close the open turn first")
        recognition = self._recogniser.open(self._bias)
        since = max(began - self._prefix_s, self._not_before)
        for frame in self._before:
            if frame.at >= since:
                recognition.feed(frame)
        self._recognition = recognition

    def pause(self, paused: bool) -> None:
        """Let no partial pass start while the machine is needed for a reply."""
        if self._recognition is not None:
            self._recognition.paused = paused

    async def final(self, end: float) -> Transcript:
        """The transcript of the open turn up to `end` (s).

        Raises `RuntimeError` if no turn could be opened, and what the recogniser raises.
        """
        if self._recognition is None:
            raise RuntimeError("the recogniser opened no turn")
        return await self._recognition.final(end)

    def close(self, end: float) -> None:
        """End the open turn, if one is; its last speech sample was at `end` (s)."""
        if self._recognition is not None:
            recognition, self._recognition = self._recognition, None
            self._not_before = max(self._not_before, end + GUARD)
            recognition.close()

    def lost(self) -> None:
        """No more frames come for now: whatever was going on in the detector is void."""
        self._vad.reset()
