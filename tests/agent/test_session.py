"""Whole calls in virtual time: what is said, when, and what is remembered."""

from __future__ import annotations

import json

import pytest
from stretto.agent import events
from stretto.agent.call import SessionOptions


def test_a_turn_is_answered_half_a_second_after_the_callers_last_sample(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], ["It is noon."], until=6.0)
    record = stage.run()
    (turn,) = record.turns
    assert (turn.caller, turn.agent, turn.heard) == ("what time is it", "It is noon.", "It is noon.")
    assert turn.voice_to_voice_ms == pytest.approx(520, abs=41)
    assert turn.speculation == "hit"
    assert turn.speech_end_ms == pytest.approx(2000, abs=1)
    assert turn.first_audio_ms == pytest.approx(stage.audible()[0] * 1000, abs=1)
    order = [turn.speech_end_ms, turn.soft_end_ms, turn.transcript_ms, turn.draft_ms, turn.audio_ready_ms]
    order += [turn.committed_ms, turn.first_audio_ms, turn.heard_until_ms]
    assert order == sorted(order)
    assert len(turn.passes_ms) == turn.forwards == 2
    assert ("commit", "It is noon.", None) in stage.log
    assert stage.tasks_left == []
    assert record.ended == "caller"


def test_everything_is_ready_at_the_commit(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], ["It is noon."], until=5.0)
    stage.run()
    order = [type(e).__name__ for e in stage.events]
    steps = ["SoftEnd", "CallerFinal", "DraftReady", "Committed", "AgentSpeaking", "AgentHeard"]
    assert [order.index(step) for step in steps] == sorted(order.index(step) for step in steps)
    assert "DenoisingPass" in order and "CallerPartial" in order


def test_a_draft_is_a_speculation_until_the_turn_is_over(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], ["It is noon."], until=5.0)
    stage.run()
    due = stage.model.conversation.due
    before, after = next(n for n, entry in enumerate(stage.log) if entry[0] == "draft"), len(stage.log)
    assert [said for said, _ in due] == [False, True]
    assert due[0][1] <= before < due[1][1] <= after, "guessed at first, waited for from the commit on"


def test_greeting_first_and_marked_canned(cast):
    stage = cast.Stage([], options=SessionOptions(greeting="Good morning."), until=3.0)
    record = stage.run()
    (turn,) = record.turns
    assert turn.canned and turn.heard == "Good morning." and turn.caller == ""
    assert stage.log[0] == ("say", "Good morning.")
    assert turn.first_audio_ms < 60  # synthesised before the pick-up
    assert [m["content"] for m in record.messages if m["role"] == "assistant"] == ["Good morning."]


def test_a_pause_drops_the_draft_and_the_whole_turn_is_answered(cast):
    script = [cast.Says(1.0, 2.0, "book a table for four"), cast.Says(2.3, 3.0, "on friday")]
    stage = cast.Stage(
        script,
        by_words={"book a table for four": "Which day?", "book a table for four on friday": "At what time?"},
        until=7.0,
    )
    record = stage.run()
    (turn,) = record.turns
    assert (turn.caller, turn.agent) == ("book a table for four on friday", "At what time?")
    assert turn.speculation == "revised" and turn.revision == 2
    assert [e.text for e in stage.of(events.AgentSpeaking)] == ["At what time?"]
    assert len(stage.of(events.DraftDropped)) == 1
    assert [entry[1] for entry in stage.log if entry[0] == "commit"] == ["At what time?"]
    assert stage.model.revised == [("book a table for four on friday", "Which day?")]


def test_unfinished_words_wait_longer(cast):
    script = [cast.Says(1.0, 2.0, "i would like a table for"), cast.Says(2.9, 3.5, "four people")]
    stage = cast.Stage(script, by_words={"i would like a table for four people": "Which day?"}, until=7.0)
    record = stage.run()
    (turn,) = record.turns
    assert turn.caller == "i would like a table for four people"
    assert min(stage.audible()) > 3.5
    assert turn.cut_in == 0


def test_a_caller_cut_in_on_goes_on_in_the_same_turn(cast):
    # The pause of 0.65 s is longer than the commit silence: the agent begins at 2.5 s and the caller goes on.
    script = [cast.Says(1.0, 2.0, "book a table"), cast.Says(2.65, 3.3, "for four people")]
    stage = cast.Stage(
        script,
        by_words={"book a table": "For how many people?", "book a table for four people": "Which day?"},
        until=7.0,
    )
    record = stage.run()
    (turn,) = record.turns
    assert (turn.caller, turn.agent, turn.cut_in) == ("book a table for four people", "Which day?", 1)
    assert not turn.interrupted
    commits = [entry for entry in stage.log if entry[0] == "commit"]
    assert commits == [("commit", "Which day?", None)]  # the withdrawn reply left no trace
    users = [m["content"] for m in record.messages if m["role"] == "user"]
    assert users == ["book a table for four people"]


def test_barge_in_stops_at_once_and_history_keeps_what_was_heard(cast):
    reply = "We have one two three four five six seven eight nine ten eleven tables free."
    script = [cast.Says(1.0, 2.0, "any tables"), cast.Says(4.0, 4.6, "stop please")]
    stage = cast.Stage(script, by_words={"any tables": reply, "stop please": "Sure."}, until=8.0)
    record = stage.run()
    first, second = record.turns
    assert first.interrupted and first.heard and reply.startswith(first.heard) and first.heard != reply
    barge_in = stage.of(events.BargeIn)[0].at_ms / 1000
    during = [at for at in stage.audible() if at < 4.7]
    assert max(during) + 0.02 <= barge_in + 0.0401  # the last 20 ms hold a fade of 5 ms
    assert ("commit", reply, first.heard) in stage.log
    assert second.heard == "Sure."
    assistant = [m for m in record.messages if m["role"] == "assistant"]
    assert assistant[0]["content"] == first.heard and assistant[0]["said"] == reply


def test_noise_is_no_turn(cast):
    stage = cast.Stage([cast.Says(1.0, 1.3, "")], until=4.0)
    record = stage.run()
    assert record.turns == [] and stage.audible() == []
    assert len(stage.of(events.TurnIgnored)) == 1
    assert stage.model.drafts == 0


def test_same_words_after_a_cough_reuse_the_draft(cast):
    script = [cast.Says(1.0, 2.0, "what time is it"), cast.Says(2.4, 2.6, "")]
    stage = cast.Stage(script, ["It is noon."], until=6.0)
    (turn,) = stage.run().turns
    assert turn.agent == "It is noon." and stage.model.drafts == 1
    assert turn.speculation == "revised" and turn.forwards == 2


def test_speculation_can_be_turned_off(cast):
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "what time is it")],
        ["It is noon."],
        options=SessionOptions(greeting="", speculate=False),
        until=6.0,
    )
    (turn,) = stage.run().turns
    assert turn.speculation == "off" and turn.heard == "It is noon."
    assert turn.draft_ms > turn.committed_ms


def test_a_late_draft_is_a_miss_and_still_spoken(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], ["It is noon."], until=8.0)
    stage.setup = lambda s: setattr(s.model, "pass_s", 0.6)
    (turn,) = stage.run().turns
    assert turn.speculation == "miss" and turn.heard == "It is noon."


def test_hang_up_after_the_words(cast):
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "that is all thanks")], [cast.calls(("hang_up", {}), text="Thank you. Goodbye.")]
    )
    record = stage.run()
    assert record.ended == "hang_up"
    assert record.turns[-1].heard == "Thank you. Goodbye."
    assert stage.events[-1].reason == "hang_up"


def test_transfer(cast):
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "a person please")], [cast.calls(("transfer", {}), text="One moment.")]
    )
    assert stage.run().ended == "transfer"
    assert len(stage.of(events.Transfer)) == 1


def test_a_transfer_without_words_is_announced(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "a person please")], [cast.calls(("transfer", {}))])
    record = stage.run()
    assert record.ended == "transfer"
    assert record.turns[-1].heard == stage.options.canned.transferring and record.turns[-1].canned


def test_an_interrupted_goodbye_does_not_hang_up(cast):
    goodbye = cast.calls(("hang_up", {}), text="Thank you for calling us today and goodbye for now then.")
    script = [cast.Says(1.0, 2.0, "that is all"), cast.Says(3.6, 4.6, "wait one more thing please")]
    stage = cast.Stage(
        script, by_words={"that is all": goodbye, "wait one more thing please": "Yes?"}, until=8.0
    )
    record = stage.run()
    assert record.ended == "caller"
    assert record.turns[-1].heard == "Yes?"


def test_a_silent_caller_is_asked_three_times_then_the_agent_hangs_up(cast):
    stage = cast.Stage([])
    record = stage.run()
    assert record.ended == "silence"
    canned = stage.options.canned
    assert [t.heard for t in record.turns] == [canned.still_there] * 3 + [canned.goodbye]
    assert all(t.canned for t in record.turns)


def test_longest_call(cast):
    script = [cast.Says(n + 0.2, n + 0.9, "hello there") for n in range(1, 40, 4)]
    stage = cast.Stage(script, options=SessionOptions(greeting="", longest_call_s=10.0))
    record = stage.run()
    assert record.ended == "too_long"
    assert record.turns[-1].heard == stage.options.canned.too_long
    assert record.seconds < 20


def test_greeting_can_be_interrupted(cast):
    options = SessionOptions(greeting="Welcome to the Harbor City concierge, how can I help you today?")
    stage = cast.Stage([cast.Says(1.0, 2.0, "a table please")], ["Which day?"], options=options, until=6.0)
    record = stage.run()
    greeting, turn = record.turns
    assert greeting.interrupted and options.greeting.startswith(greeting.heard)
    assert stage.log[0] == ("say", greeting.heard)
    assert turn.heard == "Which day?"


def test_record_is_json_and_has_the_fields_of_a_turn(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], ["It is noon."], until=6.0)
    data = json.loads(json.dumps(stage.run().to_json()))
    fields = {"caller", "agent", "heard", "tools", "speech_end_ms", "committed_ms", "first_audio_ms"}
    fields |= {"voice_to_voice_ms", "forwards", "speculation", "canned", "interrupted"}
    assert fields <= set(data["turns"][0])
    assert set(data["voice_to_voice_ms"]) == {"p50", "p95", "max"}
    assert [json.loads(json.dumps(e.to_json())) for e in stage.events]


def test_digits_wait_for_more_digits(cast):
    script = [
        cast.Says(1.0, 2.0, "where is my order"),
        cast.Says(5.0, 5.6, "four eight"),
        cast.Says(6.3, 7.0, "two one"),
    ]
    stage = cast.Stage(
        script,
        by_words={"where is my order": "What is the order number?", "four eight two one": "Thanks."},
        until=10.0,
    )
    record = stage.run()
    assert [t.caller for t in record.turns] == ["where is my order", "four eight two one"]
    assert record.turns[1].cut_in == 0


def test_after_a_cough_the_agent_goes_on_where_it_was_cut(cast):
    reply = "We have one two three four five six seven eight nine ten eleven tables free."
    stage = cast.Stage([cast.Says(1.0, 2.0, "any tables"), cast.Says(4.0, 4.3, "")], [reply], until=12.0)
    (turn,) = stage.run().turns
    assert turn.heard == reply and not turn.interrupted
    said = [m["content"] for m in stage.session.record.messages if m["role"] == "assistant"]
    assert " ".join(said) == reply and len(said) == 2
    assert [e for e in stage.log if e[0] == "commit"][-1] == ("commit", reply, None)
    assert stage.model.drafts == 1


def test_a_cough_into_a_resumed_goodbye_still_ends_the_call(cast):
    goodbye = cast.calls(("hang_up", {}), text="Thank you for calling us today and goodbye for now then.")
    stage = cast.Stage([cast.Says(1.0, 2.0, "that is all"), cast.Says(3.6, 3.8, "")], [goodbye], until=15.0)
    assert stage.run().ended == "hang_up"
