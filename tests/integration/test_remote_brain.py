"""A stronger brain as a way in: an `Agent` whose model is a URL, with real ears and a real voice.

The server speaks HTTP and chat completions as any other; what it answers is the test's.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from stretto.agent import Agent, SessionOptions, events
from stretto.agent.timeline import CallRecord
from stretto.agent.ways_in.speech import Speech
from stretto.audio.pcm import RATE, Int16

SAID = "Hello, please book a repair for my bike on Friday."


class Brain(ThreadingHTTPServer):
    """Answers the n-th request with the n-th delta, and the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.deltas: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1#brain"


class Answering(BaseHTTPRequestHandler):
    server: Brain

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        deltas = self.server.deltas
        delta = deltas[min(len(self.server.asked), len(deltas)) - 1]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        finish = "tool_calls" if "tool_calls" in delta else "stop"
        for choice in ({"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": finish}):
            chunk = {"choices": [{"index": 0, **choice}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def brain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Brain]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("STRETTO_MODEL_KEY", raising=False)
    with Brain() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def calls(**arguments: Any) -> dict[str, Any]:
    made = {"name": "book_repair", "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": 0, "id": "one", "type": "function", "function": made}]}


def spoken_turn(brain: Brain, speech: Speech, said: Int16, booked: list[str]) -> tuple[CallRecord, Int16]:
    """One call in which the caller says it; what the agent's side sounded like."""

    async def book_repair(bike: str, day: str) -> dict[str, int]:
        """Book a repair."""
        booked.append(day)
        return {"number": 17}

    sound: list[Int16] = []

    async def call() -> CallRecord:
        agent = Agent(
            "You answer the phone of a bike shop.", [book_repair], model=brain.url,
            recogniser=speech.recogniser, voice=speech.synthesiser, options=SessionOptions(greeting=""),
        )  # fmt: skip
        async with asyncio.timeout(90), agent, agent.call(lambda pcm, at: sound.append(pcm)) as held:
            happened = held.events()
            for start in range(0, len(said), RATE // 10):  # faster than it is spoken, as a file is
                held.hear(said[start : start + RATE // 10])
                await asyncio.sleep(0.01)
            async for event in happened:
                if isinstance(event, events.AgentHeard):
                    break
        return held.record

    return asyncio.run(call()), np.concatenate(sound)


def test_a_spoken_turn_with_a_tool(brain: Brain, speech: Speech, says: Callable[..., Int16]) -> None:
    brain.deltas = [calls(bike="racing bike", day="Friday"), {"content": "It is booked under seventeen."}]
    booked: list[str] = []
    record, sound = spoken_turn(brain, speech, says(SAID, RATE), booked)
    (turn,) = record.turns
    assert {"repair", "bike", "friday"} <= set(turn.caller.lower().strip(".").split())
    assert turn.heard == "It is booked under seventeen." and not turn.canned
    assert booked == ["Friday"] and [tool.name for tool in turn.tools] == ["book_repair"]
    assert np.abs(sound.astype(int)).max() > 2000
    # The server was told what the caller said, and then what came of the call.
    first, second = (request["messages"] for request in brain.asked)
    assert first[-1] == {"role": "user", "content": turn.caller}
    assert second[-1]["role"] == "tool" and json.loads(second[-1]["content"]) == {"number": 17}


def test_a_call_that_stays_wrong_is_apologised_for(
    brain: Brain, speech: Speech, says: Callable[..., Int16]
) -> None:
    brain.deltas = [calls(bicycle="racing bike")]
    booked: list[str] = []
    record, sound = spoken_turn(brain, speech, says(SAID, RATE), booked)
    (turn,) = record.turns
    # Asked once more, told what was wrong.
    assert len(brain.asked) == 2 and "bicycle" in json.dumps(brain.asked[1]["messages"][-1])
    assert booked == [] and turn.canned and turn.heard == SessionOptions().canned.apology
    assert any(failure.startswith("model: ") for failure in turn.failures)
    assert np.abs(sound.astype(int)).max() > 2000
