"""Twilio's marks as the playback clock, in virtual time."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent.ways_in.marked_playback import ECHO_S, MarkClock


def sending(clock: MarkClock, pieces: list[float]) -> list[str]:
    """Names of the marks behind the pieces (s), with one before the first."""
    names = [clock.mark()]
    for seconds in pieces:
        clock.sent += seconds
        names.append(clock.mark())
    return names


def test_nothing_is_played_before_the_first_mark_is_back():
    clock = MarkClock()
    clock.begin(0.0)
    names = sending(clock, [0.2, 0.2])
    assert clock.played(1.0) == 0.0
    assert clock.echoed(names[0], 1.0)
    assert clock.played(1.1) == pytest.approx(0.1)
    assert clock.played(1.5) == pytest.approx(0.2)  # not beyond the next mark that is out
    assert clock.echoed(names[1], 1.6)
    assert clock.played(1.7) == pytest.approx(0.3)
    assert not clock.finished(1.9)
    assert clock.echoed(names[2], 1.9)
    assert clock.finished(1.9) and clock.played(9.0) == pytest.approx(0.4)


def test_marks_of_what_was_cleared_say_nothing():
    clock = MarkClock()
    clock.begin(0.0)
    names = sending(clock, [0.2] * 10)
    clock.echoed(names[0], 0.1)
    assert clock.played(0.25) == pytest.approx(0.15)
    clock.begin(0.3)
    later = sending(clock, [0.2])
    for name in names:  # Twilio gives all of them back, unheard
        assert not clock.echoed(name, 0.4)
    assert clock.played(0.5) == 0.0
    assert clock.echoed(later[0], 0.6) and clock.played(0.7) == pytest.approx(0.1)


def test_a_line_that_gives_no_mark_back_is_followed_by_the_clock_alone(caplog):
    clock = MarkClock()
    clock.begin(0.0)
    sending(clock, [0.2] * 10)
    assert clock.played(ECHO_S - 0.1) == 0.0
    with caplog.at_level(logging.WARNING):
        assert clock.played(ECHO_S + 0.1) > 1.9
    assert "time alone counts" in caplog.text
    assert clock.finished(ECHO_S + 3.0)
    clock.begin(20.0)
    names = sending(clock, [0.2] * 10)
    assert clock.played(21.0) == pytest.approx(1.0)  # it is not waited for again
    assert clock.echoed(names[-1], 22.0) and clock.finished(22.0)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 0.4)), max_size=60))
def test_what_is_played_never_goes_back_nor_beyond_what_was_sent(steps: list[Any]):
    clock, now, names, last = MarkClock(), 0.0, [], 0.0
    clock.begin(now)
    for kind, amount in steps:
        now += amount
        if kind < 10:
            clock.sent += amount
            names.append(clock.mark())
        elif names and kind < 25:
            clock.echoed(names[kind % len(names)], now)
        played = clock.played(now)
        assert last <= played <= clock.sent + 1e-9
        last = played
