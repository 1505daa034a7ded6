"""Which audio belongs to which turn."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np
import pytest
from stretto.agent.hearing import Hearing
from stretto.agent.history import History
from stretto.agent.line import FrameLine
from stretto.audio.pcm import FRAME, Frame


class Turns:
    """A recogniser that only remembers the times of what it was fed, and is no voice activity detector."""

    def __init__(self):
        self.fed = []

    def open(self, bias=()):
        self.bias = bias
        self.fed.append([])
        return Turn(self.fed[-1])


class Turn:
    paused = False

    def __init__(self, fed):
        self.fed = fed

    def feed(self, frame):
        self.fed.append(round(frame.at, 2))
        return []

    def close(self):
        pass


def feed(hearing, start, end):
    for n in range(round(start * 50), round(end * 50)):
        hearing.feed(Frame(np.zeros(FRAME, np.int16), n / 50))


def test_a_turn_begins_half_a_second_before_its_speech():
    turns = Turns()
    hearing = Hearing(turns, None, ["Harbor Grill"])
    feed(hearing, 0, 5.1)
    hearing.open(5.0)
    feed(hearing, 5.1, 5.5)
    assert turns.bias == ("Harbor Grill",)
    assert turns.fed[0] == [round(n / 50, 2) for n in range(225, 275)]


def test_the_end_of_one_turn_is_not_heard_again_in_the_next():
    turns = Turns()
    hearing = Hearing(turns, None)
    hearing.open(0.0)
    feed(hearing, 0.0, 2.6)
    hearing.close(2.0)
    feed(hearing, 2.6, 2.7)
    hearing.open(2.5)
    assert turns.fed[1][0] == pytest.approx(2.2)


def test_the_beginning_of_a_barge_in_is_kept_though_the_turn_before_is_open():
    turns = Turns()
    hearing = Hearing(turns, None)
    hearing.open(0.0)
    feed(hearing, 0.0, 6.1)
    hearing.close(2.0)
    hearing.open(6.0)
    assert turns.fed[1][0] == pytest.approx(5.5)


def test_final_without_a_turn_is_refused():
    with pytest.raises(RuntimeError, match="no turn"):
        asyncio.run(Hearing(Turns(), None).final(1.0))


def test_the_line_drops_the_oldest_frames():
    async def use():
        line = FrameLine(limit=3)
        fits = [line.put(Frame(np.zeros(FRAME, np.int16), float(n))) for n in range(5)]
        got = [(await line.next(0.1)).at for _ in range(3)]
        return fits, got, line.dropped, await line.next(0.01)

    assert asyncio.run(use()) == ([True, True, True, False, False], [2.0, 3.0, 4.0], 2, None)


def test_messages_are_on_disk_while_the_call_runs(tmp_path):
    path = tmp_path / "call.jsonl"
    history = History(path)
    history.caller(1, "a table", 1000)
    deadline = time.monotonic() + 10
    while not path.read_text() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert json.loads(path.read_text())["content"] == "a table"  # not closed yet: a crash loses nothing
    history.close()
