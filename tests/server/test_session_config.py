"""The protocol's session object: what is set changes, what is not stays, and what it means for a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent.call import SessionOptions
from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.session_config import RealtimeSession
from stretto.agent.turn import TurnOptions

PLAIN = SessionOptions(system="Be brief.")


def listening(**turns):
    return {"audio": {"input": {"turn_detection": turns}}}


def test_only_what_is_given_changes():
    first = RealtimeSession().updated({"instructions": "One.", "audio": {"output": {"speed": 1.2}}})
    second = first.updated({"audio": {"input": {"transcription": {"model": "any"}}}})
    assert (second.instructions, second.audio.output.speed) == ("One.", 1.2)
    assert second.audio.input.transcription is not None and first.audio.input.transcription is None
    assert second.updated({"tools": []}).tools == [] and second.tools is None


def test_turn_detection_of_another_type_begins_anew():
    session = RealtimeSession().updated(listening(type="server_vad", threshold=0.7))
    assert session.updated(listening(silence_duration_ms=300)).audio.input.turn_detection.threshold == 0.7
    other = session.updated(listening(type="semantic_vad", eagerness="low")).audio.input.turn_detection
    assert (other.type, other.threshold, other.eagerness) == ("semantic_vad", None, "low")
    assert session.updated({"audio": {"input": {"turn_detection": None}}}).audio.input.turn_detection is None


def test_a_silence_ends_turns_where_the_client_says_so():
    session = RealtimeSession().updated(listening(type="server_vad", silence_duration_ms=300, threshold=0.8))
    turns = session.options(PLAIN).turn_options()
    assert {turns.commit_silence_ms, turns.doubtful_silence_ms, turns.unfinished_silence_ms} == {300.0}
    assert not turns.use_p_end and session.vad().threshold == 0.8


@pytest.mark.parametrize(("eagerness", "compared"), [("high", -1), ("auto", 0), ("medium", 0), ("low", 1)])
def test_eagerness(eagerness, compared):
    turns = RealtimeSession().updated(listening(eagerness=eagerness)).options(PLAIN).turn_options()
    for name in ("commit_silence_ms", "doubtful_silence_ms", "unfinished_silence_ms"):
        mine, plain = getattr(turns, name), getattr(TurnOptions(), name)
        assert (mine > plain) - (mine < plain) == compared
    assert turns.use_p_end


def test_who_answers_and_who_may_interrupt():
    assert RealtimeSession().options(PLAIN).respond
    quiet = (
        RealtimeSession().updated(listening(create_response=False, interrupt_response=False)).options(PLAIN)
    )
    assert not quiet.respond and not quiet.interruptible
    by_hand = RealtimeSession().updated({"audio": {"input": {"turn_detection": None}}}).options(PLAIN)
    assert not by_hand.respond and not by_hand.interruptible


def test_a_client_need_not_send_silence():
    options = RealtimeSession().options(PLAIN)
    assert options.caller_gone_s > 3600 and options.silence_prompt_s > 3600
    idle = RealtimeSession().updated(listening(type="server_vad", idle_timeout_ms=5000)).options(PLAIN)
    assert idle.silence_prompt_s == 5.0


names = st.sampled_from(
    "type instructions audio input output turn_detection format threshold tools voice modalities".split()
)
objects = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["server_vad", "audio/pcm", "realtime"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(names, objects, max_size=4))
def test_whatever_is_given_is_taken_or_refused(changes):
    try:
        session = RealtimeSession().updated(changes)
        session.options(PLAIN)
        session.vad()
    except RequestError as error:
        assert str(error)
    else:
        shown = session.to_json("sess_1", "stretto", "joe")
        assert shown["type"] == "realtime" and shown["audio"]["output"]["voice"] == "joe"
