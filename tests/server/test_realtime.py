"""The Realtime protocol, driven by the official client over a real socket; every event fits its types."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import get_args

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from stretto.audio.g711 import decode_mu_law, encode_mu_law
from stretto.llm.language_model import Call, Draft
from stretto.tools.tool import tool

LIGHT = {
    "type": "function",
    "name": "set_light",
    "description": "Switch a light.",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "string"}},
        "required": ["room"],
    },
}
WRITTEN = {"type": "realtime", "output_modalities": ["text"]}
TRANSCRIBED = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
BY_HAND = {"type": "realtime", "audio": {"input": {"turn_detection": None, "transcription": {}}}}


def loud(data: np.ndarray) -> float:
    """Root mean square of 16-bit samples given as bytes."""
    return float(np.sqrt(np.mean(data.view("<i2").astype(np.float64) ** 2)))


def typed(text: str) -> dict:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def run(work):
    asyncio.run(asyncio.wait_for(work, 110))


def test_a_spoken_turn_is_answered_in_speech(house):
    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.until("session.created")
            await talk.connection.session.update(session=TRANSCRIBED)
            await talk.until("session.updated")
            await talk.say(house.spoken("What is the weather like today?"))
            done = await talk.until("response.done")
            assert done.response.status == "completed"
            order = [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.input_audio_transcription.completed",
                "response.created",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_audio_transcript.delta",
                "response.output_audio.delta",
                "response.output_audio.done",
                "response.output_item.done",
                "response.done",
            ]
            places = [talk.kinds().index(kind) for kind in order]
            assert places == sorted(places)
            heard = talk.of("conversation.item.input_audio_transcription.completed")[0].transcript
            assert "weather" in heard.lower()
            said = done.response.output[0].content[0].transcript
            assert said == f"You said {heard}"
            assert len(talk.audio()) > 24_000 and loud(talk.audio()) > 500
            started = talk.of("input_audio_buffer.speech_started")[0]
            stopped = talk.of("input_audio_buffer.speech_stopped")[0]
            assert started.item_id == stopped.item_id == talk.of("input_audio_buffer.committed")[0].item_id
            assert 0 <= started.audio_start_ms < stopped.audio_end_ms < 3500

    run(work())


def test_typed_words_are_answered_in_writing(house):
    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await talk.connection.conversation.item.create(item=typed("Good morning."))
            await talk.connection.response.create()
            done = await talk.until("response.done")
            assert done.response.output[0].content[0].text == "You said Good morning."
            assert talk.of("response.output_text.done")[0].text == "You said Good morning."
            assert not talk.of("response.output_audio.delta")
            created = talk.of("conversation.item.added")[0]
            await talk.connection.conversation.item.retrieve(item_id=created.item.id)
            assert (await talk.until("conversation.item.retrieved")).item.content[0].text == "Good morning."

    run(work())


def test_a_clients_tool_is_called_and_its_result_spoken_about(house):
    def policy(thought):
        results = [text for role, text in thought.messages if role == "tool"]
        return f"Done: {results[-1]}" if results else Call("id1", "set_light", {"room": "hall"})

    house.brain.policy = policy

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN | {"tools": [LIGHT]})
            await talk.until("session.updated")
            assert house.brain.last.tools == ["set_light"]
            await talk.connection.conversation.item.create(item=typed("Light in the hall."))
            await talk.connection.response.create()
            first = await talk.until("response.done")
            (call,) = first.response.output
            assert (call.type, call.name, json.loads(call.arguments)) == (
                "function_call",
                "set_light",
                {"room": "hall"},
            )
            done = talk.of("response.function_call_arguments.done")[0]
            assert (done.call_id, done.name) == (call.call_id, "set_light")
            await asyncio.sleep(0.5)
            item = {"type": "function_call_output", "call_id": call.call_id, "output": '{"on":true}'}
            await talk.connection.conversation.item.create(item=item)
            await talk.until("conversation.item.done")
            assert len(talk.of("response.created")) == 1  # nothing is said before it is asked for
            await talk.connection.response.create()
            second = await talk.until("response.done")
            assert second.response.output[0].content[0].text == 'Done: {"on":true}'
            assert second.response.id != first.response.id

    run(work())


def test_the_servers_tools_run_inside(house):
    ran = []

    @tool
    async def open_door(name: str) -> str:
        """Open a door."""
        ran.append(name)
        return "open"

    house.tools = (open_door,)
    house.brain.policy = lambda t: (
        "It is open." if ran else Draft("One moment.", (Call("id1", "open_door", {"name": "front"}),))
    )

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await talk.connection.conversation.item.create(item=typed("Open the front door."))
            await talk.connection.response.create()
            done = await talk.until("response.done")
            texts = [item.content[0].text for item in done.response.output]
            assert texts == ["One moment.", "It is open."] and ran == ["front"]
            assert not talk.of("response.function_call_arguments.done")

    run(work())


def test_truncating_takes_words_out_of_what_the_model_remembers(house):
    counting = "One two three four five six seven eight nine."
    house.brain.policy = lambda t: f"{len(t.messages)} messages" if len(t.messages) > 1 else counting

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.conversation.item.create(item=typed("Count."))
            await talk.connection.response.create()
            done = await talk.until("response.done")
            (item,) = done.response.output
            whole = len(talk.audio()) / 48
            await talk.connection.conversation.item.truncate(
                item_id=item.id, content_index=0, audio_end_ms=int(whole / 2)
            )
            cut = await talk.until("conversation.item.truncated")
            assert (cut.item_id, cut.audio_end_ms) == (item.id, int(whole / 2))
            await talk.connection.conversation.item.retrieve(item_id=item.id)
            heard = (await talk.until("conversation.item.retrieved")).item.content[0].transcript
            assert heard.startswith("One two") and "nine" not in heard and len(heard) > 10
            await talk.connection.conversation.item.create(item=typed("And now?"))
            await talk.connection.response.create()
            await talk.until("response.done")
            remembered = [text for role, text in house.brain.last.messages if role == "assistant"]
            assert remembered[0] == heard
            await talk.connection.conversation.item.truncate(
                item_id=item.id, content_index=0, audio_end_ms=int(whole) + 5000
            )
            assert (await talk.until("error")).error.param == "audio_end_ms"

    run(work())


def test_turns_ended_by_hand_and_answers_asked_for(house):
    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=BY_HAND)
            await talk.until("session.updated")
            await talk.connection.input_audio_buffer.commit()
            assert (await talk.until("error")).error.code == "input_audio_buffer_commit_empty"
            await talk.say(house.spoken("Tell me a joke, please.", silence_s=0.3))
            await talk.connection.input_audio_buffer.commit()
            committed = await talk.until("input_audio_buffer.committed")
            heard = await talk.until("conversation.item.input_audio_transcription.completed")
            assert heard.item_id == committed.item_id and "joke" in heard.transcript.lower()
            assert not talk.of("response.created") and not talk.of("input_audio_buffer.speech_started")
            await talk.connection.response.create()
            done = await talk.until("response.done")
            assert "joke" in done.response.output[0].content[0].transcript.lower()
            await talk.say(house.spoken("Never mind.", silence_s=0.0))
            await talk.connection.input_audio_buffer.clear()
            await talk.until("input_audio_buffer.cleared")
            await talk.connection.input_audio_buffer.commit()
            assert (await talk.until("error")).error.code == "input_audio_buffer_commit_empty"

    run(work())


def test_server_vad_without_answers_of_its_own(house):
    detection = {"type": "server_vad", "silence_duration_ms": 300, "create_response": False}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
            await talk.connection.session.update(session=session)
            shown = (await talk.until("session.updated")).session.audio.input.turn_detection
            assert (shown.type, shown.silence_duration_ms) == ("server_vad", 300)
            await talk.say(house.spoken("I would like to speak with somebody about my garden."))
            await talk.until("input_audio_buffer.committed")
            await asyncio.sleep(1.0)
            await talk.connection.response.create()
            done = await talk.until("response.done")
            assert len(talk.of("response.created")) == 1
            assert "garden" in done.response.output[0].content[0].transcript.lower()

    run(work())


def test_a_caller_who_speaks_cancels_the_answer(house):
    house.brain.policy = lambda t: "This is a long story. " * 60

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.conversation.item.create(item=typed("A story."))
            await talk.connection.response.create()
            await talk.until("response.output_audio.delta")
            await asyncio.sleep(1.0)
            pcm = house.spoken("Stop, please, that is enough.", silence_s=0.5)
            for start in range(0, len(pcm), 2400):  # as a microphone would
                await talk.say(pcm[start : start + 2400], 1)
                await asyncio.sleep(0.1)
            await talk.until("input_audio_buffer.speech_started")
            done = await talk.until("response.done")
            assert done.response.status == "cancelled"
            assert done.response.status_details.reason == "turn_detected"
            assert done.response.output[0].status == "incomplete"

    run(work())


def test_a_client_cancels_the_answer(house):
    house.brain.policy = lambda t: "This is a long story. " * 12

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.response.cancel()
            assert (await talk.until("error")).error.code == "response_cancel_not_active"
            await talk.connection.conversation.item.create(item=typed("A story."))
            await talk.connection.response.create()
            await talk.until("response.output_audio.delta")
            await talk.connection.response.create()
            assert (await talk.until("error")).error.code == "conversation_already_has_active_response"
            await talk.connection.response.cancel()
            done = await talk.until("response.done")
            assert done.response.status == "cancelled"
            assert done.response.status_details.reason == "client_cancelled"

    run(work())


def test_items_are_deleted_from_memory(house):
    house.brain.policy = lambda t: " / ".join(text for _, text in t.messages)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            for text in ("First.", "Second."):
                await talk.connection.conversation.item.create(item=typed(text) | {"id": text})
                await talk.until("conversation.item.done")
            await talk.connection.conversation.item.delete(item_id="First.")
            await talk.until("conversation.item.deleted")
            await talk.connection.response.create()
            assert (await talk.until("response.output_text.done")).text == "Second."
            await talk.connection.conversation.item.delete(item_id="First.")
            assert (await talk.until("error")).error.code == "item_not_found"

    run(work())


def test_instructions_of_one_response_only(house):
    house.brain.policy = lambda t: t.system

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN | {"instructions": "Be kind."})
            for response, said in (
                ({}, "Be kind."),
                ({"instructions": "Shout."}, "Shout."),
                ({}, "Be kind."),
            ):
                await talk.connection.response.create(response=response)
                assert (await talk.until("response.output_text.done")).text == said
                await talk.until("response.done")
            aside = {"conversation": "none", "output_modalities": ["text"], "metadata": {"for": "me"}}
            await talk.connection.response.create(
                response=aside | {"instructions": "Sum up.", "input": [typed("Sun, then rain.")]}
            )
            done = await talk.until("response.done")
            assert done.response.output[0].content[0].text == "Sum up."
            assert done.response.conversation_id is None and done.response.metadata == {"for": "me"}

    run(work())


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_telephone_codecs_both_ways(house, kind):
    async def work():
        async with house.serving() as url, house.client(url) as talk:
            form = {"type": kind}
            audio = {"input": {"format": form, "transcription": {}}, "output": {"format": form}}
            await talk.connection.session.update(session={"type": "realtime", "audio": audio})
            shown = (await talk.until("session.updated")).session.audio
            assert shown.input.format.type == shown.output.format.type == kind
            from stretto.audio import g711

            encode, decode = (
                (encode_mu_law, decode_mu_law)
                if kind == "audio/pcmu"
                else (g711.encode_a_law, g711.decode_a_law)
            )
            data = encode(house.spoken("What time is it now?", rate=8000))
            for start in range(0, len(data), 777):  # cut anywhere
                text = base64.b64encode(data[start : start + 777]).decode()
                await talk.connection.input_audio_buffer.append(audio=text)
            heard = await talk.until("conversation.item.input_audio_transcription.completed")
            assert "time" in heard.transcript.lower()
            await talk.until("response.done")
            pcm = decode(talk.audio().tobytes())
            assert len(pcm) > 4000 and float(np.sqrt(np.mean(pcm.astype(float) ** 2))) > 500

    run(work())


def test_settings_that_cannot_be(house):
    wrong = [
        ({"instructions": 7}, "session.instructions"),
        ({"nonsense": 1}, "session.nonsense"),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}}, None),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
        ({"tools": [LIGHT | {"name": "two words"}]}, "session.tools.0.name"),
        ({"tools": [LIGHT, LIGHT]}, None),
        ({"tool_choice": "perhaps"}, "session.tool_choice"),
        ({"type": "transcription"}, "session.type"),
    ]

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            before = (await talk.until("session.created")).session
            for session, param in wrong:
                await talk.connection.send({"type": "session.update", "event_id": "mine", "session": session})
                error = (await talk.until("error")).error
                assert error.event_id == "mine" and (param is None or error.param == param), error
            await talk.connection.session.update(session={"type": "realtime"})
            after = (await talk.until("session.updated")).session
            assert after == before

    run(work())


def test_the_official_client_of_the_beta(house):
    official: dict = {
        get_args(kind.model_fields["type"].annotation)[0]: kind
        for kind in get_args(get_args(BetaServerEvent)[0])
    }

    async def work():
        async with house.serving() as url:
            sockets = f"{url}/v1".replace("http", "ws")
            client = AsyncOpenAI(api_key="none", base_url=f"{url}/v1", websocket_base_url=sockets)
            async with client, client.beta.realtime.connect(model="stretto") as connection:
                flat = {"modalities": ["text", "audio"], "input_audio_format": "g711_ulaw", "voice": "alloy"}
                heard = {"input_audio_transcription": {"model": "whisper-1"}, "turn_detection": None}
                await connection.session.update(session=flat | heard)
                await connection.conversation.item.create(item=typed("Hi."))
                await connection.response.create()
                found = []
                async with asyncio.timeout(60):
                    async for event in connection:
                        fields = event.model_dump(exclude_unset=True)
                        fields.get("session", {}).pop("model", None)  # one of OpenAI's, in the types
                        official[event.type].model_validate(fields)
                        found.append(event)
                        if event.type == "response.done":
                            break
        updated = next(event.session for event in found if event.type == "session.updated")
        assert (updated.input_audio_format, updated.output_audio_format) == ("g711_ulaw", "pcm16")
        assert updated.modalities == ["text", "audio"] and updated.turn_detection is None
        assert updated.input_audio_transcription.model == "whisper-1"
        kinds = {event.type for event in found}
        assert kinds >= {"response.audio.delta", "response.audio_transcript.delta"}
        assert "conversation.item.created" in kinds and "conversation.item.done" not in kinds
        done = found[-1].response
        assert done.modalities == ["text", "audio"] and done.output_audio_format == "pcm16"
        assert (done.output[0].content[0].type, done.output[0].content[0].transcript) == (
            "audio",
            "You said Hi.",
        )

    run(work())
