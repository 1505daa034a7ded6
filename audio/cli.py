"""The commands `transcribe` and `say`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stretto.audio.doctor import checks
from stretto.audio.pcm import FRAME, RATE, AudioFileError, Frame, Int16, frames, read_audio, write_wav
from stretto.audio.recognise import GUARD, ModelError, Partial, Recogniser, Recognition, Transcript
from stretto.audio.synthesise import Chunk, Synthesiser, VoiceError, clauses
from stretto.audio.vad import VAD, SpeechEnded, SpeechStarted

__all__ = ["checks", "register"]

COMMIT = 0.8
"""Seconds of silence after which a transcribed utterance is over: longer than in a call, context helps."""


def register(subparsers: Any) -> None:
    """Add the commands to an `argparse` sub-parsers object."""
    transcribe = subparsers.add_parser(
        "transcribe",
        help="streaming recognition of audio files, as in a call",
        description="Recognise WAV, FLAC or OGG files as a call hears them: frame by frame in real time.",
    )
    transcribe.add_argument(
        "files", nargs="+", metavar="FILE", help="WAV, FLAC or OGG, any rate and channels"
    )
    transcribe.add_argument(
        "--no-pacing", action="store_true", help="as fast as possible instead of in real time"
    )
    transcribe.add_argument(
        "--stt", metavar="NAME|DIR", help="recogniser model (default: the embedded tiny.en)"
    )
    transcribe.add_argument(
        "--bias",
        metavar="WORDS",
        default="",
        help="names and words that are likely, with commas between them",
    )
    _add_device(transcribe)
    transcribe.set_defaults(run=run_transcribe)
    say = subparsers.add_parser(
        "say", help="speech from text", description="Speak a text into a WAV file, clause by clause."
    )
    say.add_argument("text", metavar="TEXT")
    say.add_argument("-o", "--output", required=True, metavar="FILE", help="the WAV file to write")
    say.add_argument(
        "--speed", type=float, default=1.0, help="1.2 speaks a fifth faster (0.3 to 3, default 1)"
    )
    say.add_argument(
        "--voice", metavar="NAME|FILE", help="a Piper voice (default: the embedded en_US-joe-medium)"
    )
    _add_device(say)
    say.set_defaults(run=run_say)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


def _complain(error: BaseException) -> int:
    print(f"stretto: {error}", file=sys.stderr)
    return 2


def _printer(args: argparse.Namespace) -> Callable[[str], None]:
    """A printer for people: standard output, or standard error when that is kept for the JSON."""
    quiet, as_json = bool(getattr(args, "quiet", False)), bool(getattr(args, "json", False))

    def show(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    return show


def run_transcribe(args: argparse.Namespace) -> int:
    """Transcribe files; 0, or 2 for a file or a model that cannot be used."""
    try:
        sounds = [(path, read_audio(path)) for path in args.files]
        recogniser = Recogniser(args.stt, device=args.device)
    except (AudioFileError, ModelError) as error:
        return _complain(error)
    show = _printer(args)
    bias = [word.strip() for word in args.bias.split(",") if word.strip()]
    results = []
    try:
        for path, pcm in sounds:
            show(f"{path}:")
            result = asyncio.run(transcribe(recogniser, pcm, not args.no_pacing, bias, show))
            results.append({"path": str(path), **result})
            show(f"  {result['text'] or '(no speech)'}")
    finally:
        recogniser.close()
    if getattr(args, "json", False):
        print(json.dumps({"files": results}))
    return 0


def run_say(args: argparse.Namespace) -> int:
    """Speak a text into a file; 0, or 2 for a text, a voice or a place that cannot be used."""
    output = Path(args.output)
    if not any(character.isalnum() for character in args.text):
        return _complain(ValueError("there is nothing to say: give a text with at least one word in it."))
    if not output.parent.is_dir():
        return _complain(
            ValueError(f"{output.parent} is no folder: create it first, or choose another --output.")
        )
    try:
        synthesiser = Synthesiser(args.voice, args.speed, device=args.device)
    except VoiceError as error:
        return _complain(error)
    chunks: list[Chunk] = []
    words: list[dict[str, Any]] = []
    offset, first_audio_ms = 0.0, 0.0
    try:
        synthesiser.warm()
        began = time.perf_counter()
        for clause in clauses(args.text):
            for chunk in synthesiser.synthesise(clause):
                if not chunks:
                    first_audio_ms = (time.perf_counter() - began) * 1000
                base = offset - chunk.start
                chunks.append(chunk)
                words += [
                    {
                        "word": word.text,
                        "start_ms": round((base + word.start) * 1000, 1),
                        "end_ms": round((base + word.end) * 1000, 1),
                    }
                    for word in chunk.words
                ]
                offset += len(chunk.pcm) / chunk.rate
    finally:
        synthesiser.close()
    if not chunks:
        return _complain(ValueError("there is nothing to say: the voice has no sound for this text."))
    try:
        write_wav(output, np.concatenate([chunk.pcm for chunk in chunks]), synthesiser.rate)
    except (OSError, RuntimeError) as error:  # libsndfile's errors are of the second kind
        return _complain(ValueError(f"{output} cannot be written ({error}). Choose another --output."))
    _printer(args)(f"{output}: {offset:.2f} s, first audio after {first_audio_ms:.0f} ms")
    if getattr(args, "json", False):
        print(
            json.dumps(
                {"seconds": round(offset, 3), "first_audio_ms": round(first_audio_ms, 1), "words": words}
            )
        )
    return 0


async def transcribe(
    recogniser: Recogniser, pcm: Int16, pacing: bool, bias: list[str], show: Callable[[str], None]
) -> dict[str, Any]:
    """One file through voice activity and recognition, as a call hears it; the fields of `--json`.

    Without pacing the clock is the audio's, plus the time that the passes take.
    """
    caller = _Caller(recogniser, bias)
    began = time.monotonic()
    heard = [0.0, began]
    partials: list[dict[str, Any]] = []

    def now() -> float:
        return time.monotonic() - began if pacing else heard[0] + time.monotonic() - heard[1]

    try:
        for frame in frames(pcm):
            end = frame.at + FRAME / RATE
            if pacing and (wait := end - now()) > 0:
                await asyncio.sleep(wait)
            heard[:] = end, time.monotonic()
            for text in await caller.feed(frame, not pacing, now):
                partials.append({"at_ms": round(now() * 1000, 1), "text": text})
                show(f"  {now():7.2f} s  {text}")
        text = await caller.finish(len(pcm) / RATE, now)
    finally:
        await caller.close()
    return {
        "text": text,
        "seconds": round(len(pcm) / RATE, 3),
        "partials": partials,
        "final_latency_ms": None if caller.latency_ms is None else round(caller.latency_ms, 1),
    }


class _Caller:
    """Voice activity decides which frames a recognition hears: one recognition per utterance, as in a
    call."""

    def __init__(self, recogniser: Recogniser, bias: list[str]) -> None:
        self._recogniser, self._bias = recogniser, bias
        self._vad = VAD()
        self._before: deque[Frame] = deque(maxlen=round(self._vad.options.prefix_padding_ms / 20))
        self._recognition: Recognition | None = None
        self._ended: float | None = None
        self._texts: list[str] = []
        self._soft: Transcript | None = None
        self._asked: asyncio.Task[None] | None = None
        self.latency_ms: float | None = None
        """From the end of the last utterance's speech to its final text."""

    async def feed(self, frame: Frame, wait: bool, now: Callable[[], float]) -> list[str]:
        """The next frame; the texts (all so far) that became ready. `wait` waits for a pass that is
        running."""
        partials: list[Partial] = []
        self._before.append(frame)
        fed = self._recognition is not None
        if self._recognition is not None:
            partials += self._recognition.feed(frame)
        for event in self._vad.feed(frame):
            if isinstance(event, SpeechStarted):
                self._ended = self._soft = None
                if self._recognition is None:
                    self._recognition = self._recogniser.open(self._bias)
            else:
                await self._settle()
                self._ended = event.at
                self._asked = asyncio.create_task(self._final(event.at, now))
        if self._recognition is not None:
            if not fed:
                for earlier in self._before:
                    partials += self._recognition.feed(earlier)
            if wait:
                await self._settle()
                partials += await self._recognition.settled()
            if self._ended is not None and frame.at - self._ended >= COMMIT:
                await self._commit()
        return [self._so_far(partial.text) for partial in partials]

    async def _final(self, end: float, now: Callable[[], float]) -> None:
        assert self._recognition is not None
        soft = await self._recognition.final(end)
        if self._ended == end:  # else the caller went on
            self._soft = soft
            self.latency_ms = (now() - end) * 1000

    async def _settle(self) -> None:
        """Wait for the final that is being made."""
        if self._asked is not None:
            await self._asked
            self._asked = None

    async def close(self) -> None:
        """Make nothing any more."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.wait([self._asked])

    async def _commit(self) -> None:
        await self._settle()
        assert self._recognition is not None
        if self._soft is not None and self._soft.text:
            self._texts.append(self._soft.text)
        assert self._ended is not None
        kept = [frame for frame in self._before if frame.at >= self._ended + GUARD]
        self._before.clear()
        self._before.extend(kept)  # the next utterance may have begun already
        self._recognition.close()
        self._recognition = self._ended = self._soft = None

    def _so_far(self, text: str) -> str:
        return " ".join([*self._texts, text]).strip()

    async def finish(self, seconds: float, now: Callable[[], float]) -> str:
        """The file ended: what is still open is final now."""
        await self._settle()
        if self._recognition is not None and self._soft is None:
            silent = np.zeros(FRAME, np.int16)
            ends = [
                event.at
                for index in range(50)
                for event in self._vad.feed(Frame(silent, seconds + index * FRAME / RATE))
                if isinstance(event, SpeechEnded)
            ]
            self._ended = min(seconds, ends[0]) if ends else seconds
            await self._final(self._ended, now)
        if self._recognition is not None:
            await self._commit()
        return self._so_far("")
