"""Tools that the client runs: called as events, answered whenever the client likes."""

from __future__ import annotations

import asyncio
import json

import pytest
from stretto.llm.language_model import Call, Draft

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
HALL, BATH = Call("id1", "set_light", {"room": "hall"}), Call("id2", "set_light", {"room": "bath"})


def typed(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def run(work):
    asyncio.run(asyncio.wait_for(work, 110))


def of_results(*calls, words=""):
    """Makes the calls, then tells what came of them."""
    return lambda t: f"Done: {' | '.join(t.results)}" if t.results else Draft(words, calls)


def output(call_id, text='{"on":true}'):
    return {"type": "function_call_output", "call_id": call_id, "output": text}


async def ready(talk, session=None):
    await talk.connection.session.update(session=(session or WRITTEN) | {"tools": [LIGHT]})
    await talk.until("session.updated")


async def asked(talk, text="Light in the hall."):
    """The response to typed words."""
    await talk.connection.conversation.item.create(item=typed(text))
    await talk.connection.response.create()
    return (await talk.until("response.done")).response


async def answered(talk, *items):
    for item in items:
        await talk.connection.conversation.item.create(item=item)
    await talk.connection.response.create()
    return (await talk.until("response.done")).response


def text_of(response):
    return response.output[-1].content[0].text


def test_a_tool_may_take_its_time_and_nothing_is_said_meanwhile(house):
    house.brain.policy = of_results(HALL)
    house.options.one_moment_ms = 100

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await ready(talk)
            await asked(talk)
            await asyncio.sleep(1.0)
            assert text_of(await answered(talk, output("id1"))) == 'Done: {"on":true}'
            assert len(talk.of("response.created")) == 2 and not talk.of("error")

    run(work())


@pytest.mark.parametrize("order", [("id1", "id2"), ("id2", "id1")])
def test_results_may_come_in_any_order_and_late(house, order):
    house.brain.policy = of_results(HALL, BATH)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await ready(talk)
            first = await asked(talk)
            assert [item.call_id for item in first.output] == ["id1", "id2"]
            early, late = order
            said = text_of(await answered(talk, output(early, f'"{early}"')))
            assert f'"{early}"' in said and "no result yet" in said
            await talk.connection.conversation.item.create(item=output(late, f'"{late}"'))
            await talk.connection.response.create()
            assert text_of((await talk.until("response.done")).response) == 'Done: "id1" | "id2"'
            await talk.connection.conversation.item.create(item=output(late))
            assert "already" in (await talk.until("error")).error.message

    run(work())


def test_the_caller_may_speak_while_a_tool_runs(house):
    house.brain.policy = lambda t: f"You said {t.words}" if "weather" in t.words else of_results(HALL)(t)
    heard = {"type": "realtime", "audio": {"input": {"transcription": {}}}}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await ready(talk, heard)
            await asked(talk)
            await talk.say(house.spoken("What is the weather like today?"))
            done = (await talk.until("response.done")).response
            assert "weather" in done.output[0].content[0].transcript
            owed = [text for role, text in house.brain.last.messages if role == "tool"]
            assert owed == ['{"status": "there is no result yet"}']
            await talk.connection.conversation.item.create(item=output("id1"))
            await talk.until("conversation.item.done")
            assert not talk.of("error")

    run(work())


def test_an_agent_that_is_exchanged_meanwhile_knows_of_the_call(house):
    house.brain.policy = of_results(HALL)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await ready(talk)
            await asked(talk)
            other = {"instructions": "You are new.", "tools": [LIGHT | {"name": "other"}]}
            await talk.connection.session.update(session=WRITTEN | other)
            await talk.until("session.updated")
            assert text_of(await answered(talk, output("id1"))) == 'Done: {"on":true}'
            assert house.brain.last.system == "You are new."
            roles = [role for role, _ in house.brain.last.messages]
            assert roles[:3] == ["user", "assistant", "tool"]

    run(work())


def test_tools_of_one_response_are_called_like_those_of_the_session(house):
    house.brain.policy = of_results(HALL)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await talk.connection.conversation.item.create(item=typed("Light!"))
            await talk.connection.response.create(response={"tools": [LIGHT]})
            (call,) = (await talk.until("response.done")).response.output
            assert (call.name, json.loads(call.arguments)) == ("set_light", {"room": "hall"})
            await talk.connection.conversation.item.create(item=output(call.call_id))
            await talk.connection.response.create(response={"instructions": "Whisper."})
            await talk.until("response.done")
            assert "Whisper." in [thought.system for thought in house.brain.conversations]
            assert 'Done: {"on":true}' in {e.text for e in talk.of("response.output_text.done")}

    run(work())


def test_words_that_come_with_a_call_are_heard_whole(house):
    house.brain.policy = of_results(HALL, words="Let me see about that light in the hall.")

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await ready(talk, {"type": "realtime"})
            first = await asked(talk)
            assert sorted(item.type for item in first.output) == ["function_call", "message"]
            assert first.status == "completed"
            seconds = len(talk.audio()) / 2 / 24_000
            assert seconds > 1.5
            last = max(n for n, kind in enumerate(talk.kinds()) if kind == "response.output_audio.delta")
            assert last < talk.kinds().index("response.done")
            again = await answered(talk, output("id1"))
            assert again.output[0].content[0].transcript == 'Done: {"on":true}'

    run(work())


def test_a_history_with_calls_can_be_brought_along(house):
    house.brain.policy = lambda t: " / ".join(f"{role}:{text}" for role, text in t.messages)
    call = {"type": "function_call", "call_id": "old", "name": "set_light", "arguments": '{"room": "hall"}'}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await ready(talk)
            await talk.connection.conversation.item.create(item=typed("Light."))
            said = text_of(await answered(talk, call, output("old", '"on"')))
            assert said == 'user:Light. / assistant: / tool:"on"'
            for wrong in (
                call,
                call | {"call_id": "new", "arguments": "[1]"},
                output("never"),
            ):
                await talk.connection.conversation.item.create(item=wrong)
                await talk.until("error")

    run(work())


def test_a_client_may_ask_for_a_call(house, embedded):
    """With the embedded model: greeted, it would rather talk."""
    house.brain = embedded
    heat = LIGHT | {"name": "set_heat", "description": None}
    named = {"type": "function", "name": "set_heat"}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            update = talk.connection.session.update
            await update(session=WRITTEN | {"tools": [LIGHT, heat]})
            await talk.connection.conversation.item.create(item=typed("Hello there."))
            for choice, names in (
                ("required", {"set_light", "set_heat"}),
                (named, {"set_heat"}),
            ):
                await talk.connection.response.create(response={"tool_choice": choice})
                made = (await talk.until("response.done")).response.output
                assert {item.name for item in made if item.type == "function_call"} <= names
                assert made[-1].type == "function_call"
                assert set(json.loads(made[-1].arguments)) == {"room"}
                await talk.connection.conversation.item.delete(item_id=made[-1].id)
            await update(session=WRITTEN | {"tool_choice": "none"})
            await talk.connection.response.create()
            made = (await talk.until("response.done")).response.output
            assert [item.type for item in made] == ["message"]
            for wrong in ("perhaps", named | {"name": "unknown"}):
                await talk.connection.response.create(response={"tool_choice": wrong})
                assert "tool" in (await talk.until("error")).error.message

    run(work())
