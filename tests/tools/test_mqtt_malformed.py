"""Whatever comes in on reply and state topics, a call beside it gets its own answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.tools.mqtt import BrokerConnection, BrokerOptions, Message, attached, mqtt_tool
from stretto.tools.mqtt.tool import _told
from stretto.tools.tool import ToolError, encode

COUNT = 5000
"""Half of the ten thousand; the other half are commands (tests/integration/test_mqtt_calls.py)."""
LONG_S = 60.0

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
names = st.sampled_from(["correlation_id", "state", "error", "brightness"]) | st.text(max_size=5)
trees = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)
)
payloads = st.binary(max_size=60) | trees.map(lambda tree: json.dumps(tree).encode())
payloads |= st.sampled_from(
    [b"", b"[" * 2000, b'{"a":' * 2000, b"9" * 5000, b"\xff\xfe", b"NaN", b'"\\ud800"']
)
frames = st.tuples(
    st.sampled_from(["reply", "state"]), payloads, st.none() | st.binary(min_size=1, max_size=30)
)


def collected() -> list[tuple[str, bytes, bytes | None]]:
    found: list[tuple[str, bytes, bytes | None]] = []

    @settings(max_examples=COUNT // 50, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(frames, min_size=50, max_size=50))
    def collect(examples: list[tuple[str, bytes, bytes | None]]) -> None:
        found.extend(examples)

    collect()
    return (found * 2)[:COUNT]


@settings(max_examples=300, database=None, deadline=None)
@given(payloads)
def test_every_payload_becomes_a_result_or_an_error_that_can_be_spoken(payload: bytes) -> None:
    try:
        text = encode(_told(payload))
    except ToolError as error:
        assert 0 < len(str(error)) <= 200
    else:
        json.loads(text)


def test_garbage_on_replies_and_states_harms_no_call(mosquitto: Any) -> None:
    @mqtt_tool("plant/go", timeout_s=LONG_S)
    def go() -> None:
        """Go."""

    @mqtt_tool("lamp/set", state="lamp", timeout_s=LONG_S)
    def lamp() -> dict[str, Any]:
        """Switch the lamp."""
        return {"state": "never-said-by-chance", "mark": 17}

    async def until(condition: Any) -> None:
        async with asyncio.timeout(LONG_S):
            while not condition():  # noqa: ASYNC110 - of a program beside this one
                await asyncio.sleep(0.01)

    async def work() -> None:
        requests: list[Message] = []
        options = BrokerOptions(mosquitto.url)
        async with (
            BrokerConnection(options) as mine,
            BrokerConnection(BrokerOptions(mosquitto.url, waiting=2 * COUNT)) as other,
        ):
            with attached([go, lamp], mine) as exchange:
                other.subscribe("plant/go", requests.append)
                await until(lambda: mine.connected.is_set() and other.connected.is_set())
                async with asyncio.timeout(LONG_S):
                    await mine.flushed()
                    await other.flushed()
                calls = [asyncio.create_task(tool.run({}, "c")) for tool in (go, lamp)]
                await until(lambda: requests)
                tasks = len(asyncio.all_tasks())
                for kind, payload, key in collected():
                    topic = exchange.reply_topic if kind == "reply" else "lamp"
                    other.send(Message(topic, payload, correlation=key))
                other.send(Message("lamp", b'{"state": "NEVER-said-by-chance", "mark": 17}'))
                key = requests[0].correlation
                other.send(Message(exchange.reply_topic, b'{"went": "well"}', correlation=key))
                async with asyncio.timeout(LONG_S):
                    went, lit = [await call for call in calls]
                assert went.content == '{"went":"well"}'
                assert json.loads(lit.content or "")["mark"] == 17
                assert other.dropped == 0 and mine.connections == 1 and exchange.strays > COUNT // 4
                assert len(asyncio.all_tasks()) <= tasks
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    asyncio.run(work())
