from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.audio.playback import Playback, PlaybackFull, pace
from stretto.audio.synthesise import Chunk, Word

RATE = 22_050


@st.composite
def clause_chunks(draw: st.DrawFn) -> list[Chunk]:
    """One clause in one to three chunks; words with gaps, times counted over the whole clause."""
    chunks: list[Chunk] = []
    start = 0.0
    for _ in range(draw(st.integers(1, 3))):
        words, at = [], start
        for _ in range(draw(st.integers(0, 4))):
            at += draw(st.floats(0, 0.05))
            end = at + draw(st.floats(0.02, 0.3))
            words.append(Word(f"w{draw(st.integers(0, 99))}", at, end))
            at = end
        length = int((at - start) * RATE) + draw(st.integers(1, 1000))
        chunks.append(Chunk(np.full(length, 1000, np.int16), RATE, tuple(words), start))
        start += length / RATE
    return chunks


@settings(max_examples=60, deadline=None)
@given(st.lists(clause_chunks(), min_size=1, max_size=4), st.sampled_from([8_000, RATE, 24_000]), st.data())
def test_heard_text_is_an_exact_prefix_at_every_frame(
    clauses: list[list[Chunk]], rate: int, data: st.DataObject
) -> None:
    playback = Playback(rate)
    chunks = [chunk for clause in clauses for chunk in clause]
    for chunk in chunks:
        playback.enqueue(chunk)
    words = [word.text for chunk in chunks for word in chunk.words]
    # Middles of the words on the output's clock, from the chunks alone.
    middles, offset = [], 0
    for chunk in chunks:
        length = round(len(chunk.pcm) * rate / RATE)
        middles += [offset + ((w.start + w.end) / 2 - chunk.start) * rate for w in chunk.words]
        offset += length
    taken, before = 0, 0
    for _ in range(data.draw(st.integers(0, 200))):
        playback.next_frame()
        taken += playback.frame_samples
        heard = playback.heard()
        count = len(heard.words)
        assert heard.text == " ".join(words[:count]) and count >= before
        slack = len(chunks) + 2  # rounding of every resampled chunk
        assert all(middle < taken + slack for middle in middles[:count])
        assert all(middle > taken - slack for middle in middles[count:] if taken < offset - slack)
        before = count
    stopped = playback.stop()
    assert stopped.text == " ".join(words[:before])
    assert not playback.playing and playback.heard().text == ""


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6))
def test_every_sample_is_played_once_and_then_silence(lengths: list[int]) -> None:
    rng = np.random.default_rng(sum(lengths))
    pieces = [rng.integers(1, 30_000, n).astype(np.int16) for n in lengths]
    playback = Playback(RATE)
    for piece in pieces:
        playback.enqueue(Chunk(piece, RATE, ()))
    assert abs(playback.buffered_ms - sum(lengths) * 1000 / RATE) < 1e-6
    played = []
    while playback.playing:
        played.append(playback.next_frame())
    joined = np.concatenate(played)
    assert np.array_equal(joined[: sum(lengths)], np.concatenate(pieces))
    assert not joined[sum(lengths) :].any() and not playback.next_frame().any()
    assert playback.heard().samples == sum(lengths)


def test_a_word_counts_when_more_than_half_was_played() -> None:
    playback = Playback(RATE)
    playback.enqueue(Chunk(np.ones(4410, np.int16), RATE, (Word("one", 0.0, 0.08), Word("two", 0.08, 0.2))))
    texts = []
    for _ in range(10):
        playback.next_frame()
        texts.append(playback.heard().text)
    assert texts == ["", "", "one", "one", "one", "one", "one", "one two", "one two", "one two"]


def test_stop_is_at_once_with_a_short_fade() -> None:
    playback = Playback(RATE)
    playback.enqueue(Chunk(np.full(RATE, 20_000, np.int16), RATE, (Word("long", 0.0, 1.0),)))
    playback.next_frame()
    assert playback.stop().text == ""
    after = playback.next_frame()
    assert not after[int(0.005 * RATE) :].any()
    assert np.all(np.diff(after[: int(0.005 * RATE)].astype(int)) <= 0)
    assert not playback.next_frame().any()


def test_ducking_ramps_and_comes_back() -> None:
    playback = Playback(RATE)
    playback.enqueue(Chunk(np.full(RATE, 10_000, np.int16), RATE, ()))
    playback.next_frame()
    playback.duck(0.2)
    ramp = playback.next_frame().astype(int)
    assert np.max(np.abs(np.diff(ramp))) < 200 and ramp[-1] == 2000
    playback.duck(1.0)
    playback.next_frame()
    assert np.all(playback.next_frame() == 10_000)
    with pytest.raises(ValueError, match="gain"):
        playback.duck(1.5)


def test_marks_tell_replies_apart_and_forget_begins_a_new_account() -> None:
    playback = Playback(RATE)
    for mark in ("first", "second"):
        playback.enqueue(Chunk(np.ones(441, np.int16), RATE, (Word(mark, 0.0, 0.02),)), mark)
    playback.next_frame()
    playback.next_frame()
    assert playback.heard().text == "first second"
    assert playback.heard("second").text == "second" and playback.heard("second").samples == 441
    playback.forget()
    assert playback.heard().samples == 0


def test_the_buffer_is_bounded() -> None:
    playback = Playback(RATE, limit_s=1.0)
    playback.enqueue(Chunk(np.ones(RATE, np.int16), RATE, ()))
    assert playback.room() == 0.0
    with pytest.raises(PlaybackFull, match="room"):
        playback.enqueue(Chunk(np.ones(1, np.int16), RATE, ()))
    with pytest.raises(ValueError, match="whole number"):
        Playback(22_050, 15)


class Clock:
    """Virtual time; `sleep` is asked for and obeyed exactly, plus a stall where one is planned."""

    def __init__(self, stalls: dict[int, float]) -> None:
        self.now, self.sleeps, self.stalls = 50.0, 0, stalls

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.now += seconds + self.stalls.get(self.sleeps, 0.0)
        await asyncio.sleep(0)


def test_pacing_does_not_drift_and_catches_up_after_a_stall() -> None:
    clock = Clock({10: 1.0})
    written: list[tuple[float, float]] = []

    def write(frame: np.ndarray, at: float) -> None:
        written.append((at, clock.now))
        if len(written) == 200:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(pace(Playback(RATE), write, clock, sleep=clock.sleep))
    assert [round(at, 6) for at, _ in written] == [round(50 + 0.02 * i, 6) for i in range(200)]
    assert all(now >= at - 1e-9 for at, now in written)
    late = [i for i, (at, now) in enumerate(written) if now > at + 1e-6]
    assert late and late[-1] < 65  # the missed 50 frames follow at once, then it is on time again


def test_pacing_stops_when_cancelled() -> None:
    async def run() -> int:
        count = 0

        async def write(frame: np.ndarray, at: float) -> None:
            nonlocal count
            count += 1
            if count == 3:
                task.cancel()
            await asyncio.sleep(0)

        clock = Clock({})
        task = asyncio.ensure_future(pace(Playback(RATE), write, clock, sleep=clock.sleep))
        with pytest.raises(asyncio.CancelledError):
            await task
        return count

    assert asyncio.run(run()) == 3
