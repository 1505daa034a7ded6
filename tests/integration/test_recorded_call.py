"""`stretto call`: a recorded caller in real time, with real ears and a real voice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console
from stretto.agent.call_command import caller_audio, recorded_call, register
from stretto.agent.cli import UsageError
from stretto.agent.session import SessionOptions
from stretto.agent.ways_in.speech import Speech
from stretto.audio.pcm import RATE, write_wav
from stretto.demo.caller_voice import CallerVoice
from stretto.llm.language_model import Call
from stretto.tools.tool import tool

SAID = "I would like to book a table for four people, please."


@pytest.fixture(scope="module")
def voice() -> Iterator[CallerVoice]:
    voice = CallerVoice(2)
    yield voice
    voice.close()


@pytest.fixture(scope="module")
def recording(voice: CallerVoice, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caller") / "caller.wav"
    write_wav(path, voice.synthesise(SAID, 0, 9).pcm, RATE)
    return path


def test_a_recorded_caller_is_heard_answered_and_recorded(
    recording: Path, speech: Speech, scripted: Callable[..., Any], tmp_path: Path
) -> None:
    booked: list[int] = []

    @tool
    async def book_table(people: int) -> dict[str, int]:
        """Book a table."""
        booked.append(people)
        return {"table": 7}

    def policy(conversation: Any) -> tuple[str, list[Call]]:
        if conversation.results:
            return f"It is table {conversation.results[-1]['table']}.", []
        people = 4 if "four" in conversation.caller.lower() or "4" in conversation.caller else 0
        return "", [Call("1", "book_table", {"people": people})]

    record = tmp_path / "both.wav"
    fields = asyncio.run(
        recorded_call(
            scripted(policy),
            speech,
            caller_audio(str(recording)),
            [book_table],
            SessionOptions(greeting="Hello.", rate=24_000),
            (),
            str(record),
            Console(quiet=True),
        )
    )
    assert booked == [4]
    greeting, turn = fields["turns"]
    assert greeting["agent"] == "Hello." and greeting["canned"]
    assert "table" in turn["caller"].lower() and turn["agent"] == turn["heard"] == "It is table 7."
    assert [call["name"] for call in turn["tools"]] == ["book_table"]
    assert turn["speech_end_ms"] < turn["committed_ms"] < turn["first_audio_ms"]
    assert turn["speech_start_ms"] > greeting["heard_until_ms"]
    assert fields["recording"] == str(record) and fields["ended"] == "caller"
    assert fields["voice_to_voice_ms"]["p50"] == turn["voice_to_voice_ms"]
    json.dumps(fields)
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert fields["page"] == str(tmp_path / "both.html") and "data:audio/ogg;base64," in page
    assert turn["caller"] in page and "It is table 7." in page and "book_table(" in page
    both, rate = soundfile.read(record, dtype="int16")
    caller, agent = np.flatnonzero(np.abs(both[:, 0].astype(int)) > 500), np.flatnonzero(both[:, 1])
    assert rate == 24_000 and abs(caller[-1] / rate * 1000 - turn["speech_end_ms"]) < 200
    answer = agent[agent > caller[-1]][0]
    assert abs(answer / rate * 1000 - turn["first_audio_ms"]) <= 40


def test_other_rates_channels_and_depths_are_taken(tmp_path: Path, voice: CallerVoice) -> None:
    pcm = voice.synthesise("Yes please.", 1, 9).pcm
    whole = np.repeat(pcm, 3)[:, None].repeat(2, axis=1)
    for name, rate, kind in (
        ("a.wav", 48_000, "PCM_U8"),
        ("b.wav", 44_100, "PCM_24"),
        ("c.flac", 44_100, "PCM_16"),
    ):
        soundfile.write(tmp_path / name, whole, rate, subtype=kind)
        taken = caller_audio(str(tmp_path / name))
        assert taken.dtype == np.int16 and len(taken) == pytest.approx(len(whole) / rate * RATE, abs=2)


def _bad(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "silent":
        write_wav(path, np.zeros(RATE, np.int16), RATE)
    elif kind == "truncated":
        write_wav(path, np.ones(RATE, np.int16), RATE)
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "no audio":
        path.write_text("these are no samples")
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "silent", "truncated", "no audio"])
def test_bad_input_is_told_before_any_model_loads(
    kind: str, tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = _bad(tmp_path, kind)
    assert command(register, "call", "--input", str(path), "--model", "/nowhere") == 2
    told = capsys.readouterr().err
    assert str(path) in told and "/nowhere" not in told and len(told) > len(str(path)) + 20
    with pytest.raises(UsageError):
        caller_audio(str(path))


def test_what_else_cannot_be_used_is_told(
    recording: Path, tiny_weights: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("call", "--input", str(recording))
    assert command(register, *base, "--record", "/nowhere/at/all.wav") == 2
    assert "--record" in capsys.readouterr().err
    assert command(register, *base, "--record", "page.html") == 2
    assert "WAV" in capsys.readouterr().err
    assert command(register, *base, "--model", "/nowhere") == 2
    assert "/nowhere" in capsys.readouterr().err
    assert command(register, *base, "--model", str(tiny_weights), "--tools", "no_such_module_here") == 2
    assert "no_such_module_here" in capsys.readouterr().err
    assert command(register, *base, "--model", str(tiny_weights), "--stt", "no-such-model") == 2
    assert "no-such-model" in capsys.readouterr().err
    assert command(register, *base, "--model", str(tiny_weights), "--voice", "nobody") == 2
    assert "nobody" in capsys.readouterr().err
