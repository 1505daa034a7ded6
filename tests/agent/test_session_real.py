"""One short call in real time with the real detector, recogniser and voice; only the model is scripted."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from stretto.agent.call import SessionOptions
from stretto.agent.session import Session
from stretto.audio.pcm import FRAME, RATE, Frame


def test_a_spoken_question_is_heard_and_answered(cast, ears, throat, says):
    sound = says("Is the museum open on Sunday?", RATE, 0.0)
    start = int(1.5 * RATE)
    line = np.zeros(start + len(sound) + 4 * RATE, np.int16)
    line[start : start + len(sound)] = sound
    model = cast.Model(["It is open from nine to five."])
    played = []

    async def call():
        session = Session(
            recogniser=ears,
            synthesiser=throat,
            model=model,
            sink=lambda frame, at: played.append(frame),
            options=SessionOptions(greeting="Hello."),
        )

        async def speak():
            while not session.started:  # noqa: ASYNC110 - a test
                await asyncio.sleep(0.01)
            for n in range(len(line) // FRAME):
                at = session.started + n * 0.02
                await asyncio.sleep(max(0.0, at + 0.02 - time.monotonic()))
                session.hear(Frame(line[n * FRAME : (n + 1) * FRAME], at))
            await session.hang_up()

        async with asyncio.TaskGroup() as group:
            result = group.create_task(session.run())
            group.create_task(speak())
        return result.result()

    record = asyncio.run(call())
    greeting, turn = record.turns
    assert greeting.canned and greeting.heard == "Hello."
    assert "museum open on sunday" in turn.caller.lower()
    assert turn.agent == "It is open from nine to five." and turn.agent.startswith(turn.heard)
    assert turn.first_audio_ms > turn.committed_ms > turn.speech_end_ms
    assert np.abs(np.concatenate(played).astype(int)).max() > 1000
    end = (start + np.flatnonzero(np.abs(sound.astype(int)) > 300)[-1]) / RATE * 1000
    assert turn.speech_end_ms == pytest.approx(end, abs=80)
