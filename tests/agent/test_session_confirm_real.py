"""A booking with the real recogniser and voice: asked, answered aloud, done once."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from stretto.agent import events
from stretto.agent.call import SessionOptions
from stretto.agent.session import Session
from stretto.audio.pcm import FRAME, RATE, Frame
from stretto.tools.tool import tool


@pytest.mark.parametrize(("reply", "made"), [("Yes, please go ahead.", [2]), ("No, thank you.", [])])
def test_a_spoken_answer_decides(cast, ears, throat, says, reply, made):
    booked = []

    @tool(confirm=True)
    async def book(day: str, people: int) -> str:
        """Book a table."""
        booked.append(people)
        return "booked"

    model = cast.Model([cast.calls(("book", {"day": "Friday", "people": 2})), "All right."])

    async def call():
        session = Session(
            recogniser=ears,
            synthesiser=throat,
            model=model,
            sink=lambda frame, at: None,
            tools=[book],
            options=SessionOptions(greeting="Hello.", use_p_end=False),
        )
        line = [says("I would like a table for two on Friday.", RATE, 0.0)]
        line_two = says(reply, RATE, 0.0)
        asked, ended = False, asyncio.Event()

        def happened(event):
            nonlocal asked
            match event:
                case events.AgentHeard(text="Hello."):
                    line.insert(0, np.zeros(RATE // 2, np.int16))
                case events.ConfirmationAsked():
                    asked = True
                case events.AgentHeard(complete=True) if asked:
                    asked = False
                    line.extend([np.zeros(RATE // 2, np.int16), line_two])
                case events.AgentHeard(text="All right."):
                    ended.set()

        session.watch(happened)

        async def speak():
            await session.picked_up()
            rest = np.zeros(0, np.int16)
            for n in range(3000):
                while len(rest) < FRAME and n > 60 and line:
                    rest = np.concatenate([rest, line.pop(0)])
                frame, rest = rest[:FRAME], rest[FRAME:]
                frame = np.pad(frame, (0, FRAME - len(frame)))
                at = session.started + n * 0.02
                await asyncio.sleep(max(0.0, at + 0.02 - time.monotonic()))
                if ended.is_set():
                    break
                session.hear(Frame(frame, at))
            await session.hang_up()

        async with asyncio.TaskGroup() as group:
            result = group.create_task(session.run())
            group.create_task(speak())
        return result.result()

    record = asyncio.run(call())
    assert booked == made, [turn.caller for turn in record.turns]
    results = [m["content"] for m in record.messages if m["role"] == "tool"]
    assert len(results) == 1 and ("confirmed" in results[0]) == bool(made)
    assert record.turns[-1].heard == "All right."
