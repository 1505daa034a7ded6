"""Responses beside, behind and outside of each other; items where the client put them."""

from __future__ import annotations

import asyncio

from stretto.agent.call import SessionOptions
from stretto.agent.realtime import items

WRITTEN = {"type": "realtime", "output_modalities": ["text"]}


def typed(text, role="user"):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def run(work):
    asyncio.run(asyncio.wait_for(work, 110))


def remembered(thought):
    return " / ".join(text for _, text in thought.messages)


async def asked(talk, **response):
    await talk.connection.response.create(response=response)
    return (await talk.until("response.done")).response


def test_an_answer_that_nobody_may_interrupt_is_finished_before_the_next(house):
    story = "Once upon a time there was a king with a golden ship. " * 4
    house.brain.policy = lambda t: story.strip() if "story" in t.words else "That is all."
    turns = {"type": "server_vad", "interrupt_response": False}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": turns}}}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=session)
            await talk.connection.conversation.item.create(item=typed("A story, please."))
            await talk.connection.response.create()
            await talk.until("response.output_audio.delta")
            await talk.say(house.spoken("And what happened then?"))
            await talk.until("response.done", 2)
            first, second = (event.response for event in talk.of("response.done"))
            assert (first.status, second.status) == ("completed", "completed")
            owner = {e.item.id: e.response_id for e in talk.of("response.output_item.added")}
            assert len(owner) == 2
            for event in talk.of("response.output_audio.delta"):
                assert owner[event.item_id] == event.response_id
            begun = [e.response.id for e in talk.of("response.created")]
            assert begun == [first.id, second.id]

    run(work())


def test_an_answer_aside_keeps_nobody_waiting(house):
    """Its model takes a second; what is sent behind it is served at once, and it can be cancelled."""
    opened = house.brain.open

    def slow(system, tools, *more):
        thought = opened(system, tools, *more)
        if system == "Aside.":
            plain = thought.restore

            async def restore(messages):
                await asyncio.sleep(1.0)
                await plain(messages)

            thought.restore = restore
        return thought

    house.brain.open = slow
    house.brain.policy = remembered
    aside = {"conversation": "none", "instructions": "Aside.", "input": [typed("Only this.")]}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await talk.connection.response.create(response=aside)  # text, for the session is
            item = typed("Hello.") | {"id": "hello"}
            await talk.connection.conversation.item.create(item=item)
            await talk.until("conversation.item.done")
            assert not talk.of("response.done")
            done = (await talk.until("response.done")).response
            assert done.output[0].content[0].text == "Only this."
            for _ in range(5):
                await talk.connection.response.create(response=aside)
            assert "under way" in (await talk.until("error")).error.message
            await talk.until("response.created", 4)
            begun = [e.response.id for e in talk.of("response.created")][1:]
            for name in begun:
                await talk.connection.response.cancel(response_id=name)
            await talk.until("response.done", 4)
            assert [e.response.status for e in talk.of("response.done")[1:]] == ["cancelled"] * 4

    run(work())


def test_a_context_of_its_own_is_only_for_answers_aside(house):
    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await talk.connection.response.create(response={"input": [typed("Only this.")]})
            assert (await talk.until("error")).error.param == "response.input"

    run(work())


def test_an_answer_that_is_refused_does_not_mute_the_agent(house):
    twice = [{"type": "function", "name": "same", "parameters": {}}] * 2

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.conversation.item.create(item=typed("Good morning."))
            await talk.connection.response.create(response={"output_modalities": ["text"], "tools": twice})
            await talk.until("error")
            assert (await asked(talk)).output[0].content[0].transcript == "You said Good morning."
            assert len(talk.audio()) > 10_000

    run(work())


def test_the_canned_sentences_of_a_call_in_writing_can_be_heard_later(house):
    """A model that fails is apologised for, in the words synthesised beforehand or not."""
    house.brain.policy = lambda t: (_ for _ in ()).throw(RuntimeError("no"))

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await asyncio.sleep(2.0)  # time to rehearse
            spoken = {"type": "realtime", "output_modalities": ["audio"]}
            await talk.connection.session.update(session=spoken)
            await talk.connection.conversation.item.create(item=typed("Good morning."))
            assert (await asked(talk)).output[0].content[0].transcript
            assert len(talk.audio()) > 10_000

    run(work())


def test_items_are_remembered_where_they_were_put(house):
    house.brain.policy = remembered

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            for text, after in (("one", None), ("three", None), ("two", "one"), ("zero", "root")):
                place = {"previous_item_id": after} if after else {}
                await talk.connection.conversation.item.create(item=typed(text) | {"id": text}, **place)
            assert (await asked(talk)).output[0].content[0].text == "zero / one / two / three"

    run(work())


def test_system_items_stand_beside_the_instructions(house):
    house.brain.policy = lambda t: t.system
    french = typed("Speak French.", "system") | {"id": "french"}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            session = talk.connection.session
            await session.update(session=WRITTEN | {"instructions": "Be kind."})
            await talk.connection.conversation.item.create(item=french)
            assert (await asked(talk)).output[0].content[0].text == "Be kind.\nSpeak French."
            await session.update(session=WRITTEN | {"instructions": "Be quick."})
            assert (await asked(talk)).output[0].content[0].text == "Be quick.\nSpeak French."
            shown = [event.session.instructions for event in talk.of("session.updated")]
            assert shown == ["Be kind.", "Be quick."]
            await talk.connection.conversation.item.delete(item_id="french")
            assert (await asked(talk)).output[0].content[0].text == "Be quick."

    run(work())


def test_only_what_was_spoken_can_be_cut_short(house):
    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await talk.connection.conversation.item.create(item=typed("Hello."))
            item = (await asked(talk)).output[0]
            cut = {"item_id": item.id, "content_index": 0, "audio_end_ms": 0}
            await talk.connection.conversation.item.truncate(**cut)
            assert (await talk.until("error")).error.param == "item_id"
            house.brain.policy = remembered
            assert "You said Hello." in (await asked(talk)).output[0].content[0].text

    run(work())


def test_a_recording_sent_at_once_is_heard_whole(house):
    said = "The first bus to the museum leaves the market square at a quarter past nine in the morning."
    by_hand = {"type": "realtime", "output_modalities": ["text"]}
    by_hand["audio"] = {"input": {"turn_detection": None}}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=by_hand)
            await talk.say(house.spoken(said, silence_s=6.0), pieces=1)
            await talk.connection.input_audio_buffer.commit()
            text = (await asked(talk)).output[0].content[0].text.lower()
            assert "first bus" in text and "morning" in text

    run(work())


def test_nothing_is_asked_before_the_agent_picked_up(house):
    house.options = SessionOptions(system="Be brief.", greeting="Good morning, this is the bike shop.")

    async def work():
        greeted = {"extra_query": {"stretto": "greet"}}
        async with house.serving() as url, house.client(url, **greeted) as talk:
            await talk.connection.conversation.item.create(item=typed("Hello."))
            await talk.connection.response.create()  # refused, for the greeting is the first
            first = (await talk.until("response.done")).response
            assert "bike shop" in first.output[0].content[0].transcript

    run(work())


def test_cleared_speech_ends_no_turn(house):
    session = {"type": "realtime", "audio": {"input": {"transcription": {}}}}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=session)
            await talk.say(house.spoken("Never mind what I say about this", silence_s=0.0))
            await talk.until("input_audio_buffer.speech_started")
            await talk.connection.input_audio_buffer.clear()
            await talk.until("input_audio_buffer.cleared")
            assert not talk.of("input_audio_buffer.speech_stopped")
            await talk.say(house.spoken("What is the weather like today?"))
            heard = await talk.until("conversation.item.input_audio_transcription.completed")
            assert "weather" in heard.transcript and "mind" not in heard.transcript
            assert 1.0 < heard.usage.seconds < 4.0
            await talk.until("response.done")

    run(work())


def test_words_that_could_not_be_recognised_are_told_as_such(house):
    class Deaf:
        def open(self, bias=()):
            return self

        paused = False

        def feed(self, frame):
            return []

        async def final(self, end=None):
            raise RuntimeError("no ears")

        def close(self):
            return None

    house.ears = Deaf()
    session = {"type": "realtime", "audio": {"input": {"transcription": {}}}}

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=session)
            await talk.say(house.spoken("What is the weather like today?"))
            failed = await talk.until("conversation.item.input_audio_transcription.failed")
            assert "no ears" in failed.error.message

    run(work())


def test_a_conversation_has_an_end(house, monkeypatch):
    monkeypatch.setattr(items, "MOST_ITEMS", 3)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            for _ in range(4):
                await talk.connection.conversation.item.create(item=typed("Hello."))
            assert (await talk.until("error")).error.code == "conversation_full"
            assert len(talk.of("conversation.item.added")) == 3
            assert (await asked(talk)).status == "completed"

    run(work())
