from __future__ import annotations

import asyncio
import itertools
import re
import runpy
import threading
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import pytest
from stretto.audio.bias import Bias
from stretto.audio.pauses import cut_at_pause
from stretto.audio.pcm import RATE, Int16, frames, read_audio, to_float
from stretto.audio.recognise import Partial, Recogniser, Recognition, Transcript
from stretto.audio.whisper import ModelError, Whisper, without_repeats

Say = Callable[..., Int16]


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", "", text.lower().replace("-", " ")).split())


async def hear(recognition: Recognition, pcm: Int16, at: float = 0.0) -> list[Partial]:
    """Feed all of it, waiting for every pass, as if the machine were infinitely fast."""
    partials: list[Partial] = []
    for frame in frames(pcm, at):
        partials += recognition.feed(frame)
        partials += await recognition.settled()
    return partials


def listen(
    recogniser: Recogniser, pcm: Int16, bias: list[str] | None = None
) -> tuple[list[Partial], Transcript]:
    async def run() -> tuple[list[Partial], Transcript]:
        recognition = recogniser.open(bias or ())
        partials = await hear(recognition, pcm)
        transcript = await recognition.final()
        recognition.close()
        return partials, transcript

    return asyncio.run(run())


def test_partials_grow_and_the_final_has_the_words(recogniser: Recogniser, say: Say) -> None:
    pcm = say("I would like to book a table for two people tomorrow evening, please.")
    partials, transcript = listen(recogniser, pcm)
    assert "book a table for two people tomorrow evening please" in plain(transcript.text)
    assert 0.5 < transcript.confidence <= 1.0 and transcript.no_speech < 0.5
    assert transcript.audio_seconds == pytest.approx(len(pcm) / RATE, abs=0.03)
    for before, after in itertools.pairwise(partials):
        assert after.stable.startswith(before.stable) and after.at > before.at
    assert plain(partials[-1].text) == plain(transcript.text)
    speech = [p.at for p in partials if 0.5 < p.at < len(pcm) / RATE - 0.5]
    assert max(np.diff([0.5, *speech])) <= 0.45
    assert "table" in partials[-1].stable


@pytest.mark.parametrize("kind", ["zeros", "white", "hum", "burst"])
def test_silence_and_noise_give_no_words(recogniser: Recogniser, kind: str) -> None:
    rng = np.random.default_rng(3)
    time = np.arange(2 * RATE) / RATE
    pcm = {
        "zeros": np.zeros(2 * RATE),
        "white": rng.normal(0, 800, 2 * RATE),
        "hum": 4000 * np.sin(2 * np.pi * 120 * time),
        "burst": rng.normal(0, 6000, 2 * RATE) * np.exp(-8 * np.abs(time - 1)),
    }[kind].astype(np.int16)
    for bias in ([], ["The Copper Kettle", "Hannah Brooks", "Central Station", "Thank you"]):
        _, transcript = listen(recogniser, pcm, bias)
        assert transcript.text == ""


def test_final_uses_audio_up_to_the_end_and_may_be_made_again(recogniser: Recogniser, say: Say) -> None:
    first, second = say("I need a taxi.", 0.3, 0.4), say("To the airport, please.", 0.3, 0.6)

    async def run() -> tuple[str, str, str]:
        recognition = recogniser.open()
        await hear(recognition, first, at=7.0)
        one = await recognition.final(7.0 + len(first) / RATE - 0.4)
        await hear(recognition, second, at=7.0 + len(first) / RATE)
        early = await recognition.final(7.0 + len(first) / RATE - 0.6)
        both = await recognition.final()
        return plain(one.text), plain(early.text), plain(both.text)

    one, early, both = asyncio.run(run())
    assert one == "i need a taxi" and "airport" not in early
    assert both.startswith("i need a taxi") and "to the airport please" in both


def test_a_pass_that_heard_the_end_already_is_the_final(recogniser: Recogniser, say: Say) -> None:
    pcm = say("Can you find me a cheap hotel?", 0.5, 0.3)
    end = float(np.flatnonzero(np.abs(pcm) > 328)[-1]) / RATE

    async def run() -> tuple[int, Transcript]:
        recognition = recogniser.open()
        await hear(recognition, pcm)
        passes: list[int] = []
        recogniser.submit = lambda call: passes.append(1) or submit(call)  # type: ignore
        submit = Recogniser.submit.__get__(recogniser)
        try:
            transcript = await recognition.final(end)
        finally:
            del recogniser.submit
        return len(passes), transcript

    count, transcript = asyncio.run(run())
    assert count == 0 and plain(transcript.text) == "can you find me a cheap hotel"


def test_long_turns_are_cut_at_pauses_and_nothing_is_lost(
    recogniser: Recogniser, clips: dict[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stretto.audio.recognise.CADENCE", 1.5)  # the same path with fewer passes
    austen = [(read_audio(path), text) for path, text in clips.items() if path.name.startswith("austen")]
    austen += austen[3:]
    pcm = np.concatenate([sound for sound, _ in austen])
    expected = " ".join(text for _, text in austen)
    assert len(pcm) / RATE > 30
    partials, transcript = listen(recogniser, pcm)
    assert jiwer.wer(plain(expected), plain(transcript.text)) < 0.12
    assert all(b.stable.startswith(a.stable) for a, b in itertools.pairwise(partials))
    assert len(partials[-1].stable.split()) > 60
    # The same while no partial pass may run: `final` closes the windows itself.
    quiet = recogniser.open()
    quiet.paused = True
    for frame in frames(pcm):
        assert quiet.feed(frame) == []
    alone = asyncio.run(quiet.final())
    assert jiwer.wer(plain(expected), plain(alone.text)) < 0.15


def test_never_two_passes_queue_and_paused_means_none(recogniser: Recogniser, say: Say) -> None:
    pcm = say("One, two, three, four, five, six.")
    gate, started = threading.Event(), []
    real = recogniser.whisper.recognise

    def slow(audio, *rest):  # type: ignore[no-untyped-def]
        started.append(len(audio))
        gate.wait(20)
        return real(audio, *rest)

    async def run() -> None:
        recogniser.whisper.recognise = slow  # type: ignore[method-assign]
        try:
            paused = recogniser.open()
            paused.paused = True
            for frame in frames(pcm):
                paused.feed(frame)
            assert started == []
            recognition = recogniser.open()
            for frame in frames(pcm):
                recognition.feed(frame)
            assert len(started) <= 2  # a partial pass, and the full one at a pause beside it
            gate.set()
            assert len(await recognition.settled()) >= 1 and len(started) <= 2
        finally:
            gate.set()
            del recogniser.whisper.recognise

    asyncio.run(run())


def test_a_broken_model_shows_at_the_final_and_the_next_turn_works(recogniser: Recogniser, say: Say) -> None:
    pcm = say("Hello there.")

    def broken(audio, *rest):  # type: ignore[no-untyped-def]
        raise RuntimeError("out of memory")

    recogniser.whisper.recognise = broken  # type: ignore[method-assign]
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            listen(recogniser, pcm)
    finally:
        del recogniser.whisper.recognise
    assert "hello" in listen(recogniser, pcm)[1].text.lower()


def test_bias_finds_the_names_of_the_database(recogniser: Recogniser, say: Say) -> None:
    names = [
        "Peking Garden",
        "George's Oven",
        "The Copper Spring Hotel",
        "Ruth Hill",
        "La Piazza",
        "Taj Palace",
    ]
    names += [
        f"The {a} {b}" for a in ("Lucky", "Royal", "Velvet") for b in ("Fox", "Lion", "Anchor", "Crown")
    ]
    texts = [
        f"I'd like a table at {name} for four people."
        for name in ("Peking Garden", "La Piazza", "Taj Palace")
    ]
    hits = {True: 0, False: 0}
    for text in texts:
        samples = to_float(say(text))
        for biased in (True, False):
            got = recogniser.whisper.recognise(samples, 5, Bias(names) if biased else None).text
            hits[biased] += any(name.lower() in got.lower() for name in names)
    assert hits[True] >= hits[False] and hits[True] >= 2


def test_bias_candidates() -> None:
    bias = Bias(["Peking Garden", "Ruth Hill", "The Royal Lion", ""])
    assert bias.alike("a table at Be King Garden for four")[-1] == "Peking Garden"
    assert bias.alike("a table at Peking Garden for four") == []
    assert bias.alike("yes please") == [] and bias.alike("") == []


def test_repeats_are_cut_but_numbers_are_kept() -> None:
    assert (
        without_repeats("I feel like, I feel like, I feel like, I feel like, I feel") == "I feel like, I feel"
    )
    assert without_repeats("go go go go go go go to Windsor") == "go to Windsor"
    assert without_repeats("here are some words words words words") == "here are some words words words words"
    assert without_repeats("no no no") == "no no no"
    assert without_repeats("four four four four one") == "four four four four one"
    assert without_repeats("7 7 7 7") == "7 7 7 7"


def test_cut_at_the_longest_pause() -> None:
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 0.1, 10 * RATE).astype(np.float32)
    audio[int(5.0 * RATE) : int(5.2 * RATE)] *= 0.01
    audio[int(7.0 * RATE) : int(7.6 * RATE)] *= 0.01
    assert cut_at_pause(audio, 2.0, 9.0) == pytest.approx(7.3, abs=0.1)
    assert cut_at_pause(audio, 2.0, 6.0) == pytest.approx(5.1, abs=0.1)
    assert cut_at_pause(audio[: RATE // 100], 0.0, 1.0) == 0.0


def test_unknown_models_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"unknown recogniser model 'huge'.*tiny\.en"):
        Recogniser("huge")
    with pytest.raises(ModelError, match=r"lacks model\.bin"):
        Recogniser(str(tmp_path))
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelError, match="not a usable"):
        Whisper(tmp_path)


@pytest.mark.bars
def test_word_error_rate_is_within_2_points_of_offline(
    clips: dict[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stretto.audio.recognise.CADENCE", 1.5)  # partials do not change the final text
    bench = runpy.run_path(str(Path(__file__).parents[1] / "bench" / "recognition.py"))
    measured = bench["measure"](next(iter(clips)).parent, False)
    assert measured["files"] == len(clips)
    assert measured["wer_streaming"] <= measured["wer_offline"] + 2.0
