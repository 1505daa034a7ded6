"""What is no message of a telephone protocol, or nearly is one, hurts nobody: 10,000 at each door."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import struct
import uuid
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.agent.call import SessionOptions
from stretto.agent.server.doors import Doors
from stretto.agent.ways_in.audiosocket import DTMF, ERROR, HANG_UP, RATES, UUID, SocketFrame
from stretto.agent.ways_in.twilio_messages import BadMessage, parse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

T = TypeVar("T")
COUNT = 10_000
FIELDS = (
    "event sequenceNumber streamSid start media dtmf mark stop payload timestamp chunk track digit name "
    "callSid accountSid customParameters mediaFormat encoding protocol version tracks"
).split()
EVENTS = ["connected", "start", "media", "dtmf", "mark"]  # `stop` rightly ends a call
words = st.text(max_size=20) | st.text(st.sampled_from('\ud800\udc00😀\x00\n"\\ a=+/'), max_size=8)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 1e308])
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=10,
)
payloads = st.binary(max_size=400).map(lambda data: base64.b64encode(data).decode())
bodies = st.one_of(
    st.builds(
        lambda fields: {"media": fields},
        st.fixed_dictionaries(
            {"payload": payloads | words},
            optional={"timestamp": numbers.map(str) | values, "track": st.just("inbound") | words},
        ),
    ),
    st.builds(lambda digit: {"dtmf": {"digit": digit}}, st.sampled_from("0123456789*#ABCDx") | values),
    st.builds(lambda name: {"mark": {"name": name}}, st.integers(1, 40).map(str) | values),
    st.builds(
        lambda fields: {"start": fields},
        st.dictionaries(st.sampled_from(FIELDS), values, max_size=5),
    ),
)
messages = st.one_of(
    st.text(max_size=60),
    st.binary(max_size=60),
    values.map(json.dumps),
    st.builds(
        lambda kind, fields: json.dumps({**fields, "event": kind}),
        st.sampled_from(EVENTS),
        bodies | st.dictionaries(st.sampled_from(FIELDS), values, max_size=5),
    ),
    st.builds(lambda depth: '{"event":' * depth + "1" + "}" * depth, st.integers(40, 3000)),
)
wild = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda kind, length, data: struct.pack(">BH", kind, length) + data,
        st.integers(0, 255), st.integers(0, 400), st.binary(max_size=400),
    ),
)  # fmt: skip
"""Bytes out of step: of these a share is soon over, for they end a call or swallow what follows."""


@given(messages)
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_message_or_refused(message):
    try:
        found = parse(message)
    except BadMessage as error:
        assert str(error)
    else:
        json.dumps(repr(found)).encode()


def drawn(strategy: st.SearchStrategy[T], length: int) -> list[T]:
    """So many: some of a strategy, which takes its time, and children of theirs."""
    found: list[Any] = []

    @settings(max_examples=2500, derandomize=True, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def collect(each):
        found.append(each)

    collect()
    rng, parents = random.Random(1), list(found)
    while len(found) < length:
        one, other = rng.choice(parents), rng.choice(parents)
        cut = rng.randrange(len(one) + 1)
        if isinstance(one, type(other)) and rng.random() < 0.7:
            found.append(one[:cut] + other[rng.randrange(len(other) + 1) :])
        else:
            found.append(one[:cut] + one[cut + rng.randrange(1, 4) :])
    return found[:length]


def frames(count: int) -> list[bytes]:
    """Whole frames that make no sense, but none that rightly ends a call; behind them bytes out of step."""
    rng, whole = random.Random(2), count * 9 // 10
    known = [UUID, DTMF, ERROR, HANG_UP, *RATES]
    made = []
    for payload in drawn(st.binary(max_size=700), whole):
        kind = rng.choice(known) if rng.random() < 0.8 else rng.randrange(256)
        ends = (kind == HANG_UP and not payload) or (kind == ERROR and payload[:1] == b"\x01")
        made.append(SocketFrame(DTMF if ends else kind, payload).encode())
    return [*made, *drawn(wild, count - whole)]


def shares(bad: Sequence[T], size: int = 250) -> list[Sequence[T]]:
    return [bad[begin : begin + size] for begin in range(0, len(bad), size)]


async def attack_twilio(phones: Any, url: str, bad: Sequence[str | bytes]) -> int:
    """Every share in a call of its own; how many calls there were."""
    start = {"streamSid": "MZ1", "callSid": "CA1", "accountSid": "AC1", "customParameters": {"a": "b"}}
    for number, share in enumerate(shares(bad)):
        async with connect(url.replace("http", "ws") + "/twilio", compression=None) as socket:
            if number % 8:  # some begin with what is no start
                await socket.send(json.dumps({"event": "start", "start": start}))
            reader = asyncio.create_task(drain(socket))
            try:
                for frame in share:
                    await socket.send(frame if isinstance(frame, bytes) else sendable(frame))
                await socket.send('{"event": "stop"}')
                await asyncio.wait_for(reader, 60)
            except ConnectionClosed as closed:
                # Only a stream that does not begin is given up.
                assert number % 8 == 0 and closed.rcvd is not None and closed.rcvd.code == 1002, closed
                await asyncio.wait([reader])
    return len(shares(bad))


def sendable(text: str) -> str:
    """No peer can send half of a character."""
    return text.encode("utf-8", "replace").decode()


async def drain(socket: Any) -> None:
    try:
        async for _ in socket:
            pass
    except ConnectionClosed:
        return


async def attack_audiosocket(phones: Any, url: str, bad: Sequence[bytes]) -> int:
    for number, share in enumerate(shares(bad)):
        reader, writer = await asyncio.open_connection(*phones.audiosocket.address)
        reading = asyncio.create_task(reader.read(-1))
        try:
            if number % 8:
                writer.write(SocketFrame(UUID, uuid.uuid4().bytes).encode())
            for frame in share:
                writer.write(frame)
                await writer.drain()
            writer.write_eof()
            await asyncio.wait_for(reading, 60)
        except ConnectionError:
            pass  # a frame that ends a call was among them
        finally:
            writer.close()
            await asyncio.wait([reading])
            if reading.done() and not reading.cancelled():
                reading.exception()
    return len(shares(bad))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", ["twilio", "audiosocket"])
def test_ten_thousand_malformed_frames_hurt_nobody(phones, caplog, way):
    """A call at the other door goes on meanwhile."""
    phones.options = SessionOptions(system="Be brief.", greeting="")
    phones.doors = Doors(max_sessions=100, requests_per_minute=10_000)
    phones.record = None
    bad: list[Any] = drawn(messages, COUNT) if way == "twilio" else frames(COUNT)
    attack: Any = attack_twilio if way == "twilio" else attack_audiosocket
    other = "audiosocket" if way == "twilio" else "twilio"

    async def work():
        async with phones.serving() as url, phones.phoning(other, url) as caller:  # no task is left
            attacks = [asyncio.create_task(attack(phones, url, bad[n::2])) for n in range(2)]
            answered = 0
            while not all(task.done() for task in attacks):
                await caller.phone.press(f"{answered}#")
                await caller.until(lambda words=f"You said {answered}": words in caller.said())
                answered += 1
            assert sum(await asyncio.gather(*attacks)) == COUNT // 250 and answered >= 1
            await caller.until(lambda: phones.server.doors.sessions == 1)
            page = phones.server.metrics.page().decode().splitlines()
        assert phones.server.doors.sessions == 0
        return next(float(line.split()[-1]) for line in page if line.startswith("stretto_bad_frames_total"))

    refused = asyncio.run(asyncio.wait_for(work(), 380))
    assert refused > COUNT / 2 if way == "twilio" else refused > COUNT / 4  # half of the rest is audio
    broken = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not broken, [record.getMessage() for record in broken]
