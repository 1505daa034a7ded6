"""The demo's call, end to end: everything is real but the language model, which does as the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stretto.agent.events import AgentSpeaking, Event
from stretto.agent.simulate import staged
from stretto.agent.ways_in.speech import Speech
from stretto.demo.caller_voice import CallerVoice
from stretto.demo.cli import register, write_call
from stretto.demo.live import LiveDemo
from stretto.demo.spoken_call import spoken_call
from stretto.llm.language_model import Call

SEED = 1
"""An appointment: a bookable time is among those that the caller takes."""


@pytest.fixture(scope="module")
def voice() -> Iterator[CallerVoice]:
    voice = CallerVoice(SEED, pause_share=0)  # what is said to be over must be over here
    voice.warm()
    yield voice
    voice.close()


def booking(seed: int) -> Call:
    """The call of a tool that reaches the goal at once, by somebody who knows it."""
    _, goal, _ = staged(seed)
    (task,) = goal.tasks
    assert task.kind == "appointment"
    slots = {**{slot: values[0] for slot, values in task.accept.items()}, **task.slots}
    return Call("1", "book_appointment", {name: slots[name] for name in ("service", "date", "time", "name")})


def test_a_call_is_held_measured_and_written(
    speech: Speech, voice: CallerVoice, scripted: Callable[..., Any], tmp_path: Path
) -> None:
    def policy(conversation: Any) -> tuple[str, list[Call]]:
        if not conversation.results:
            return "", [booking(SEED)]
        return "It is booked. Goodbye!", [Call("2", "hang_up", {})]

    shown: list[Event] = []
    call = asyncio.run(spoken_call(scripted(policy), speech, voice, SEED, watch=[shown.append]))
    fields = write_call(call, tmp_path, "scripted")
    assert call.completed and fields["goal_met"], fields["why"]
    assert {change["table"] for change in fields["database_changes"]} == {"appointment_bookings", "slots"}
    assert call.events == shown and any(isinstance(event, AgentSpeaking) for event in shown)

    greeting, *turns = fields["turns"]
    assert greeting["canned"] and turns and turns[0]["tools"][0]["error"] is None
    first = fields["caller_turns"][0]
    assert first["start_ms"] > greeting["heard_until_ms"] - 300
    row = fields["measured"]["turns"][0]
    recorded = row["caller_end_ms"] + row["file_ms"]
    assert abs(recorded - turns[0]["first_audio_ms"]) <= 40
    assert fields["pauses"]["total"] == 0

    assert json.loads((tmp_path / "call.json").read_text()) == json.loads(json.dumps(fields))
    assert (tmp_path / "call.html").stat().st_size < 5_000_000
    caller, agent = call.stereo[:, 0].astype(float), call.stereo[:, 1]
    assert abs(len(call.stereo) / call.rate - fields["seconds"]) < 0.5
    # The line hisses all the time, the agent's side is silent while the caller begins.
    quiet = caller[int(0.2 * call.rate) : int(0.8 * call.rate)]
    assert 20 < np.std(quiet) < 500
    start = int(first["start_ms"] / 1000 * call.rate)
    assert not agent[start : start + call.rate // 10].any()


def test_an_interrupted_call_keeps_what_there_is(
    speech: Speech, voice: CallerVoice, scripted: Callable[..., Any], tmp_path: Path
) -> None:
    async def broken_off() -> Any:
        async with asyncio.TaskGroup() as group:
            greeted = asyncio.Event()
            task = group.create_task(
                spoken_call(
                    scripted(lambda conversation: ("Yes?", [])),
                    speech,
                    voice,
                    SEED,
                    watch=[lambda event: greeted.set() if type(event).__name__ == "AgentHeard" else None],
                )
            )
            async with asyncio.timeout(30):
                await greeted.wait()
            task.cancel()
            return await task

    call = asyncio.run(broken_off())
    assert call.interrupted and not call.completed
    fields = write_call(call, tmp_path, "scripted")
    assert fields["turns"][0]["canned"] and call.stereo[:, 1].any()
    assert not fields["goal_met"] and (tmp_path / "call.wav").stat().st_size > 10_000


def test_a_call_that_crashes_keeps_what_there_is_and_says_why(
    command: Callable[..., int],
    tmp_path: Path,
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(self: LiveDemo, turn: object) -> None:
        raise RuntimeError("the screen is gone")

    monkeypatch.setattr(LiveDemo, "caller", crash)
    assert command(register, "demo", "--out", str(tmp_path), "--model", str(tiny_weights), "--quiet") == 1
    told = capsys.readouterr().err
    assert "the screen is gone" in told and str(tmp_path) in told
    fields = json.loads((tmp_path / "call.json").read_text())
    assert not fields["completed"] and fields["turns"][0]["canned"]
    assert (tmp_path / "call.wav").stat().st_size > 10_000 and (tmp_path / "call.html").exists()


def test_what_the_demo_cannot_use_is_told(
    command: Callable[..., int], tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert command(register, "demo", "--out", str(file)) == 2
    assert "--out" in capsys.readouterr().err
    assert command(register, "demo", "--out", str(tmp_path), "--model", str(tmp_path)) == 2
    assert "config.json" in capsys.readouterr().err
    quiet = ("demo", "--out", str(tmp_path), "--model", str(tiny_weights), "--quiet")
    assert command(register, *quiet, "--voice", "nobody") == 2
    assert "nobody" in capsys.readouterr().err
    assert command(register, *quiet, "--stt", "no-such-model") == 2
    assert "no-such-model" in capsys.readouterr().err


@pytest.mark.bars
@pytest.mark.timeout(900)
def test_the_default_call_reaches_its_goal_three_times(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        out = tmp_path / str(number)
        assert command(register, "demo", "--out", str(out), "--json", "--quiet") == 0
        fields = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert fields["goal_met"], fields["why"]
        assert sum(bool(turn["caller"]) for turn in fields["turns"]) >= 4
        assert fields["database_changes"]
