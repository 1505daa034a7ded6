"""Audio on the wire: 24 kHz PCM or 8 kHz G.711 in base64, and what it is inside."""

from __future__ import annotations

import base64
import binascii
from typing import Literal, cast

import numpy as np
from stretto.agent.realtime.errors import RequestError
from stretto.audio.g711 import G711_RATE, decode_a_law, decode_mu_law, encode_a_law, encode_mu_law
from stretto.audio.pcm import FRAME, RATE, Int16, Resampler

Format = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
PCM_RATE = 24_000
"""The only rate of `audio/pcm`, Hz."""
PIECE_MS = 200
"""Longest audio of one event, ms."""


def rate_of(kind: Format) -> int:
    """Samples a second on the wire, Hz."""
    return PCM_RATE if kind == "audio/pcm" else G711_RATE


class Decoder:
    """What a client appends, as frames of 16 kHz int16; bytes and samples may be cut anywhere."""

    def __init__(self, kind: Format) -> None:
        self.kind = kind
        self._resampler = Resampler(rate_of(kind), RATE)
        self._odd = b""
        self._waiting: Int16 = np.zeros(0, np.int16)

    def feed(self, audio: str) -> list[Int16]:
        """Whole frames (320 samples) from base64 text. Raises RequestError."""
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(f"audio is no base64 ({error})", "invalid_base64", "audio") from error
        if self.kind == "audio/pcm":
            data = self._odd + data
            whole = len(data) // 2 * 2
            data, self._odd = data[:whole], data[whole:]
            pcm = cast(Int16, np.frombuffer(data, "<i2").astype(np.int16))
        else:
            pcm = decode_mu_law(data) if self.kind == "audio/pcmu" else decode_a_law(data)
        self._waiting = np.concatenate([self._waiting, self._resampler.feed(pcm)])
        count = len(self._waiting) // FRAME
        frames = [self._waiting[i * FRAME : (i + 1) * FRAME] for i in range(count)]
        self._waiting = self._waiting[count * FRAME :]
        return frames


class Encoder:
    """One utterance of the agent: int16 at the voice's rate as base64 text of the wire's."""

    def __init__(self, kind: Format, rate: int) -> None:
        self.kind = kind
        self.samples = 0
        """Made so far, at the wire's rate."""
        self._resampler = Resampler(rate, rate_of(kind))

    @property
    def ms(self) -> float:
        """Audio made so far, ms."""
        return self.samples * 1000 / rate_of(self.kind)

    def feed(self, pcm: Int16) -> list[str]:
        """The next pieces; what the resampler holds back comes with `flush`."""
        return self._pieces(self._resampler.feed(pcm))

    def flush(self) -> list[str]:
        """The end of the utterance."""
        return self._pieces(self._resampler.flush())

    def _pieces(self, pcm: Int16) -> list[str]:
        self.samples += len(pcm)
        length = rate_of(self.kind) * PIECE_MS // 1000
        return [self._text(pcm[i : i + length]) for i in range(0, len(pcm), length)]

    def _text(self, pcm: Int16) -> str:
        if self.kind == "audio/pcm":
            data = pcm.astype("<i2").tobytes()
        else:
            data = encode_mu_law(pcm) if self.kind == "audio/pcmu" else encode_a_law(pcm)
        return base64.b64encode(data).decode("ascii")
