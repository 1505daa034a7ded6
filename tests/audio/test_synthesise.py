from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.audio.alignment import Sound, shared, word_times
from stretto.audio.clauses import clauses
from stretto.audio.pcm import Int16, to_float
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Chunk, Synthesiser, VoiceError

TEXTS = [
    "Sure, I have a table for two at 7:30 pm.",
    "The code is K4P7 - that is all of it. Anything else?",
    "On the corner of the street, at the end of the road!",
    "It costs £12.50 (with tax), and you can pay on Nov 27.",
    "Yes.",
]


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_the_source_words_with_times_inside_the_audio(synthesiser: Synthesiser, text: str) -> None:
    chunks = list(synthesiser.synthesise(text))
    words = [word for chunk in chunks for word in chunk.words]
    assert " ".join(word.text for word in words) == " ".join(text.split())
    assert all(word.start <= word.end for word in words)
    assert all(a.start <= b.start and a.end <= b.end + 1e-9 for a, b in itertools.pairwise(words))
    total = 0.0
    for chunk in chunks:
        assert chunk.start == pytest.approx(total)
        total += len(chunk.pcm) / chunk.rate
        assert all(word.end <= total + 1e-6 for word in chunk.words)
    sound = sum(word.end - word.start for word in words if any(c.isalnum() for c in word.text))
    assert 0.5 * total < sound <= total


def test_word_times_come_from_the_voice_and_match_the_sound(synthesiser: Synthesiser) -> None:
    """Between two sentences the sound is silent exactly where no word is."""
    before = synthesiser.aligned
    chunks = list(synthesiser.synthesise("Hello there. Goodbye."))
    assert synthesiser.aligned == before + 2 and synthesiser.shared == 0
    first = chunks[0]
    level = np.abs(first.pcm.astype(int))
    end = int(first.words[-1].end * first.rate)
    assert level[end + int(0.06 * first.rate) :].max() < 0.05 * level.max()
    assert level[int(first.words[0].start * first.rate) : end].max() == level.max()


def test_leading_silence_is_trimmed_and_levels_do_not_jump(synthesiser: Synthesiser) -> None:
    peaks = []
    for text in TEXTS:
        chunk = next(iter(synthesiser.synthesise(text)))
        level = np.abs(chunk.pcm.astype(int))
        assert np.flatnonzero(level > 328)[0] <= 0.01 * chunk.rate
        assert len(level) - np.flatnonzero(level > 328)[-1] <= 0.2 * chunk.rate
        peaks.append(level.max())
    assert min(peaks) > 8000 and max(peaks) <= 32_767


def test_speak_gives_the_same_off_the_event_loop(synthesiser: Synthesiser) -> None:
    async def collect(text: str) -> list[Chunk]:
        return [chunk async for chunk in synthesiser.speak(text)]

    text = "Of course. Shall I book it?"
    chunks = asyncio.run(collect(text))
    again = list(synthesiser.synthesise(text))
    assert len(chunks) == 2
    assert all(
        np.array_equal(a.pcm, b.pcm) and a.words == b.words for a, b in zip(chunks, again, strict=True)
    )
    assert asyncio.run(collect("... 😀 --")) == [] and asyncio.run(collect("")) == []


def test_speed_and_pitch(synthesiser: Synthesiser) -> None:
    text = "I would like a table for two people, please."

    def length_and_pitch(voice: Synthesiser) -> tuple[float, float]:
        pcm = np.concatenate([chunk.pcm for chunk in voice.synthesise(text)]).astype(float)
        spectrum = np.abs(np.fft.rfft(pcm)) ** 2
        hertz = np.fft.rfftfreq(len(pcm), 1 / voice.rate)
        band = hertz < 4000
        return len(pcm) / voice.rate, float((spectrum[band] * hertz[band]).sum() / spectrum[band].sum())

    normal = length_and_pitch(synthesiser)
    fast, high = Synthesiser(speed=1.5, deterministic=True), Synthesiser(pitch=1.25, deterministic=True)
    try:
        assert 0.58 < length_and_pitch(fast)[0] / normal[0] < 0.78
        length, centre = length_and_pitch(high)
        assert 0.9 < length / normal[0] < 1.1 and centre > 1.08 * normal[1]
    finally:
        fast.close()
        high.close()


def test_unusable_voices_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="unknown voice 'nobody'"):
        Synthesiser("nobody")
    with pytest.raises(VoiceError, match=r"0 \.onnx files"):
        Synthesiser(tmp_path)
    lone = tmp_path / "voice.onnx"
    lone.write_bytes(b"x")
    with pytest.raises(VoiceError, match=r"json"):
        Synthesiser(lone)
    Path(f"{lone}.json").write_text("{}")
    with pytest.raises(VoiceError, match="not a usable"):
        Synthesiser(lone)
    with pytest.raises(VoiceError, match="speed"):
        Synthesiser(speed=9)
    with pytest.raises(VoiceError, match="pitch"):
        Synthesiser(pitch=5)


def test_round_trip_through_the_recogniser(say: Callable[..., Int16], recogniser: Recogniser) -> None:
    for text, heard in [
        ("Your table for four people is booked.", ["table for four people is booked"]),
        ("It costs £12.50.", ["12.50", "12 pounds 50", "twelve pounds fifty"]),
        ("The train leaves at 19:30.", ["19.30", "19:30", "nineteen thirty", "1930"]),
        (
            "Write to jane@example.com.",
            ["jane at example.com", "jane at example dot com", "jane@example.com"],
        ),
        ("We are open until 7:30 pm.", ["7.30", "7:30", "seven thirty", "730"]),
    ]:
        got = recogniser.whisper.recognise(to_float(say(text)), beam=5).text.lower().replace(",", "")
        assert any(form in got for form in heard), got


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure, I can do that. Shall I book it?", ["Sure, I can do that. ", "Shall I book it?"]),
        (
            "Yes, of course, I have three tables left tonight.",
            ["Yes, of course, ", "I have three tables left tonight."],
        ),
        (
            "I have a table at 7 p.m. for Dr. Brown. Fine?",
            ["I have a table at 7 p.m. for Dr. Brown. ", "Fine?"],
        ),
        ("It opens at 7 p.m. Shall I book?", ["It opens at 7 p.m. ", "Shall I book?"]),
        (
            "It is 4.5 stars and 1,200 people like it a lot.",
            ["It is 4.5 stars and 1,200 people like it a lot."],
        ),
        ("", []),
    ],
)
def test_clauses(text: str, expected: list[str]) -> None:
    assert clauses(text) == expected


def test_long_sentences_are_cut_at_their_commas() -> None:
    text = "I found " + "a very nice table near the window, " * 6 + "which is free."
    parts = clauses(text)
    assert "".join(parts) == text and len(parts) >= 3
    assert all(len(part.split()) <= 22 for part in parts)


@given(st.text(alphabet="ab ,.!?;:-—'\"1\n", max_size=80) | st.text(max_size=40))
def test_clauses_join_to_the_text(text: str) -> None:
    assert "".join(clauses(text)) == text


@given(
    st.lists(st.lists(st.floats(1, 500), min_size=1, max_size=6), min_size=1, max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
def test_word_times_are_monotone_whatever_espeak_joins(groups: list[list[float]], lengths: list[int]) -> None:
    at = 0.0
    laid: list[list[Sound]] = []
    for group in groups:
        laid.append([])
        for length in group:
            laid[-1].append(Sound("a", at, at + length))
            at += length
    times = word_times(laid, lengths)
    assert len(times) == len(lengths)
    assert all(0 <= start <= end <= at for start, end in times)
    assert all(a[1] <= b[1] and a[0] <= b[0] for a, b in itertools.pairwise(times))


def test_joined_words_share_their_group() -> None:
    group = [Sound("a", 0, 100), Sound("v", 100, 200), Sound("d", 200, 300), Sound("a", 300, 400)]
    assert word_times([group, [Sound("e", 500, 600)]], [2, 2, 1]) == [(0, 200), (200, 400), (500, 600)]
    assert shared([1, 3], 0.0, 8.0) == [(0.0, 2.0), (2.0, 8.0)]
