"""The live terminal of `stretto talk`: what is drawn, and that nobody waits for a terminal."""

from __future__ import annotations

import argparse
import io
import re
import threading

import pytest
from rich.console import Console
from stretto.agent import events
from stretto.agent.talk_command import view_for
from stretto.agent.ways_in import talk_view
from stretto.agent.ways_in.live import LiveCall
from stretto.agent.ways_in.talk_view import TalkView, meter, timeline


def view(width: int = 100) -> TalkView:
    return TalkView(Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None))


def drawn(view: TalkView) -> str:
    """The panel as plain text."""
    console = Console(file=io.StringIO(), width=view.out.width, color_system=None)
    console.print(view.render())
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


ASKED = [
    events.SessionStarted(at_ms=0),
    events.CallerSpeaking(at_ms=1000, turn=1, began_ms=900),
    events.CallerPartial(at_ms=1500, turn=1, stable="I would like ", tentative=" to look"),
]
ENDED = [
    events.SoftEnd(at_ms=2120, turn=1, revision=1, speech_end_ms=2000),
    events.CallerFinal(at_ms=2160, turn=1, revision=1, text="I would like to book.", confidence=0.9),
]
PASSES = [
    events.DenoisingPass(at_ms=2190, turn=1, revision=1, forward=1, tokens=(None, " what", None, None)),
    events.DenoisingPass(
        at_ms=2210, turn=1, revision=1, forward=2, tokens=("For", " what", " day?", "<end>")
    ),
]
SPOKEN = [
    events.Committed(at_ms=2350, turn=1, revision=1, text="I would like to book.", speculation="hit"),
    events.AgentSpeaking(at_ms=2400, turn=1, text="For what day?", canned=False),
]


def feed(view: TalkView, *happened: events.Event) -> None:
    for event in happened:
        view.event(event)


def test_the_callers_words_are_shown_as_they_come() -> None:
    shown = view()
    feed(shown, *ASKED)
    assert "the agent hears you" in drawn(shown) and "I would like to look" in drawn(shown)
    feed(shown, *ENDED)
    assert "I would like to book." in drawn(shown) and "to look" not in drawn(shown)
    assert "the agent thinks" in drawn(shown)


def test_the_end_of_a_long_sentence_is_what_is_shown() -> None:
    shown = view(60)
    words = " ".join(f"word{number}" for number in range(60))
    feed(shown, *ASKED, events.CallerPartial(at_ms=1600, turn=1, stable=words, tentative="and more"))
    assert "and more" in drawn(shown) and "word0 " not in drawn(shown)
    assert len(drawn(shown).splitlines()) == len(drawn(view(60)).splitlines()), "the panel keeps its height"


def test_the_canvas_is_shown_token_by_token() -> None:
    shown = view()
    feed(shown, *ASKED, *ENDED, PASSES[0])
    assert re.search(r"▒▒ what▒▒▒▒ +pass 1", drawn(shown))
    feed(shown, PASSES[1])
    assert "For what day?" in drawn(shown) and "▒" not in drawn(shown) and "<end>" not in drawn(shown)
    assert "pass 2" in drawn(shown)
    # What this pass has settled stands out, what was there before does not.
    styles = {shown._written().plain[span.start : span.end]: span.style for span in shown._written().spans}
    assert styles["For"] == styles[" day?"] != styles[" what"]
    feed(shown, events.CallerSpeaking(at_ms=3000, turn=2, began_ms=2900))
    assert "For what day?" not in drawn(shown)


def test_the_last_answer_is_shown_as_a_line_of_marks() -> None:
    shown = view()
    feed(shown, *ASKED, *ENDED, *PASSES, *SPOKEN)
    told = drawn(shown)
    for mark in (
        "◇ soft end +120",
        "● transcript +160",
        "· 2 passes",
        "┃ commit +350",
        "▶ first audio +400 ms",
    ):
        assert mark in told
    assert "the agent speaks" in told
    feed(shown, events.AgentHeard(at_ms=4000, turn=1, text="For what day?", complete=True), *ASKED[1:])
    assert "first audio +400" in drawn(shown), "it stays until the next answer"


def test_what_was_prepared_in_vain_is_no_answer() -> None:
    shown = view()
    feed(shown, *ASKED, *ENDED, *PASSES, events.DraftDropped(at_ms=2250, turn=1, revision=1))
    feed(shown, events.AgentSpeaking(at_ms=9000, turn=1, text="Are you still there?", canned=True))
    assert "first audio" not in drawn(shown)


def test_marks_lie_in_proportion_and_a_pass_hides_none() -> None:
    marks = [("soft end", 100.0), ("pass", 500.0), ("pass", 1000.0), ("first audio", 1000.0)]
    bar = str(timeline(marks, 0.0, 41).renderables[0]).removeprefix("timeline ")
    assert bar[4] == "◇" and bar[20] == "·" and bar[40] == "▶" and len(bar) == 41


@pytest.mark.parametrize(
    ("db", "filled", "told"),
    [(-100.0, 0, "- dB"), (-60.0, 0, "- dB"), (-30.0, 15, "-30 dB"), (0.0, 30, "0 dB")],
)
def test_a_meter_goes_from_minus_60_to_0_db(db: float, filled: int, told: str) -> None:
    bar = meter("you", db, "default").plain
    assert bar.count("█") == filled and bar.count("░") == 30 - filled and bar.endswith(told)


def test_levels_are_asked_for_and_lines_stay_above_the_panel() -> None:
    shown, asked = view(), threading.Event()

    def levels() -> tuple[float, float]:
        asked.set()
        return -20.0, -60.0

    with shown.shown(levels):
        feed(shown, *ASKED, *ENDED, *PASSES, *SPOKEN)
        assert asked.wait(10)
    output = shown.out.file
    assert isinstance(output, io.StringIO)
    assert "-20 dB" in output.getvalue()
    assert "“I would like to book.”" in output.getvalue() and "For what day?" in output.getvalue()


def test_a_terminal_that_stands_still_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk_view, "STUCK_S", 0.1)
    go_on, stuck = threading.Event(), threading.Event()

    class Stopped(io.StringIO):
        def write(self, text: str) -> int:
            stuck.set()
            go_on.wait(20)
            return super().write(text)

    shown = TalkView(Console(file=Stopped(), force_terminal=True, width=80))
    with shown.shown(lambda: (-60.0, -60.0)):
        assert stuck.wait(10)
        for _ in range(3 * talk_view.LINES_WAITING):
            feed(shown, *SPOKEN)
    assert not go_on.is_set(), "all of this while the terminal stood still"
    go_on.set()


@pytest.mark.parametrize(
    ("flags", "terminal", "live"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"quiet": True}, True, False),
        ({"json": True}, True, False),
    ],
)
def test_plain_lines_where_there_is_no_terminal(flags: dict[str, bool], terminal: bool, live: bool) -> None:
    args = argparse.Namespace(**({"quiet": False, "json": False, "push_to_talk": False} | flags))
    chosen = view_for(args, Console(file=io.StringIO(), force_terminal=terminal))
    assert isinstance(chosen, LiveCall) and isinstance(chosen, TalkView) == live


def test_the_key_is_named_where_there_is_one() -> None:
    args = argparse.Namespace(quiet=False, json=False, push_to_talk=True)
    chosen = view_for(args, Console(file=io.StringIO(), force_terminal=True, width=80))
    assert isinstance(chosen, TalkView) and "SPACE" in drawn(chosen) and "Ctrl-C" in drawn(view())
