"""Interruption, speculation, patience, history and records: the small pure parts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent.builtin import split
from stretto.agent.canned import Canned
from stretto.agent.history import History
from stretto.agent.interruption import (
    AgentAudible,
    AgentSilent,
    Interruption,
    InterruptionOptions,
    StopSpeaking,
)
from stretto.agent.patience import Patience, PatienceOptions, Prompt
from stretto.agent.speculation import Outcome, Speculation, same_words
from stretto.agent.timeline import CallRecord, ToolRecord, TurnRecord, summary
from stretto.audio.vad import SpeechEnded, SpeechStarted
from stretto.llm.language_model import Call, Draft


def test_speech_while_the_agent_is_audible_stops_it_once():
    machine = Interruption()
    assert machine.feed(AgentAudible(), 1.0) == []
    assert machine.feed(SpeechStarted(2.0), 2.1) == [StopSpeaking(2.0)]
    assert machine.feed(None, 2.2) == []
    assert machine.feed(AgentSilent(), 2.2) == []


def test_an_agent_that_begins_while_the_caller_speaks_is_stopped():
    machine = Interruption()
    assert machine.feed(SpeechStarted(1.0), 1.1) == []
    assert machine.feed(AgentAudible(), 1.5) == [StopSpeaking(1.0)]
    machine.feed(AgentSilent(), 1.5)
    assert machine.feed(SpeechEnded(1.8), 1.9) == []
    assert machine.feed(AgentAudible(), 2.5) == []


def test_protected_beginning():
    machine = Interruption(InterruptionOptions(protect_ms=500))
    machine.feed(AgentAudible(), 1.0)
    assert machine.feed(SpeechStarted(1.2), 1.3) == []
    assert machine.feed(None, 1.4) == []
    assert machine.feed(None, 1.5) == [StopSpeaking(1.2)]


@given(st.lists(st.sampled_from(["start", "end", "audible", "silent", "tick"]), max_size=40))
def test_agent_and_caller_never_go_on_together(kinds):
    machine, caller, agent = Interruption(), False, False
    for n, kind in enumerate(kinds):
        event = {
            "start": SpeechStarted(float(n)),
            "end": SpeechEnded(float(n)),
            "audible": AgentAudible(),
            "silent": AgentSilent(),
            "tick": None,
        }[kind]
        caller = {"start": True, "end": False}.get(kind, caller)
        agent = {"audible": True, "silent": False}.get(kind, agent)
        stops = machine.feed(event, float(n))
        assert bool(stops) == (caller and agent)
        agent = agent and not stops
        assert machine.agent_audible == agent


def test_speculation_compares_keys():
    held = Speculation()
    held.begin((1, 1))
    assert held.transcribed((1, 1), "a table") is None
    assert held.drafted((1, 1), Draft("Which day?"))
    assert held.commit((1, 1)) is Outcome.HIT
    held.drop((1, 1))
    assert held.commit((1, 1)) is Outcome.MISS
    held.begin((1, 2))
    assert not held.drafted((1, 1), Draft("stale"))
    assert held.commit((1, 2)) is Outcome.MISS
    assert held.transcribed((1, 2), "A table.") == Draft("Which day?")  # the same words: adopted
    assert held.commit((1, 2)) is Outcome.REVISED
    held.begin((2, 1))
    assert held.transcribed((2, 1), "a table") is None  # never across turns
    assert Speculation(enabled=False).commit((1, 1)) is Outcome.OFF


@given(
    st.lists(st.tuples(st.sampled_from(["begin", "text", "draft", "drop"]), st.integers(1, 4)), max_size=30)
)
def test_what_is_committed_belongs_to_the_current_revision(steps):
    held, current = Speculation(), None
    for kind, n in steps:
        key = (1, n)
        if kind == "begin":
            held.begin(key)
            current = key
        elif kind == "text":
            adopted = held.transcribed(key, f"words {n}")
            assert adopted is None or adopted.text == f"reply {n}"
        elif kind == "draft":
            assert held.drafted(key, Draft(f"reply {n}")) == (key == current)
        elif current == key:
            held.drop(key)
            current = None
        if current is not None and held.commit(current) is not Outcome.MISS:
            assert held.current.draft.text == f"reply {current[1]}"


def test_same_words():
    assert same_words("A table, for four.", "a table for four")
    assert not same_words("a table for four", "a table for five")


def test_patience():
    machine = Patience(PatienceOptions(silence_s=8, prompts=2, longest_call_s=100), 0.0)
    said = [(t, p) for t in range(0, 60) if (p := machine.feed(20 <= t < 22, 1 if t > 20 else 0, float(t)))]
    assert said == [
        (8, Prompt.STILL_THERE),
        (16, Prompt.STILL_THERE),
        (29, Prompt.STILL_THERE),
        (37, Prompt.STILL_THERE),
        (45, Prompt.GOODBYE),
        (53, Prompt.GOODBYE),
    ]
    assert machine.feed(True, 1, 100.0) is Prompt.TOO_LONG
    assert machine.feed(False, 1, 200.0) is None


def test_history_is_on_disk_and_in_order(tmp_path):
    path = tmp_path / "call.jsonl"
    history = History(path)
    history.system("Be short.")
    history.caller(1, "a table", 1000)
    history.caller(1, "a table for two", 2000)
    history.call(1, "c1", "book", {"people": 2}, 2500)
    history.result(1, "c1", "book", "{}", 2600)
    history.agent(1, "One moment.", "One", 2400)
    history.close()
    assert [m["role"] for m in history.messages] == ["system", "user", "assistant", "assistant", "tool"]
    assert history.messages[1]["content"] == "a table for two"
    assert history.messages[2] == {
        "role": "assistant", "content": "One", "turn": 1, "at_ms": 2400, "said": "One moment.",
    }  # fmt: skip
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 6


def test_history_refuses_a_bad_path_at_once(tmp_path):
    with pytest.raises(OSError):
        History(tmp_path / "no" / "such" / "folder.jsonl")


def test_voice_to_voice_is_first_audio_minus_speech_end():
    turn = TurnRecord(1, speech_end_ms=2000.04, first_audio_ms=2530.06)
    assert turn.to_json()["voice_to_voice_ms"] == 530.0
    assert TurnRecord(1).to_json()["voice_to_voice_ms"] is None


def test_call_record_tells_turns_with_and_without_tools_apart():
    record = CallRecord(
        [
            TurnRecord(0, first_audio_ms=10),
            TurnRecord(1, speech_end_ms=0, first_audio_ms=500),
            TurnRecord(2, speech_end_ms=0, first_audio_ms=900, tools=[ToolRecord("book", {}, 0, 300)]),
        ]
    )
    data = record.to_json()
    assert data["voice_to_voice_ms"]["max"] == 900
    assert data["voice_to_voice_with_tools_ms"] == {"p50": 900, "p95": 900, "max": 900}
    assert data["voice_to_voice_without_tools_ms"]["p50"] == 500
    assert data["turns"][2]["tools"][0]["ms"] == 300


def test_summary():
    assert summary([]) == {"p50": None, "p95": None, "max": None}
    assert summary([float(n) for n in range(1, 101)]) == {"p50": 50.0, "p95": 95.0, "max": 100.0}


def test_built_in_calls_are_told_apart():
    book, hang_up = Call("1", "book", {}), Call("2", "hang_up", {})
    assert split([book, hang_up]) == ([book], "hang_up")
    assert split([book]) == ([book], None)
    assert split([Call("3", "transfer", {})]) == ([], "transfer")


def test_canned_sentences_are_in_one_place():
    made_up = {"confirm", "confirm_again"}  # of what would be done: known when it is asked
    assert len(Canned().all()) == len(set(Canned().all())) == len(Canned.__dataclass_fields__) - len(made_up)
    assert "" not in Canned(one_moment="").all()
