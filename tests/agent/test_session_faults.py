"""Parts that fail: the call goes on, the caller is told, nothing is left behind."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.audio.pcm import FRAME, Frame


def test_the_model_raises(cast):
    script = [cast.Says(1.0, 2.0, "what time is it"), cast.Says(8.0, 9.0, "hello again my friend")]
    stage = cast.Stage(script, [RuntimeError("out of memory"), "Fine."], until=13.0)
    record = stage.run()
    first, second = record.turns
    assert first.canned and first.heard == stage.options.canned.apology
    assert any("out of memory" in failure for failure in first.failures)
    assert second.heard == "Fine." and not second.canned
    assert [e.part for e in stage.of(events.Failure)] == ["model"]
    assert stage.tasks_left == []


def test_the_model_says_nothing(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], [""], until=7.0)
    (turn,) = stage.run().turns
    assert turn.canned and turn.heard == stage.options.canned.apology


def test_the_model_hangs(cast):
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "what time is it")],
        options=SessionOptions(greeting="", model_timeout_s=2.0),
        until=12.0,
        setup=lambda s: setattr(s.model, "pass_s", 500.0),
    )
    (turn,) = stage.run().turns
    assert turn.canned and turn.heard == stage.options.canned.apology
    assert stage.tasks_left == []


def test_the_recogniser_raises(cast):
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], ["It is noon."], until=6.0)
    stage.setup = lambda s: setattr(s.recogniser, "broken", RuntimeError("broken model"))
    (turn,) = stage.run().turns
    assert turn.canned and turn.heard == stage.options.canned.not_heard
    assert turn.caller == "" and stage.model.drafts == 0


def test_the_recogniser_hangs(cast):
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "what time is it")],
        recogniser_delay=1000.0,
        options=SessionOptions(greeting="", recogniser_timeout_s=2.0),
        until=12.0,
    )
    (turn,) = stage.run().turns
    assert turn.heard == stage.options.canned.not_heard
    assert stage.tasks_left == []


def test_the_voice_raises_and_the_apology_was_recorded_before(cast):
    script = [cast.Says(4.0, 5.0, "what time is it")]
    stage = cast.Stage(script, ["It is noon."], until=10.0)

    def break_later(s):
        broken = RuntimeError("no sound")
        asyncio.get_running_loop().call_later(3.0, setattr, s.voice, "broken", broken)

    stage.setup = break_later
    record = stage.run()
    turn = record.turns[-1]
    assert turn.heard == stage.options.canned.apology
    assert [e.part for e in stage.of(events.Failure)] == ["synthesiser"]
    assert ("commit", "It is noon.", "") in stage.log


def test_the_voice_never_works(cast):
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "what time is it")],
        ["It is noon."],
        options=SessionOptions(greeting="Hi."),
        until=8.0,
    )
    stage.setup = lambda s: setattr(s.voice, "broken", RuntimeError("no sound"))
    record = stage.run()
    assert record.ended == "caller" and stage.audible() == []
    assert record.turns[-1].heard == ""
    assert stage.tasks_left == []


def test_the_caller_vanishes_mid_word(cast, tmp_path):
    path = tmp_path / "call.jsonl"
    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "what time is it"), cast.Says(5.0, 6.5, "and"), cast.Says(5.1, 90.0, "")],
        ["It is noon."],
        gone=7.0,
        transcript_path=path,
    )
    record = stage.run()
    assert record.ended == "caller"
    assert record.seconds < 60
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["role"] for line in lines][:3] == ["system", "user", "assistant"]
    assert lines[1]["content"] == "what time is it" and lines[2]["content"] == "It is noon."
    assert stage.tasks_left == []
    assert stage.recogniser.opened == stage.recogniser.closed


def test_the_sink_fails(cast):
    stage = cast.Stage([], options=SessionOptions(greeting="Hello."))

    def cut(s):
        def sink(frame, at):
            raise ConnectionError("line is gone")

        s.session._floor.mouth._sink = sink

    stage.setup = cut
    assert stage.run().ended == "line"
    assert stage.tasks_left == []


def test_cancelled_from_outside_keeps_the_transcript(cast, tmp_path):
    path = tmp_path / "call.jsonl"
    stage = cast.Stage([cast.Says(1.0, 2.0, "what time is it")], ["It is noon."], transcript_path=path)

    def cancel(s):
        task = asyncio.current_task()
        asyncio.get_running_loop().call_later(4.0, task.cancel)

    stage.setup = cancel
    with pytest.raises(asyncio.CancelledError):
        stage.run()
    assert stage.session.record.ended == "cancelled"
    roles = [json.loads(line)["role"] for line in path.read_text().splitlines()]
    assert roles == ["system", "user", "assistant"]


def test_a_session_that_lags_drops_the_oldest_frames_and_says_so(cast):
    stage = cast.Stage([], until=2.0)

    def flood(s):
        def pour():
            for n in range(400):
                s.session.hear(Frame(np.zeros(FRAME, np.int16), n * 0.02))

        asyncio.get_running_loop().call_later(1.0, pour)

    stage.setup = flood
    record = stage.run()
    assert record.frames_dropped >= 150
    assert stage.of(events.FramesDropped)
