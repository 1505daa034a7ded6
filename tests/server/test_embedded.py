"""The official clients and the embedded models, all of them: speech in, tools called, speech out.

The language model is small. It is best at the concierge's tools, so the clients bring tools of that shape;
what it says is held to what a result says, never to a wording.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Literal, get_args

import numpy as np
import pytest
import soxr
from stretto.agent.call import SessionOptions
from stretto.audio.cli import transcribe
from stretto.audio.pcm import RATE

Area = Literal["north", "south", "east", "west", "centre"]
Price = Literal["cheap", "moderate", "expensive"]
FIND_HOTELS = {
    "type": "function",
    "name": "find_hotels",
    "description": "Find hotels by area, stars, price.",
    "parameters": {
        "type": "object",
        "properties": {
            "area": {"type": "string", "enum": [*get_args(Area)]},
            "price": {"type": "string", "enum": [*get_args(Price)]},
        },
    },
}
FOUND = {"count": 1, "hotels": [{"name": "Marble Hall", "area": "north", "stars": 3, "price": "cheap"}]}
ASKED = "I am looking for a cheap hotel in the north."
TRANSCRIBED = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
LOUD = 500
"""Root mean square of int16 samples: a voice is louder, silence is not."""


def run(work):
    asyncio.run(asyncio.wait_for(work, 120))


def words(text):
    return set(re.findall(r"\w+", text.lower()))


def loud(pcm):
    return float(np.sqrt(np.mean(pcm.astype(np.float64) ** 2))) > LOUD


@pytest.fixture
def real(house, embedded):
    house.brain = embedded
    house.options = SessionOptions(system="You are a helpful voice agent. Plain spoken English, short.")
    return house


def heard(talk):
    return talk.of("conversation.item.input_audio_transcription.completed")[-1].transcript


def test_a_spoken_sentence_is_answered_in_speech(real, says):
    async def work():
        async with real.serving() as url, real.client(url) as talk:
            await talk.connection.session.update(session=TRANSCRIBED)
            await talk.until("session.updated")
            await talk.say(says("Hello, I would like to book a table for four people.", 24_000))
            done = await talk.until("response.done")
            assert done.response.status == "completed"
            assert {"book", "table", "four"} <= words(heard(talk).replace("4", "four"))
            said = done.response.output[-1].content[0].transcript
            assert len(said.split()) > 1 and said != real.options.canned.apology
            pcm = talk.audio().view("<i2")
            assert len(pcm) > 12_000 and loud(pcm)
            # What was said is what stands there.
            pcm = soxr.resample(pcm, 24_000, RATE)
            back = (await transcribe(real.ears, pcm, False, [], lambda line: None))["text"]
            assert len(words(back) & words(said)) >= len(words(said)) / 2, (said, back)

    run(work())


def test_a_clients_tool_is_called_and_its_result_spoken_about(real, says):
    async def work():
        async with real.serving() as url, real.client(url) as talk:
            await talk.connection.session.update(session=TRANSCRIBED | {"tools": [FIND_HOTELS]})
            await talk.until("session.updated")
            await talk.say(says(ASKED, 24_000))
            done = await talk.until("response.done")
            assert {"cheap", "hotel", "north"} <= words(heard(talk))
            call = done.response.output[-1]
            assert (call.type, call.name) == ("function_call", "find_hotels")
            assert json.loads(call.arguments) == {"area": "north", "price": "cheap"}
            item = {"type": "function_call_output", "call_id": call.call_id, "output": json.dumps(FOUND)}
            await talk.connection.conversation.item.create(item=item)
            silent = len(talk.audio())
            await talk.connection.response.create()
            done = await talk.until("response.done")
            # Its name stands nowhere but in the result.
            assert "marble" in words(done.response.output[-1].content[0].transcript)
            pcm = talk.audio()[silent:].view("<i2")
            assert len(pcm) > 12_000 and loud(pcm)

    run(work())


def test_a_call_of_the_agents_sdk(real, says):
    from agents import function_tool
    from agents.realtime import RealtimeAgent, RealtimeRunner

    asked = []

    @function_tool
    def find_hotels(area: Area, price: Price) -> dict:
        """Find hotels by area, price."""
        asked.append((area, price))
        return FOUND

    agent = RealtimeAgent(name="Concierge", instructions="You are a hotel guide.", tools=[find_hotels])

    async def work():
        async with real.serving() as url:
            address = f"{url}/v1/realtime?model=stretto".replace("http", "ws")
            config = {"url": address, "api_key": "none"}
            audio, history, errors = b"", [], []
            async with await RealtimeRunner(agent).run(model_config=config) as session:
                await session.send_audio(says(ASKED, 24_000).astype("<i2").tobytes())
                async for event in session:
                    if event.type == "audio":
                        audio += event.audio.data
                    elif event.type == "history_updated":
                        history = event.history
                    elif event.type == "error":
                        errors.append(event.error)
                    elif event.type == "agent_end" and audio:
                        break
            assert asked == [("north", "cheap")] and not errors
            said = [item.content[0].transcript for item in history if item.type == "message"]
            assert "marble" in words(said[-1]) and loud(np.frombuffer(audio, "<i2"))

    run(work())


@asynccontextmanager
async def program(*flags):
    """`stretto serve` as a user starts it; the URL it tells."""
    command = [sys.executable, "-W", "ignore", "-m", "stretto.agent.cli", "serve", "--port", "0", "--json"]
    running = await asyncio.create_subprocess_exec(*command, *flags, stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None
        yield json.loads(await asyncio.wait_for(running.stdout.readline(), 90))["url"]
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 30) == 0
    finally:
        if running.returncode is None:
            running.kill()


def test_the_program_answers_a_booking_question_from_its_own_database(house, says, tmp_path):
    """A weekday after tomorrow: the dentist has times then."""
    days = (date.today() + timedelta(days) for days in range(2, 7))
    day = next(each for each in days if each.weekday() < 5)

    async def work():
        async with program("--record", str(tmp_path)) as url, house.client(url) as talk:
            await talk.connection.session.update(session=TRANSCRIBED)
            await talk.until("session.updated")
            await talk.say(says(f"I would like to see the dentist on {day:%A}.", 24_000))
            done = await talk.until("response.done")
            assert {"dentist", f"{day:%A}".lower()} <= words(heard(talk))
            assert loud(talk.audio().view("<i2"))
            return done.response.output[-1].content[0].transcript

    said = asyncio.run(asyncio.wait_for(work(), 150))
    (kept,) = tmp_path.glob("*.jsonl")
    messages = [json.loads(line) for line in kept.read_text().splitlines()]
    (call,) = (call for message in messages for call in message.get("tool_calls", ()))
    assert call["name"] == "find_appointments"
    assert call["arguments"] == {"service": "dentist", "date": f"{day:%A}"}
    (result,) = (json.loads(message["content"]) for message in messages if message["role"] == "tool")
    assert any(time in said for time in result["free"]), (said, result)
    assert kept.with_suffix(".wav").stat().st_size > 24_000
