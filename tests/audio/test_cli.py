from __future__ import annotations

import argparse
import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from stretto.audio.cli import COMMIT, _Caller, checks, register, transcribe
from stretto.audio.pcm import Frame, Int16, frames, read_audio, write_wav
from stretto.audio.recognise import Partial, Recogniser, Transcript

Say = Callable[..., Int16]


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    register(subparsers)
    for command in subparsers.choices.values():
        command.add_argument("--json", action="store_true")
        command.add_argument("--quiet", action="store_true")
    args = parser.parse_args(argv)
    return int(args.run(args))


def transcribed(capsys: pytest.CaptureFixture[str], *paths: Path) -> list[dict[str, Any]]:
    assert run("transcribe", "--no-pacing", "--json", *map(str, paths)) == 0
    files: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    return files


def test_transcribe_json(tmp_path: Path, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.wav"
    pcm = np.concatenate([say("I need a taxi.", 0.6, 0.9), say("To the airport, please.", 0.0, 0.8)])
    write_wav(path, pcm, 16_000)
    (result,) = transcribed(capsys, path)
    assert result["path"] == str(path) and result["seconds"] == pytest.approx(len(pcm) / 16_000, abs=1e-3)
    assert "need a taxi" in result["text"].lower() and "to the airport" in result["text"].lower()
    assert result["final_latency_ms"] > 0
    times = [partial["at_ms"] for partial in result["partials"]]
    assert times == sorted(times) and len(times) > 5
    # Partials of the second utterance carry the first one's text.
    assert (
        "taxi" in result["partials"][-1]["text"].lower()
        and "airport" in result["partials"][-1]["text"].lower()
    )


class Listener:
    """A recogniser that hears nothing and keeps what it was given."""

    def __init__(self) -> None:
        self.heard: list[list[float]] = []

    def open(self, bias: Sequence[str]) -> Listener:
        self.heard.append([])
        return self

    def feed(self, frame: Frame) -> list[Partial]:
        self.heard[-1].append(frame.at)
        return []

    async def settled(self) -> list[Partial]:
        return []

    async def final(self, end: float) -> Transcript:
        return Transcript("words", 1.0, 0.0, 1.0, 1.0)

    def close(self) -> None:
        pass


class Late(Listener):
    """Its finals take as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []
        self.go = asyncio.Event()

    async def final(self, end: float) -> Transcript:
        self.asked.append(end)
        await self.go.wait()
        return Transcript(f"words up to {end:.1f}", 1.0, 0.0, 1.0, 1.0)


def test_a_final_that_comes_after_the_speaker_went_on_is_not_taken(say: Say) -> None:
    speech = say("I need a taxi to the airport.", 0.0, 0.0)
    loud = np.flatnonzero(np.abs(speech.astype(int)) > 300)
    speech = speech[loud[0] : loud[-1]]
    silence = np.zeros(16_000, np.int16)
    first, rest = (
        np.concatenate([silence, speech, silence[:5000]]),
        np.concatenate([speech, silence, silence]),
    )

    async def run() -> tuple[list[float], list[float], str]:
        late = Late()
        caller = _Caller(cast("Any", late), [])
        for frame in frames(np.concatenate([first, rest])):
            await caller.feed(frame, False, lambda: 0.0)
            await asyncio.sleep(0)
            if late.asked and caller._ended is None and not late.go.is_set():
                late.go.set()  # the first final ends when the speech has begun again
                await asyncio.sleep(0.01)
                assert caller._soft is None and caller.latency_ms is None
        at = (len(first) + len(rest)) / 16_000
        text = await caller.finish(at, lambda: 0.0)
        await caller.close()
        return late.asked, [len(heard) for heard in late.heard], text

    asked, heard, text = asyncio.run(run())
    assert len(asked) == 2 and len(heard) == 1
    assert text == f"words up to {asked[1]:.1f}"


@pytest.mark.parametrize("gap", [COMMIT - 0.04, COMMIT + 0.02, COMMIT + 0.2])
def test_words_that_begin_while_the_last_utterance_is_closed_are_heard_from_their_start(
    say: Say, gap: float
) -> None:
    speech = say("I need a taxi.", 0.0, 0.0)
    loud = np.flatnonzero(np.abs(speech.astype(int)) > 300)
    speech = speech[loud[0] : loud[-1]]
    pcm = np.concatenate(
        [
            np.zeros(16_000, np.int16),
            speech,
            np.zeros(int(gap * 16_000), np.int16),
            speech,
            np.zeros(24_000, np.int16),
        ]
    )
    second = 1.0 + len(speech) / 16_000 + gap
    listener = Listener()
    asyncio.run(transcribe(cast(Recogniser, listener), pcm, False, [], lambda line: None))
    assert any(frames[0] <= second <= frames[-1] for frames in listener.heard)
    if len(listener.heard) > 1:  # and nothing is heard twice
        assert listener.heard[0][-1] - COMMIT <= listener.heard[1][0]


def test_silent_8_bit_and_44_khz_stereo_files(
    tmp_path: Path, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    silent, eight, stereo = (tmp_path / name for name in ("silent.wav", "eight.wav", "stereo.wav"))
    write_wav(silent, np.zeros(32_000, np.int16), 16_000)
    speech = say("Can you find me a cheap hotel?").astype(np.float32) / 32768
    soundfile.write(eight, speech, 16_000, subtype="PCM_U8")
    import soxr

    wide = soxr.resample(speech, 16_000, 44_100)
    soundfile.write(stereo, np.stack([wide, wide], axis=1), 44_100, subtype="PCM_16")
    results = transcribed(capsys, silent, eight, stereo)
    assert results[0]["text"] == "" and results[0]["partials"] == []
    assert results[0]["final_latency_ms"] is None
    assert all("cheap hotel" in result["text"].lower() for result in results[1:])


def test_bad_input_is_exit_code_2_with_a_message(
    tmp_path: Path, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, text, cut = tmp_path / "empty.wav", tmp_path / "text.wav", tmp_path / "cut.wav"
    empty.touch()
    text.write_text("hello " * 100)
    write_wav(cut, say("Hello."), 16_000)
    cut.write_bytes(cut.read_bytes()[:9000])
    good = tmp_path / "good.wav"
    write_wav(good, say("Hello."), 16_000)
    out = str(tmp_path / "out.wav")
    for argv, words in [
        (["transcribe", str(tmp_path / "missing.wav")], "no such file"),
        (["transcribe", str(empty)], "is empty"),
        (["transcribe", str(text)], "cannot be read as audio"),
        (["transcribe", str(cut)], "truncated"),
        (["transcribe", str(good), "--stt", "huge"], "unknown recogniser model"),
        (["say", "Hello", "-o", out, "--voice", "nobody"], "unknown voice"),
        (["say", "...", "-o", out], "nothing to say"),
        (["say", "Hello", "-o", out, "--speed", "50"], "speed"),
        (["say", "Hello", "-o", str(tmp_path / "no" / "out.wav")], "is no folder"),
        (["say", "Hello", "-o", str(tmp_path)], "cannot be written"),
    ]:
        assert run(*argv) == 2, argv
        captured = capsys.readouterr()
        assert words in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize("command", [("transcribe", "{wav}"), ("say", "Hello there.", "-o", "{wav}")])
def test_a_gpu_that_is_not_there(
    command: tuple[str, ...],
    tmp_path: Path,
    say: Say,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 0)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    path = tmp_path / "hello.wav"
    write_wav(path, say("Hello there."), 16_000)
    argv = [part.format(wav=path) for part in command]
    assert run(*argv, "--device", "cuda") == 2
    assert "no GPU here: leave --device out" in capsys.readouterr().err
    assert run(*argv, "--device", "auto", "--quiet") == 0


def test_say_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "said.wav"
    assert run("say", "Sure, I have two tables. Which one?", "-o", str(path), "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert soundfile.info(path).samplerate == 22_050
    assert result["seconds"] == pytest.approx(soundfile.info(path).duration, abs=1e-3)
    assert result["first_audio_ms"] > 0
    words = result["words"]
    assert [word["word"] for word in words] == ["Sure,", "I", "have", "two", "tables.", "Which", "one?"]
    assert all(a["end_ms"] <= b["start_ms"] + 1 for a, b in itertools.pairwise(words))
    assert words[-1]["end_ms"] <= result["seconds"] * 1000
    assert run("say", "Sure, I have two tables. Which one?", "-o", str(path), "--speed", "2", "--quiet") == 0
    assert len(read_audio(path)) / 16_000 < 0.75 * result["seconds"]
    assert capsys.readouterr().out == ""


def test_doctor_checks() -> None:
    found = {check["name"]: check for check in checks()}
    for name in ("voice", "voice activity", "recogniser"):
        assert found[name]["ok"], found[name]
    assert all(check["ok"] or check["fix"] for check in found.values())
    broken = {check["name"]: check for check in checks(stt="huge", voice="nobody")}
    assert not broken["recogniser"]["ok"] and "unknown recogniser" in broken["recogniser"]["detail"]
    assert not broken["voice"]["ok"] and broken["voice"]["fix"]
