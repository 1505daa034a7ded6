"""The turn machine by table, and by random calls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.agent.call import SessionOptions
from stretto.agent.endings import asks_for_digits, looks_unfinished
from stretto.agent.turn import (
    Commit,
    Discard,
    Drop,
    Heard,
    Open,
    Over,
    Reopen,
    ReplyAudible,
    Sealed,
    Speculate,
    TurnMachine,
    TurnOptions,
    TurnState,
)
from stretto.audio.vad import SpeechEnded, SpeechStarted


def play(machine, *steps):
    """Feed (now, event) steps; the actions, each with its time."""
    return [(now, action) for now, event in steps for action in machine.feed(event, now)]


def test_commit_half_a_second_after_the_last_sample():
    actions = play(
        TurnMachine(),
        (1.1, SpeechStarted(1.0)),
        (2.12, SpeechEnded(2.0)),
        (2.3, Heard(1, 1, "what time is it", 0.9)),
        (2.48, None),
        (2.5, None),
        (2.52, None),
    )
    assert actions == [(1.1, Open(1, 1.0)), (2.12, Speculate(1, 1, 2.0)), (2.5, Commit(1, 1, 2.0))]


def test_speech_that_resumes_drops_and_the_next_revision_commits():
    actions = play(
        TurnMachine(),
        (1.1, SpeechStarted(1.0)),
        (2.12, SpeechEnded(2.0)),
        (2.3, Heard(1, 1, "a table")),
        (2.4, SpeechStarted(2.3)),
        (3.12, SpeechEnded(3.0)),
        (3.2, Heard(1, 1, "a table")),  # stale: ignored
        (3.3, Heard(1, 2, "a table for two people", 0.9)),
        (3.5, None),
    )
    assert [a for _, a in actions][1:] == [
        Speculate(1, 1, 2.0),
        Drop(1, 1),
        Speculate(1, 2, 3.0),
        Commit(1, 2, 3.0),
    ]


def test_no_turn_is_over_before_its_words_are_known():
    machine = TurnMachine()
    heard = Heard(1, 1, "yes")
    actions = play(
        machine,
        (1.1, SpeechStarted(1.0)),
        (2.12, SpeechEnded(2.0)),
        (40.0, None),
        (40.1, Over()),
        (41, heard),
    )
    assert actions[-1] == (41, Commit(1, 1, 2.0))
    assert actions[-2][0] == 2.12


def test_a_late_transcript_commits_at_once():
    actions = play(
        TurnMachine(),
        (1.1, SpeechStarted(1.0)),
        (2.12, SpeechEnded(2.0)),
        (3.0, Heard(1, 1, "yes")),
    )
    assert actions[-1] == (3.0, Commit(1, 1, 2.0))


def test_failed_recognition_still_commits():
    actions = play(
        TurnMachine(),
        (1.1, SpeechStarted(1.0)),
        (2.12, SpeechEnded(2.0)),
        (2.2, Heard(1, 1, None)),
        (2.5, None),
    )
    assert actions[-1] == (2.5, Commit(1, 1, 2.0))


def test_noise_is_discarded():
    actions = play(
        TurnMachine(), (1.1, SpeechStarted(1.0)), (1.4, SpeechEnded(1.3)), (1.5, Heard(1, 1, "")), (1.8, None)
    )
    assert actions[-1] == (1.8, Discard(1, 1))


def test_unfinished_words_wait():
    actions = play(
        TurnMachine(),
        (1.1, SpeechStarted(1.0)),
        (2.12, SpeechEnded(2.0)),
        (2.3, Heard(1, 1, "I would like a table for.")),
        (3.03, None),
        (3.05, None),
    )
    assert actions[-1] == (3.05, Commit(1, 1, 2.0))


@pytest.mark.parametrize(
    ("used", "p_end", "at"),
    [(True, 0.05, 3.06), (True, 0.4, 2.76), (True, None, 2.76), (True, 0.9, 2.5), (False, 0.05, 2.5)],
)
def test_p_end_counts_only_if_asked_for(used, p_end, at):
    machine = TurnMachine(TurnOptions(use_p_end=used))
    steps = [(1.1, SpeechStarted(1.0)), (2.12, SpeechEnded(2.0)), (2.3, Heard(1, 1, "a table", p_end))]
    steps += [(2.5 + 0.02 * n, None) for n in range(50)]
    actions = play(machine, *steps)
    assert actions[-1][0] == pytest.approx(at)


COMMITTED = [
    (1.1, SpeechStarted(1.0)),
    (2.12, SpeechEnded(2.0)),
    (2.3, Heard(1, 1, "a table", 0.9)),
    (2.5, None),
]


def test_going_on_before_the_reply_is_heard_reopens():
    machine = TurnMachine()
    actions = play(machine, *COMMITTED, (2.9, SpeechStarted(2.8)), (3.62, SpeechEnded(3.5)))
    assert [a for _, a in actions][-2:] == [Reopen(1, 1), Speculate(1, 2, 3.5)]


def test_going_on_just_after_the_reply_began_reopens_and_later_is_a_new_turn():
    for began, expected in ((3.2, Reopen(1, 1)), (3.8, Open(2, 3.8))):
        machine = TurnMachine()
        actions = play(machine, *COMMITTED, (2.54, ReplyAudible()), (began + 0.1, SpeechStarted(began)))
        assert actions[-1][1] == expected


def test_what_is_sealed_stays_closed():
    machine = TurnMachine()
    actions = play(machine, *COMMITTED, (2.52, Sealed()), (2.9, SpeechStarted(2.8)))
    assert actions[-1][1] == Open(2, 2.8)


def test_a_session_takes_turns_as_the_machine_does_by_default() -> None:
    assert SessionOptions().turn_options() == TurnOptions() and TurnOptions().use_p_end


def test_options_must_grow():
    with pytest.raises(ValueError, match="must grow"):
        TurnOptions(commit_silence_ms=50)


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        ("I would like a table for", True),
        ("I'd like to book.", True),
        ("on Friday and", True),
        ("on Friday,", True),
        ("well...", True),
        ("Hello.", True),
        ("No.", True),
        ("my name is", True),
        ("I'd like a table at the", True),
        ("a table for four people.", False),
        ("Yes.", False),
        ("Yes, it is.", False),
        ("No, thank you.", False),
        ("What is it for?", False),
        ("", False),
        ("…", False),
        ("Friday", False),
        ("half past seven", False),
        ("I don’t want", True),
    ],
)
def test_endings(text, unfinished):
    assert looks_unfinished(text) is unfinished


def test_digits_go_on_only_when_asked_for():
    assert asks_for_digits("What is your order number?") and not asks_for_digits("Which day?")
    for text in ("48", "four eight", "4-8", "B 2 K", "4 8."):
        assert looks_unfinished(text, digits_asked=True)
    assert not looks_unfinished("for four", digits_asked=False)
    assert not looks_unfinished("I do not know that number by heart", digits_asked=True)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "end", "words", "noise", "none", "stale", "audible", "sealed"]),
        st.floats(0.02, 1.5),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_random_calls(steps):
    """Commit once a revision, after its speculation, never while the caller speaks; revisions only grow."""
    machine, now = TurnMachine(), 0.0
    open_revision = None  # speculated and neither dropped nor decided
    keys = []
    for kind, wait in steps:
        now += wait
        event = {
            "start": SpeechStarted(now - 0.1),
            "end": SpeechEnded(now - 0.12),
            "words": Heard(machine.turn, machine.revision, "a table"),
            "noise": Heard(machine.turn, machine.revision, ""),
            "stale": Heard(machine.turn, machine.revision - 1, "old"),
            "audible": ReplyAudible(),
            "sealed": Sealed(),
            "none": None,
        }[kind]
        speaking = machine.state is TurnState.CALLER_SPEAKING
        last = None
        for action in machine.feed(event, now):
            match action:
                case Speculate(turn, revision, _):
                    assert open_revision is None
                    open_revision = (turn, revision)
                    assert not keys or keys[-1] < open_revision
                    keys.append(open_revision)
                case Commit(turn, revision, speech_end):
                    assert open_revision == (turn, revision)
                    assert not speaking or kind == "end"
                    assert now - speech_end >= 0.5 - 1e-6
                    open_revision, last = None, (turn, revision)
                case Drop(turn, revision) | Discard(turn, revision):
                    assert open_revision == (turn, revision)
                    open_revision = None
                case Reopen(turn, revision):
                    assert keys[-1] == (turn, revision) and open_revision is None
                case Open(turn, _):
                    assert open_revision is None and (not keys or turn > keys[-1][0])
        if last is not None:
            assert machine.state is TurnState.LISTENING
            assert machine.feed(None, now + 5) == []
