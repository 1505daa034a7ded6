"""A telephone line's packets become one stream that is in time with the wire, whatever the network does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.audio.concealment import conceal
from stretto.audio.packets import LONGEST_GAP_S, PacketStream, Piece

RATE, SIZE = 8000, 160


def tone(count: int, start: int = 0, hz: float = 150.0) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hz * np.arange(start, start + count) / RATE)).astype(np.int16)


def numbered(number: int) -> np.ndarray:
    """A packet that can be told from all others."""
    return np.full(SIZE, 1000 + number, np.int16)


def whole(pieces: list[Piece]) -> np.ndarray:
    return np.concatenate([piece.pcm for piece in pieces]) if pieces else np.zeros(0, np.int16)


def test_a_clean_line_is_passed_on_at_once_and_as_it_is():
    stream = PacketStream(RATE)
    for number in range(200):
        now = 10.0 + (number + 1) * 0.02
        (piece,) = stream.put(numbered(number), now, number * 20)
        assert np.array_equal(piece.pcm, numbered(number))
        assert piece.at == pytest.approx(10.0 + number * 0.02, abs=0.001)
        assert piece.start == number * SIZE
    assert (stream.lost, stream.late) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_lost_late_and_overtaken_packets_leave_every_other_at_its_place(data):
    """Whatever is lost or comes up to 60 ms late: what is passed on lies where the sender had it."""
    count = data.draw(st.integers(20, 60))
    lost = data.draw(st.sets(st.integers(2, count - 6), max_size=count // 4))
    delays = data.draw(st.lists(st.integers(0, 55), min_size=count, max_size=count))
    delays[0] = 0
    arrivals = sorted(
        ((number + 1) * 0.02 + delays[number] / 1000, number) for number in range(count) if number not in lost
    )
    stream, pieces = PacketStream(RATE), []
    for now, number in arrivals:
        pieces += stream.put(numbered(number), now, number * 20)
    pcm = whole(pieces)
    placed = 0
    for number in range(count - 5):
        got = pcm[number * SIZE : (number + 1) * SIZE]
        if np.array_equal(got, numbered(number)):
            placed += 1
        else:  # concealed: nothing of another packet that came stands there whole
            assert not any(np.array_equal(got, numbered(other)) for other in range(count) if other != number)
    assert placed >= count - 5 - len(lost) - stream.late
    assert [piece.start for piece in pieces] == list(
        np.cumsum([0, *(len(piece.pcm) for piece in pieces)])[:-1]
    )
    assert stream.lost <= (len(lost) + stream.late) * SIZE


def test_a_packet_that_was_overtaken_is_waited_for():
    stream, pieces = PacketStream(RATE), []
    order = [0, 1, 3, 2, 4, 5]
    for place, number in enumerate(order):
        pieces += stream.put(numbered(number), (place + 1) * 0.02, number * 20)
    assert np.array_equal(whole(pieces), np.concatenate([numbered(n) for n in range(6)]))
    assert (stream.lost, stream.late) == (0, 0)


def test_what_comes_twice_or_too_late_is_left_out():
    stream, pieces = PacketStream(RATE), []
    for place, number in enumerate([0, 1, 1, 2, 3, 0, 4]):
        pieces += stream.put(numbered(number), (place + 1) * 0.02, number * 20)
    assert np.array_equal(whole(pieces), np.concatenate([numbered(n) for n in range(5)]))
    assert stream.late == 2


@given(st.integers(-(10**12), 10**12))
@settings(deadline=None)
def test_no_stamp_makes_more_than_a_short_gap(stamp):
    """Nobody can have a number filled up with gigabytes of silence."""
    stream = PacketStream(RATE)
    stream.put(numbered(0), 0.02, 0)
    made = sum(
        len(piece.pcm) for n in range(8) for piece in stream.put(numbered(n), 0.04 + n / 50, stamp + n * 20)
    )
    assert made <= (LONGEST_GAP_S + 1) * RATE


def test_a_sender_that_counts_anew_is_heard_again():
    stream, heard = PacketStream(RATE), 0
    for number in range(100):
        stream.put(numbered(number), (number + 1) * 0.02, number * 20)
    for number in range(100):
        pieces = stream.put(numbered(number), 2.0 + (number + 1) * 0.02, number * 20)
        heard += sum(len(piece.pcm) for piece in pieces)
    assert heard >= 70 * SIZE
    assert pieces[-1].at == pytest.approx(2.0 + 99 * 0.02, abs=0.02)


def test_time_stays_that_of_the_wire_through_jitter():
    rng = np.random.default_rng(3)
    stream = PacketStream(RATE)
    for number in range(1000):
        now = (number + 1) * 0.02 + rng.uniform(0.005, 0.06)
        for piece in stream.put(np.zeros(SIZE, np.int16), now):
            if number > 50:
                assert piece.at == pytest.approx(piece.start / RATE + 0.005, abs=0.05)


def test_without_stamps_a_loss_is_made_up_for_with_silence():
    """TCP tells nothing of what was lost before it: the stream lags, and is brought back."""
    stream, pieces, sent = PacketStream(RATE), [], 0
    for number in range(300):
        if 100 <= number < 110:
            continue  # 200 ms never came
        pieces += stream.put(numbered(number), (number + 1) * 0.02)
        sent = number + 1
    assert abs(sum(len(piece.pcm) for piece in pieces) - sent * SIZE) <= 2 * SIZE
    assert stream.lost >= 9 * SIZE
    assert pieces[-1].at == pytest.approx(299 * 0.02, abs=0.05)


def test_without_stamps_a_queue_that_empties_is_no_gap_and_a_pause_is_one():
    stream, pieces = PacketStream(RATE), []
    for number in range(50):
        pieces += stream.put(numbered(number), (number + 1) * 0.02)
    for number in range(50, 100):  # a second in a queue, then all at once
        pieces += stream.put(numbered(number), 2.0 + (number - 50) * 0.0001)
    for number in range(100, 150):
        pieces += stream.put(numbered(number), (number + 1) * 0.02)
    assert np.array_equal(whole(pieces), np.concatenate([numbered(n) for n in range(150)]))
    assert pieces[-1].at == pytest.approx(149 * 0.02, abs=0.03)
    for number in range(150, 200):  # nothing for two seconds
        pieces += stream.put(numbered(number), 2.0 + (number + 1) * 0.02)
    assert pieces[-1].at == pytest.approx(2.0 + 199 * 0.02, abs=0.03)


def test_what_is_concealed_goes_on_like_the_voice_and_fades():
    before = tone(800)
    made = conceal(before, 480, RATE)
    true = tone(480, 800)
    assert float(np.corrcoef(made[:160], true[:160])[0, 1]) > 0.9
    loud = [int(np.abs(made[n : n + 120].astype(int)).max()) for n in (0, 120, 240, 360)]
    assert loud == sorted(loud, reverse=True) and loud[-1] < loud[0] / 3
    assert not conceal(before, 4000, RATE)[480:].any()


@given(st.integers(0, 400), st.integers(0, 2000))
@settings(deadline=None)
def test_anything_can_be_concealed(length, count):
    made = conceal(tone(length), count, RATE)
    assert (len(made), made.dtype) == (count, np.int16)
