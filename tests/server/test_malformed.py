"""Frames that are no events, or nearly are: each is refused, and hurts nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.agent.realtime import client_events
from stretto.agent.realtime.connection import Connection
from stretto.agent.realtime.errors import RequestError
from stretto.agent.server.doors import Doors
from stretto.agent.server.server import Limits
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

KINDS = [
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.truncate",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "response.create",
    "response.cancel",
    "output_audio_buffer.clear",
]
FIELDS = (
    "type session item item_id audio previous_item_id content_index audio_end_ms response response_id "
    "event_id id role content text call_id output instructions tools turn_detection output_modalities "
    "metadata input"
).split()
plain = st.text(max_size=20)
words = plain | plain | st.text(st.sampled_from('\ud800\udc00😀\x00\n"\\ a'), max_size=4)
"""Halves of surrogate pairs among them: JSON can say one, UTF-8 cannot."""
HUGE = [10**400, -(10**400), 2**63, 10**30, 1e308, -1e308]
numbers = st.integers() | st.floats() | st.sampled_from(HUGE)
values = st.recursive(
    st.none() | st.booleans() | numbers | words | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)
KEYWORDS = (
    "type properties required items prefixItems enum const anyOf oneOf allOf $ref $defs format nullable "
    "minimum maximum exclusiveMinimum minLength maxLength minItems maxItems description a b"
).split()
TYPES = ["string", "integer", "number", "boolean", "array", "object", "null", "date", "#", "#/$defs/a"]
wild = st.recursive(
    st.none() | st.booleans() | numbers | words | st.sampled_from(TYPES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=6,
)
"""Schemas with anything anywhere."""
bounds = st.integers(-5, 40) | st.sampled_from(HUGE)
scalars = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional=dict.fromkeys(["minimum", "maximum", "exclusiveMinimum"], bounds),
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={"minLength": bounds, "maxLength": bounds, "format": st.sampled_from(TYPES)},
    ),
    st.fixed_dictionaries({"enum": st.lists(plain | bounds, max_size=3)}),
    st.fixed_dictionaries({"$ref": st.sampled_from(["#/$defs/a", "#/properties/a", "#"])}),
)
schemas = st.recursive(
    scalars | scalars | wild | st.booleans(),
    lambda inner: st.one_of(
        st.builds(lambda part, low: {"type": "array", "items": part, "minItems": low}, inner, bounds),
        st.builds(lambda parts: {"type": "object", "properties": parts}, st.dictionaries(plain, inner)),
        st.builds(lambda kind, parts: {kind: parts}, st.sampled_from(["anyOf", "oneOf"]), st.lists(inner)),
    ),
    max_leaves=6,
)
"""Schemas that are nearly right."""
tools = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["book", "look_up", "a-b"]),
            "type": st.just("function"),
            "parameters": st.builds(
                lambda parts, more: {"type": "object", "properties": parts, "$defs": parts} | more,
                st.dictionaries(st.sampled_from(["a", "b"]) | plain, schemas, min_size=1, max_size=3),
                st.just({}) | st.just({}) | st.dictionaries(st.sampled_from(KEYWORDS), wild, max_size=2),
            ),
        },
        optional={"description": plain},
    ),
    min_size=1,
    max_size=2,
)
parts = st.fixed_dictionaries({"type": st.sampled_from(["input_text", "output_text"]), "text": words})
items = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "message", "function_call", "function_call_output"])},
    optional={
        "id": words,
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.lists(parts, max_size=2),
        "call_id": words,
        "name": words,
        "arguments": words | values.map(json.dumps),
        "output": words | values.map(json.dumps),
    },
)
responses = st.fixed_dictionaries(
    {"output_modalities": st.just(["text"])},
    optional={
        "instructions": words,
        "metadata": st.dictionaries(words, words, max_size=3),
        "conversation": st.sampled_from(["auto", "none"]),
        "tools": tools,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | values,
        "input": st.lists(items, max_size=2),
    },
)
sessions = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={"instructions": words, "tracing": values, "max_output_tokens": numbers},
)
offers = st.fixed_dictionaries({"type": st.just("realtime"), "tools": tools})
likely = st.one_of(
    st.builds(lambda item: {"type": "conversation.item.create", "item": item}, items),
    st.builds(lambda response: {"type": "response.create", "response": response}, responses),
    st.builds(lambda session: {"type": "session.update", "session": session}, sessions | offers | offers),
)
"""Events that are nearly right, and get far."""
nested = st.builds(
    lambda kind, depth, begin, end: f'{{"type":"{kind}","session":{begin * depth}1{end * depth}}}',
    st.sampled_from(KINDS),
    st.integers(40, 4000),
    st.just('{"tools":'),
    st.just("}"),
)
frames = st.one_of(
    st.text(max_size=60),
    st.binary(max_size=60),
    values.map(json.dumps),
    st.builds(
        lambda kind, fields: json.dumps({**fields, "type": kind}),
        st.sampled_from(KINDS),
        st.dictionaries(st.sampled_from(FIELDS), values, max_size=5),
    ),
    st.builds(lambda event, name: json.dumps({**event, "event_id": name}), likely, st.none() | words),
    nested,
)


def run(work, timeout=200):
    return asyncio.run(asyncio.wait_for(work, timeout))


def address(url: str, query: str = "") -> str:
    return f"{url}/v1/realtime?model=x{query}".replace("http", "ws")


@given(frames)
@settings(max_examples=500, deadline=None)
def test_any_frame_is_an_event_or_refused(frame):
    try:
        event, _ = client_events.parse(frame)
    except RequestError as error:
        assert str(error) and error.code
    else:
        assert event.type in KINDS


def drawn(count: int, strategy: st.SearchStrategy[str | bytes]) -> list[str | bytes]:
    """So many frames: some of a strategy, which takes its time, and children of theirs."""
    found: list[str | bytes] = []
    calm = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=min(count, 3000), derandomize=True, **calm)
    @given(strategy)
    def collect(frame):
        found.append(frame)

    collect()
    rng, parents = random.Random(1), list(found)
    while len(found) < count:
        found.append(crossed(rng, rng.choice(parents), rng.choice(parents)))
    return found[:count]


def crossed(rng: random.Random, one: str | bytes, other: str | bytes) -> str | bytes:
    """A frame with a piece of another in it; of what is no JSON object, the frame without a piece."""
    try:
        event, piece = json.loads(one), json.loads(other)
        place = event[(name := rng.choice(list(event)))], event, name
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        cut = rng.randrange(len(one) + 1)
        return one[:cut] + one[cut + rng.randrange(1, 4) :]
    while rng.random() < 0.7 and (inner := children(place[0])):
        place = rng.choice(inner)
    while rng.random() < 0.7 and (inner := children(piece)):
        piece = rng.choice(inner)[0]
    place[1][place[2]] = piece
    return json.dumps(event)


def children(value: object) -> list[tuple[object, object, object]]:
    """What is in a list or object, each with the holder and the place in it."""
    if isinstance(value, dict):
        return [(each, value, name) for name, each in value.items()]
    return [(each, value, n) for n, each in enumerate(value)] if isinstance(value, list) else []


class Attacker:
    """Sends frames on one connection after the other, each of which stays open to its end."""

    def __init__(self, name: str, frames: list[str | bytes], agent_may_end: bool) -> None:
        self.name, self.frames, self.agent_may_end = name, frames, agent_may_end
        self.refused = self.served = 0

    async def attack(self, url: str) -> None:
        left = list(self.frames)
        while left:
            share, left = left[:500], left[500:]
            async with connect(address(url), compression=None) as socket:
                reader = asyncio.create_task(self.read(socket))
                try:
                    for frame in [*share, self.last()]:
                        await socket.send(frame)
                    assert await asyncio.wait_for(reader, 120), "the last event was not served"
                except ConnectionClosed as closed:
                    ended = closed.rcvd is not None and (closed.rcvd.code, closed.rcvd.reason)
                    assert self.agent_may_end and ended in ((1000, "hang_up"), (1000, "transfer")), closed
                    await asyncio.wait([reader])
            self.served += 1

    def last(self) -> str:
        content = [{"type": "input_text", "text": self.words()}]
        item = {"id": "last", "type": "message", "role": "user", "content": content}
        return json.dumps({"type": "conversation.item.create", "item": item})

    def words(self) -> str:
        return f"The end of {self.name}, connection {self.served}."

    async def read(self, socket) -> bool:
        """Until the last event is served. Raises ConnectionClosed."""
        while True:
            event = json.loads(await socket.recv())
            if event["type"] == "error":
                self.refused += 1
                assert event["error"]["code"] != "server_error", event
            if event["type"] == "conversation.item.done" and event["item"]["id"] == "last":
                return True


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("model", "count"), [("scripted", 9200), ("embedded", 800)])
def test_ten_thousand_malformed_frames_hurt_nobody(house, request, caplog, tmp_path, model, count):
    """A call beside them goes on."""
    house.limits, house.doors = Limits(json=4000), Doors(max_sessions=100)
    house.record = tmp_path
    scripted = model == "scripted"
    bad = drawn(count, frames if scripted else likely.map(json.dumps))
    if not scripted:
        house.brain = request.getfixturevalue("embedded")
    attackers = [Attacker(str(n), bad[n::2], agent_may_end=not scripted) for n in range(2)]

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            changes = {"type": "realtime", "output_modalities": ["text"], "tools": []}
            await talk.connection.session.update(session=changes)
            async with asyncio.TaskGroup() as group:
                attacks = [group.create_task(each.attack(url)) for each in attackers]
                answered = 0
                while not all(task.done() for task in attacks):
                    text = {"type": "input_text", "text": f"Number {answered}."}
                    await talk.connection.conversation.item.create(
                        item={"type": "message", "role": "user", "content": [text]}
                    )
                    await talk.connection.response.create()
                    done = await talk.until("response.done")
                    assert done.response.status == "completed"
                    if scripted:
                        said = done.response.output[0].content[0].text
                        assert said == f"You said Number {answered}."
                    answered += 1
            assert answered > 1
        assert house.server.doors.sessions == 0

    run(work(), 380)
    assert sum(attacker.refused for attacker in attackers) > count / 2
    broken = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not broken, [record.getMessage() for record in broken]
    if scripted:  # nothing ended a record early, either
        kept = "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
        for attacker in attackers:
            for attacker.served in range(10):
                assert attacker.words() in kept


def test_what_has_no_text_or_number_that_can_be_sent_is_refused(house, tmp_path):
    house.record = tmp_path
    half, deep = "\\ud800", '{"a":' * 70 + "1" + "}" * 70
    item = '{{"type":"conversation.item.create","item":{{"type":"message","role":"{}","content":[{}]}}}}'
    part = f'{{"type":"input_text","text":"so {half}"}}'
    told = {
        f'{{"type":"response.cancel","event_id":"{half}"}}': "invalid_text",
        item.format("user", part): "invalid_text",
        item.format("system", part): "invalid_text",
        f'{{"type":"response.create","response":{{"metadata":{{"{half}":"a"}}}}}}': "invalid_text",
        '{"type":"session.update","session":{"temperature":NaN}}': "invalid_number",
        '{"type":"session.update","session":{"tracing":[1e999]}}': "invalid_number",
        f'{{"type":"session.update","session":{{"tracing":{deep}}}}}': "nested_too_deeply",
    }

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            for frame, code in told.items():
                await talk.connection._connection.send(frame)
                error = (await talk.until("error")).error
                assert (error.code, error.event_id) == (code, None)
            content = [{"type": "input_text", "text": "Whole: \U0001f600 é."}]
            item = {"type": "message", "role": "user", "content": content}
            await talk.connection.conversation.item.create(item=item)
            assert (await talk.until("conversation.item.done")).item.content[0].text == "Whole: \U0001f600 é."

    run(work())
    (transcript,) = tmp_path.glob("*.jsonl")
    assert "Whole: \U0001f600 é." in transcript.read_text()


def test_a_fault_of_the_server_costs_one_event(house, monkeypatch, caplog):
    def broken(self, event):
        raise TypeError("no such thing")

    monkeypatch.setattr(Connection, "_truncate", broken)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.conversation.item.truncate(
                item_id="x", content_index=0, audio_end_ms=0, event_id="mine"
            )
            error = (await talk.until("error")).error
            assert (error.type, error.code, error.event_id) == ("server_error", "server_error", "mine")
            await talk.connection.session.update(session={"type": "realtime", "instructions": "Short."})
            await talk.until("session.updated")

    run(work())
    assert "TypeError: no such thing" in caplog.text
