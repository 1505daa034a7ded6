"""The page of a call of which only the session's record is known: no caller tells what was really said."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from stretto.agent import events
from stretto.agent.call_page.page import about_record, page, write_page
from stretto.agent.call_page.turn_view import RecordedCall, turn_views
from stretto.agent.timeline import CallRecord, ToolRecord, TurnRecord

RATE = 24_000
PROMPT = "Are you still there?"


@pytest.fixture
def call() -> RecordedCall:
    """A greeting; a turn with a filler, a tool and two utterances; the same prompt twice; then silence."""
    tool = ToolRecord("find", {"what": "<b>tea</b>"}, 3600, 3900, "[]")
    turns = [
        TurnRecord(0, agent="Hello.", heard="Hello.", canned=True, first_audio_ms=0, heard_until_ms=900),
        TurnRecord(
            1, revision=1, caller="Have you any <b>tea</b>?", agent="We have none. Sorry.",
            heard="We have none.", forwards=4,
            speech_start_ms=1500, speech_end_ms=3000, soft_end_ms=3150, transcript_ms=3200, passes_ms=[3250],
            draft_ms=3300, committed_ms=3500, first_audio_ms=3550, heard_until_ms=6000, tools=[tool],
            interrupted=True, fillers=["One moment."], cut_in=2,
        ),
        TurnRecord(1, agent=PROMPT, heard=PROMPT, canned=True, first_audio_ms=14_000, heard_until_ms=15_000),
        TurnRecord(1, agent=PROMPT, heard=PROMPT, canned=True, first_audio_ms=23_000, heard_until_ms=24_000),
    ]  # fmt: skip

    def says(at: float, turn: int, text: str, canned: bool = True) -> events.Event:
        return events.AgentSpeaking(at_ms=at, turn=turn, text=text, canned=canned)

    key = {"turn": 1, "revision": 1}
    happened = [
        says(0, 0, "Hello."),
        events.SoftEnd(at_ms=3150, speech_end_ms=3000, **key),
        events.CallerFinal(at_ms=3200, text="Have you any <b>tea</b>?", confidence=0.9, **key),
        events.DenoisingPass(at_ms=3250, forward=1, tokens=("We", None), **key),
        events.Committed(at_ms=3500, text="Have you any <b>tea</b>?", speculation="hit", **key),
        says(3550, 1, "One moment."),
        says(4000, 1, "We have none.", canned=False),
        says(5000, 1, "Sorry.", canned=False),
        says(13_900, 1, PROMPT),
        says(22_900, 1, PROMPT),
    ]
    stereo = np.zeros((25 * RATE, 2), np.int16)
    return RecordedCall(CallRecord(turns=turns, ended="silence", seconds=25.0), happened, stereo, RATE)


def test_what_was_heard_stands_for_what_was_said(call: RecordedCall) -> None:
    views = turn_views(call)
    assert [[said.text for said in view.said] for view in views] == [[], ["Have you any <b>tea</b>?"], [], []]
    assert views[1].spans == [(1500, 3000)] and views[1].answer_ms == 550
    assert [len(view.revisions) for view in views] == [0, 1, 0, 0]


def test_every_word_of_the_agent_stands_once(call: RecordedCall) -> None:
    spoken = [[(at, text) for at, text, _ in view.spoken] for view in turn_views(call)]
    answer = [(3550, "One moment."), (4000, "We have none."), (5000, "Sorry.")]
    assert spoken == [[(0, "Hello.")], answer, [(13_900, PROMPT)], [(22_900, PROMPT)]]


def test_the_page_says_what_is_known_and_no_more(call: RecordedCall, tmp_path: Path) -> None:
    about = about_record(call.record, "A call <over> the line", "`stretto talk`")
    write_page(call, about, tmp_path / "call.html")
    told = (tmp_path / "call.html").read_text(encoding="utf-8")
    assert "<b>tea</b>" not in told and "<b>tea</b>" in unescape(told)
    assert "<h1>A call &lt;over&gt; the line</h1>" in told and "The caller fell silent" in told
    assert 'class="badge good"' in told and "Made by `stretto talk`." in told
    figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", told))
    assert figures["voice to voice, median"] == "550 ms" and figures["pauses cut in on"] == "2"
    assert figures["turns"] == figures["tool calls"] == "1"
    assert "What the call changed" not in told and "A pause in the middle" not in told
    assert 'src="data:audio/ogg;base64,' in told
    assert "One moment.</span>" not in told and "One moment. <span" in told  # marked as canned


def test_the_sound_may_lie_beside_the_page(call: RecordedCall) -> None:
    told = page(call, about_record(call.record, "A call", "a test"), "sess_1.wav")
    assert 'src="sess_1.wav"' in told and "base64" not in told


def test_a_call_that_broke_off_says_so(call: RecordedCall) -> None:
    call.record.ended = "line"
    told = page(call, about_record(call.record, "A call", "a test", "the speaker is <gone>"), "a.wav")
    assert 'badge bad">The call broke off' in told and "the speaker is &lt;gone&gt;" in told
