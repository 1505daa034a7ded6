"""The protocol's session object: what is set changes, what is not stays, and what it means for a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent.call import SessionOptions
from stretto.agent.patience import Patience, Prompt
from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.session_config import RealtimeSession
from stretto.agent.turn import TurnOptions
from stretto.llm.language_model import AUTO, ToolChoice

PLAIN = SessionOptions(system="Be brief.")
CHOSEN = ToolChoice("required", frozenset({"f"}))


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


def test_a_silent_caller_is_asked_for_ever_where_the_client_leads():
    """OpenAI answers every timeout; the agent never says goodbye of its own accord."""
    idle = RealtimeSession().updated(listening(type="server_vad", idle_timeout_ms=5000)).options(PLAIN)
    patience, now, asked = Patience(idle.patience(), 0.0), 0.0, 0
    while now < idle.longest_call_s - 6:
        prompt = patience.feed(False, 0, now := now + 1.0)
        assert prompt in (None, Prompt.STILL_THERE)
        asked += prompt is not None
    assert asked > 100
    with pytest.raises(RequestError) as refused:
        RealtimeSession().updated(listening(type="server_vad", idle_timeout_ms=4999))
    assert refused.value.param == "session.audio.input.turn_detection.idle_timeout_ms"


@pytest.mark.parametrize(
    ("given", "shown", "choice"),
    [
        ("auto", "auto", AUTO),
        (None, "auto", AUTO),
        ("none", "none", ToolChoice("none")),
        ("required", "required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}, CHOSEN),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}, CHOSEN),
    ],
)
def test_a_client_may_choose_the_tool(given, shown, choice):
    before = RealtimeSession().updated({"tool_choice": {"type": "function", "name": "other"}})
    session = before.updated({"tool_choice": given})
    assert session.to_json("sess_1", "stretto", "joe")["tool_choice"] == shown
    assert session.options(PLAIN).tool_choice == choice
    assert session.updated({"instructions": "More."}).tool_choice == shown
    one_response = session.model_copy(update={"tool_choice": given})
    assert one_response.options(PLAIN).tool_choice == choice


@pytest.mark.parametrize("given", ["sometimes", 3, {"type": "mcp", "server_label": "x"}, {"name": "f"}, []])
def test_another_choice_is_refused(given):
    with pytest.raises(RequestError) as refused:
        RealtimeSession().updated({"tool_choice": given})
    assert refused.value.param == "session.tool_choice" and "'required'" in str(refused.value)
    with pytest.raises(RequestError):
        RealtimeSession().model_copy(update={"tool_choice": given}).options(PLAIN)


def test_a_tool_without_description_or_parameters():
    tool = {"type": "function", "name": "f", "description": None, "parameters": None}
    (kept,) = RealtimeSession().updated({"tools": [tool]}).tools
    assert (kept.description, kept.parameters) == ("", {})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "changes",
    [
        lambda n: {"temperature": n},
        lambda n: {"tracing": [n]},
        lambda n: {"audio": {"output": {"speed": n}}},
        lambda n: {"tools": [{"type": "function", "name": "f", "parameters": {"maximum": n}}]},
        lambda n: listening(type="server_vad", threshold=n),
    ],
)
def test_what_is_no_number_of_json_is_refused(number, changes):
    with pytest.raises(RequestError):
        RealtimeSession().updated(changes(number))


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
