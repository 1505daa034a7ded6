"""PCM audio: reading and writing files, resampling, and cutting into 20 ms frames.

Inside Stretto a caller's audio is 16 kHz, 16-bit, mono. Other rates and channels exist only at the edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

RATE = 16_000
"""Sample rate of a caller's audio, Hz."""
FRAME = 320
"""Samples in a frame: 20 ms at `RATE`."""
MP3_PADDING = 2 * 1152 + 529
"""Samples by which an MP3 may be shorter than the frames it states: the encoder's padding and delay."""

Int16 = npt.NDArray[np.int16]
Float32 = npt.NDArray[np.float32]


class AudioFileError(ValueError):
    """A file that cannot be used as audio; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Frame:
    """20 ms of a caller's audio.

    `pcm` is int16[320] at 16 kHz; `at` is the time of its first sample in seconds on the session's clock.
    """

    pcm: Int16
    at: float


def to_float(pcm: Int16) -> Float32:
    """int16 PCM as float32 in [-1, 1)."""
    return cast(Float32, pcm.astype(np.float32) / np.float32(32768.0))


def to_int16(samples: npt.NDArray[np.floating]) -> Int16:
    """Float samples in [-1, 1] as int16; what lies outside is clipped."""
    return cast(Int16, np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16))


def read_audio(path: str | PathLike[str]) -> Int16:
    """Read a WAV, FLAC or OGG file as 16 kHz mono int16 of shape (n,).

    Any rate, channel count and sample format that libsndfile reads is accepted; channels are averaged.
    Raises `AudioFileError` for a file that is missing, empty, cut off or no audio.
    """
    path = Path(path)
    if not path.exists():
        raise AudioFileError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder. Name an audio file in it (WAV, FLAC or OGG).")
    if path.stat().st_size == 0:
        raise AudioFileError(f"{path} is empty (0 bytes). Record or copy it again.")
    _refuse_cut_wav(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, expected = int(file.samplerate), int(file.frames)
            samples = file.read(dtype="float32", always_2d=True)
            slack = MP3_PADDING if file.format == "MP3" else 0
    except (soundfile.SoundFileError, RuntimeError, OSError, MemoryError) as error:
        raise AudioFileError(
            f"{path} cannot be read as audio ({error}). Stretto reads WAV, FLAC and OGG; "
            f"convert it first, for example: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav"
        ) from error
    if len(samples) == 0:
        raise AudioFileError(f"{path} has a header but no samples in it. Record or copy it again.")
    # Some formats state a length that the data does not reach; a streamed header states the largest one.
    if len(samples) < expected - slack and expected < 2**31 - 2**16:
        raise AudioFileError(_cut(path, len(samples) / rate, expected / rate))
    mono = np.nan_to_num(samples.mean(axis=1, dtype=np.float32))
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE)
    return to_int16(mono)


def _cut(path: Path, there: float, stated: float) -> str:
    return (
        f"{path} is truncated: its header states {stated:.2f} s of audio and {there:.2f} s are there. "
        f"Copy or record it again, or save what is there with: ffmpeg -i INPUT OUTPUT.wav"
    )


def _refuse_cut_wav(path: Path) -> None:
    """libsndfile silently shortens a WAV file whose data was cut off, so its chunks are walked here."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return
        file.seek(8)
        if file.read(4) != b"WAVE":
            return
        byte_rate = 0
        while True:
            header = file.read(8)
            if len(header) < 8:
                raise AudioFileError(
                    f"{path} is truncated: it ends before its audio. Copy or record it again."
                )
            name, length = header[:4], int.from_bytes(header[4:], "little")
            start = file.tell()
            if name == b"fmt ":
                byte_rate = int.from_bytes(file.read(12)[8:12], "little")
            elif name == b"data":
                # 0 and 0xFFFFFFFF (or close) are written by programs that stream into a pipe.
                if start + length > size and length < 0xFFFF_0000 and byte_rate:
                    raise AudioFileError(_cut(path, (size - start) / byte_rate, length / byte_rate))
                return
            file.seek(start + length + (length & 1))


def write_wav(path: str | PathLike[str], pcm: Int16, rate: int) -> None:
    """Write int16 PCM of shape (n,) or (n, channels) as a 16-bit WAV file."""
    if pcm.dtype != np.int16:
        raise TypeError(f"write_wav takes int16 samples, not {pcm.dtype}")
    soundfile.write(str(path), pcm, rate, subtype="PCM_16", format="WAV")


def frames(pcm: Int16, at: float = 0.0) -> Iterator[Frame]:
    """Cut 16 kHz int16 PCM into frames; the first starts at `at` seconds, the last is padded with zeros."""
    for start in range(0, len(pcm), FRAME):
        piece = pcm[start : start + FRAME]
        if len(piece) < FRAME:
            piece = np.concatenate([piece, np.zeros(FRAME - len(piece), np.int16)])
        yield Frame(piece, at + start / RATE)


class Resampler:
    """Streaming resampling of int16 mono PCM (soxr); what is fed in pieces equals the whole at once."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream = (
            soxr.ResampleStream(rate_in, rate_out, 1, dtype="int16") if rate_in != rate_out else None
        )

    def feed(self, pcm: Int16) -> Int16:
        """The next output samples; may be fewer than the input accounts for (the filter's delay)."""
        if self._stream is None:
            return pcm
        return cast(Int16, self._stream.resample_chunk(pcm))

    def flush(self) -> Int16:
        """What the filter still holds; the resampler must not be fed afterwards."""
        if self._stream is None:
            return np.zeros(0, np.int16)
        return cast(Int16, self._stream.resample_chunk(np.zeros(0, np.int16), last=True))
