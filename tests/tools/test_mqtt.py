"""Tools over MQTT: a real broker, and devices that are plain clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from stretto.tools.mqtt import BrokerConnection, BrokerOptions, Message, attached, mqtt_tool
from stretto.tools.mqtt.message import check_topic, matches
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import Result, load_tools

LONG_S = 60.0


def looped(test: Any) -> Any:
    """Run a test in an event loop of its own; no task may be left in it."""

    async def whole(*args: Any, **named: Any) -> None:
        async with asyncio.timeout(3 * LONG_S):
            await test(*args, **named)
            # One that was cancelled ends in the loop's next round.
            await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(whole(*args, **named))

    return run


class Device:
    """A client without our code: keeps its session, comes back after every break, acts once for an id.

    `answer(command, id)` gives the reply, or None for none.
    """

    def __init__(self, url: str, topic: str, answer: Callable[[Any, str], bytes | None]) -> None:
        self.port, self.topic, self.answer = int(url.rsplit(":", 1)[1]), topic, answer
        self.received: list[tuple[str, Any]] = []
        self.done: dict[str, bytes | None] = {}
        self.ready = asyncio.Event()
        self.may_connect = asyncio.Event()
        self.may_connect.set()

    async def run(self) -> None:
        while True:
            await self.may_connect.wait()
            with contextlib.suppress(aiomqtt.MqttError):
                await self._connected()
            self.ready.clear()
            await asyncio.sleep(0.05)

    async def _connected(self) -> None:
        connect = Properties(PacketTypes.CONNECT)
        connect.SessionExpiryInterval = 600
        async with aiomqtt.Client(
            "127.0.0.1", self.port, protocol=aiomqtt.ProtocolVersion.V5, identifier=f"device-{id(self)}",
            clean_start=False, properties=connect, timeout=2,
        ) as client:  # fmt: skip
            await client.subscribe(self.topic, qos=1)
            self.ready.set()
            async for message in client.messages:
                await self._serve(client, message)

    async def _serve(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        properties: Any = message.properties
        key = getattr(properties, "CorrelationData", b"").decode()
        self.received.append((key, message.payload))
        if key not in self.done:
            self.done[key] = self.answer(json.loads(message.payload), key)
        reply = self.done[key]
        if reply is not None:
            back = Properties(PacketTypes.PUBLISH)
            back.CorrelationData = key.encode()
            await client.publish(properties.ResponseTopic, reply, qos=1, properties=back)


@contextlib.asynccontextmanager
async def running(*devices: Device) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(device.run()) for device in devices]
    try:
        async with asyncio.timeout(LONG_S):
            for device in devices:
                await device.ready.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def over(broker: Any, *tools: Any, **options: Any) -> AsyncIterator[Any]:
    """The tools' connection."""
    async with BrokerConnection(BrokerOptions(broker.url, **options)) as connection:
        async with asyncio.timeout(LONG_S):
            await connection.connected.wait()
        with attached(tools, connection) as exchange:
            async with asyncio.timeout(LONG_S):
                await connection.flushed()
            yield exchange


def doubler(timeout_s: float = LONG_S) -> Any:
    @mqtt_tool("plant/{machine}/double", timeout_s=timeout_s)
    def double(machine: Literal["left", "right"], number: int) -> None:
        """Double a number."""

    return double


def doubled(command: Any, key: str) -> bytes:
    return json.dumps({"number": 2 * command["number"]}).encode()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():  # noqa: ASYNC110 - of a program beside this one
            await asyncio.sleep(0.01)


def test_a_tool_is_as_short_as_a_function(tmp_path):
    path = tmp_path / "house.py"
    path.write_text(
        "from typing import Literal\n"
        "from stretto.tools.mqtt import mqtt_tool\n"
        '@mqtt_tool("home/{room}/light/set", state="home/{room}/light", timeout_s=2)\n'
        'def set_light(room: Literal["kitchen", "hall"], on: bool) -> dict[str, str]:\n'
        '    """Switch a light."""\n'
        '    return {"state": "ON" if on else "OFF"}\n'
        '@mqtt_tool("home/door", confirm=True)\n'
        "def unlock_door() -> None:\n"
        '    """Unlock the door."""\n'
    )
    light, door = load_tools(path)
    assert light.spec.description == "Switch a light."
    assert light.spec.parameters["properties"]["room"]["enum"] == ["kitchen", "hall"]
    assert (light.confirm, door.confirm) == (False, True)
    with pytest.raises(TypeError, match="no argument size"):
        mqtt_tool("home/{size}")(lambda: None)
    with pytest.raises(TypeError, match="name a topic"):
        mqtt_tool()(lambda: None)


@looped
async def test_a_call_is_answered_by_its_correlation_id(mosquitto):
    device = Device(mosquitto.url, "plant/+/double", doubled)
    double = doubler()
    async with running(device), over(mosquitto, double):
        result = await double.run({"machine": "left", "number": 21}, "call_7")
    assert result.content == '{"number":42}'
    ((key, payload),) = device.received
    assert key.endswith("-call_7") and json.loads(payload) == {"number": 21}


@looped
async def test_two_calls_at_once_get_their_own_answers(mosquitto):
    """The device answers the second first."""
    first: list[Any] = []
    double = doubler()
    async with over(mosquitto, double) as exchange, aiomqtt.Client(
        "127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:  # fmt: skip
        await client.subscribe("plant/#", qos=1)
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(double.run({"machine": side, "number": n}, f"call_{n}"))
                for side, n in (("left", 1), ("right", 5))
            ]
            async for message in client.messages:
                first.append(message)
                if len(first) == 2:
                    break
            for message in reversed(first):
                back = Properties(PacketTypes.PUBLISH)
                back.CorrelationData = message.properties.CorrelationData
                answer = doubled(json.loads(message.payload), "")
                await client.publish(message.properties.ResponseTopic, answer, qos=1, properties=back)
        assert [call.result().content for call in calls] == ['{"number":2}', '{"number":10}']
        assert exchange.strays == 0


@looped
async def test_a_device_that_never_answers_is_spoken_about_and_a_late_answer_harms_nobody(mosquitto):
    device = Device(mosquitto.url, "plant/left/double", lambda command, key: None)
    quick, double = doubler(0.3), doubler()
    async with running(device), over(mosquitto, quick, double) as exchange:
        failed = await quick.run({"machine": "left", "number": 1}, "call_1")
        assert failed.error == "There was no answer within 0.3 seconds. It is not known whether it was done."
        await until(lambda: device.received)
        back = Properties(PacketTypes.PUBLISH)
        back.CorrelationData = device.received[0][0].encode()
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.publish(exchange.reply_topic, b'{"number":2}', qos=1, properties=back)
        await until(lambda: exchange.strays == 1)
        device.answer = doubled
        again = await double.run({"machine": "left", "number": 2}, "call_2")
    assert again.content == '{"number":4}'


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b'{"error": "The left machine is jammed."}', "The left machine is jammed."),
        (b"\xff\xfe\x00", "The device gave an answer that cannot be read."),
        (b"NaN", "The tool gave a result that cannot be written as JSON (float)."),
    ],
)
@looped
async def test_answers_that_are_none_become_errors(mosquitto, reply, told):
    device, double = Device(mosquitto.url, "plant/left/double", lambda *_: reply), doubler()
    async with running(device), over(mosquitto, double):
        result = await double.run({"machine": "left", "number": 1}, "call_1")
    assert result == Result(None, told, result.ms)


@looped
async def test_garbage_that_is_text_is_the_result(mosquitto):
    device, double = Device(mosquitto.url, "plant/left/double", lambda *_: b"[" * 5000), doubler()
    async with running(device), over(mosquitto, double):
        result = await double.run({"machine": "left", "number": 1}, "call_1")
    assert result.content is not None and result.content.endswith('(cut)"') and len(result.content) < 2001


@looped
async def test_without_a_broker_nothing_is_done_later_either(mosquitto):
    """A call that was given up must not open the door when the broker is back."""
    device, double = Device(mosquitto.url, "plant/left/double", doubled), doubler(0.3)
    witness = doubler()
    async with running(device), over(mosquitto, double, witness) as exchange:
        mosquitto.kill()
        await until(lambda: not exchange.broker.connected.is_set())
        failed = await double.run({"machine": "left", "number": 1}, "call_1")
        assert failed.error == "The device cannot be reached. Nothing was done."
        mosquitto.start()
        assert (await witness.run({"machine": "left", "number": 3}, "call_2")).content == '{"number":6}'
    assert [json.loads(payload) for _, payload in device.received] == [{"number": 3}] * len(device.received)
    unattached = await double.run({"machine": "left", "number": 1}, "call_3")
    assert unattached.error == "There is no connection to the devices. Set url in [mqtt]."


@pytest.mark.parametrize("again", range(3))
@pytest.mark.parametrize("moment", ["before", "received", "answered"])
@looped
async def test_a_broker_that_is_killed_and_restarted_loses_nothing(mosquitto, moment, again):
    """Killed before the device has the command, between command and answer, and right after the answer."""
    acted: list[Any] = []
    killed = asyncio.Event()

    def act(command: Any, key: str) -> bytes:
        acted.append(command)
        if moment == "received":
            mosquitto.kill()
            killed.set()
        return doubled(command, key)

    device, double = Device(mosquitto.url, "plant/left/double", act), doubler()
    async with running(device), over(mosquitto, double) as exchange:
        runner = ToolRunner([double])
        call = type(
            "Call", (), {"id": "c", "name": "double", "arguments": {"machine": "left", "number": 4}}
        )()
        if moment == "before":
            mosquitto.signal(signal.SIGSTOP)  # takes the bytes, and does nothing with them
            running_call = asyncio.create_task(runner.run(call))
            await until(lambda: exchange.broker._commands and exchange.broker._commands[0].sent)
            mosquitto.kill()
            killed.set()
        else:
            running_call = asyncio.create_task(runner.run(call))
            if moment == "answered":
                await until(lambda: acted)
                mosquitto.kill()
                killed.set()
        await killed.wait()
        mosquitto.start()
        async with asyncio.timeout(LONG_S):
            result = await running_call
        await runner.aclose()
    assert result.content == '{"number":8}'
    assert acted == [{"number": 4}] and len(device.done) == 1


@looped
async def test_a_device_that_is_back_later_than_we_gets_its_command(mosquitto):
    """The broker forgot who listens: at first it gives the command to nobody."""
    device, double = Device(mosquitto.url, "plant/left/double", doubled), doubler()
    async with running(device), over(mosquitto, double) as exchange:
        device.may_connect.clear()
        mosquitto.kill()
        await until(lambda: not device.ready.is_set() and not exchange.broker.connected.is_set())
        mosquitto.start()
        await until(lambda: exchange.broker.connected.is_set())
        call = asyncio.create_task(double.run({"machine": "left", "number": 5}, "c"))
        await until(lambda: exchange.broker._commands and exchange.broker._commands[0].taken.is_set())
        device.may_connect.set()
        async with asyncio.timeout(LONG_S):
            assert (await call).content == '{"number":10}'
    assert len(device.done) == 1


@looped
async def test_a_frozen_broker_is_left_and_found_again(mosquitto):
    """It holds its sockets open and says nothing, as a machine that hangs does."""
    device, double = Device(mosquitto.url, "plant/left/double", doubled), doubler()
    async with running(device), over(mosquitto, double, timeout_s=0.5) as exchange:
        mosquitto.signal(signal.SIGSTOP)
        call = asyncio.create_task(double.run({"machine": "left", "number": 8}, "c"))
        await until(lambda: not exchange.broker.connected.is_set())
        await until(lambda: exchange.broker.problem == "Operation timed out")
        mosquitto.signal(signal.SIGCONT)
        async with asyncio.timeout(LONG_S):
            assert (await call).content == '{"number":16}'
    assert len(device.done) == 1


# ---------------------------------------------------------------------- devices with a state


def light(timeout_s: float = LONG_S) -> Any:
    @mqtt_tool("zigbee2mqtt/{room}/set", state="zigbee2mqtt/{room}", timeout_s=timeout_s)
    def set_light(room: str, on: bool, brightness: int = 100) -> dict[str, Any]:
        """Switch a light."""
        return {"state": "ON" if on else "OFF", "brightness": brightness}

    return set_light


async def bulb(port: int, ready: asyncio.Event, seen: list[Any], says: Callable[[Any], list[bytes]]) -> None:
    """As Zigbee2MQTT has them: commands to …/set, the whole state retained."""
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("zigbee2mqtt/+/set", qos=1)
        ready.set()
        async for message in client.messages:
            command = json.loads(message.payload)
            seen.append(command)
            for state in says(command):
                await client.publish(message.topic.value.removesuffix("/set"), state, qos=1, retain=True)


@contextlib.asynccontextmanager
async def lit(broker: Any, seen: list[Any], says: Callable[[Any], list[bytes]]) -> AsyncIterator[None]:
    ready = asyncio.Event()
    task = asyncio.create_task(bulb(broker.port, ready, seen, says))
    async with asyncio.timeout(LONG_S):
        await ready.wait()
    yield
    task.cancel()
    await asyncio.wait([task])


@looped
async def test_a_call_is_done_when_the_state_says_so(mosquitto):
    def says(command: Any) -> list[bytes]:
        other = {"state": "OFF", "brightness": 1}
        return [
            b"\xff",
            b"{",
            json.dumps(other).encode(),
            json.dumps({**command, "linkquality": 80}).encode(),
        ]

    seen: list[Any] = []
    set_light = light()
    async with lit(mosquitto, seen, says), over(mosquitto, set_light):
        result = await set_light.run({"room": "kitchen", "on": True}, "call_1")
        # It is on already: whether the bulb says so again or not.
        known = await set_light.run({"room": "kitchen", "on": True}, "call_2")
    assert json.loads(result.content or "") == {"state": "ON", "brightness": 100, "linkquality": 80}
    assert seen == [{"state": "ON", "brightness": 100}] * 2 and known.content == result.content


@looped
async def test_a_state_that_stays_as_it_was_is_no_success(mosquitto):
    seen: list[Any] = []
    set_light = light(0.5)
    async with (
        lit(mosquitto, seen, lambda command: [b'{"state": "OFF", "brightness": 100}']),
        over(mosquitto, set_light),
    ):
        result = await set_light.run({"room": "kitchen", "on": True}, "call_1")
    assert result.error is not None and result.error.startswith("There was no answer within 0.5 seconds.")
    assert seen


@looped
async def test_states_are_read_and_topics_are_not_forged(mosquitto):
    @mqtt_tool(state="zigbee2mqtt/{room}", timeout_s=LONG_S)
    def light_state(room: str) -> None:
        """Whether a light is on."""

    assert light_state.read_only
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish("zigbee2mqtt/hall", '{"state": "ON"}', qos=1, retain=True)
    async with over(mosquitto, light_state):
        assert (await light_state.run({"room": "hall"}, "")).content == '{"state":"ON"}'
        for room in ("#", "hall/set", "+", "a\0b"):
            refused = await light_state.run({"room": room}, "")
            assert refused.error is not None and refused.error.startswith("There is no room called")


@looped
async def test_a_lock_tells_in_other_words_than_it_is_told(mosquitto):
    @mqtt_tool(
        "lock/set",
        state="lock/state",
        done=lambda state, locked: state == ("LOCKED" if locked else "UNLOCKED"),
    )
    def set_lock(locked: bool) -> str:
        """Lock or unlock."""
        return "LOCK" if locked else "UNLOCK"

    async with over(mosquitto, set_lock), aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.subscribe("lock/set", qos=1)
        call = asyncio.create_task(set_lock.run({"locked": True}, "c"))
        async with asyncio.timeout(LONG_S):
            async for message in client.messages:
                assert message.payload == b"LOCK"
                break
        await client.publish("lock/state", "LOCKING", qos=1)
        await client.publish("lock/state", "LOCKED", qos=1)
        assert (await call).content == '"LOCKED"'


# ---------------------------------------------------------------------- the connection


@looped
async def test_who_leaves_in_an_orderly_way_leaves_no_will(mosquitto):
    """Of a process that vanishes the broker tells: see tests/integration/test_mqtt_calls.py."""
    will = Message("agents/one", b"offline", retain=True)
    connection = BrokerConnection(BrokerOptions(mosquitto.url, will=will))
    heard: list[bytes] = []
    async with BrokerConnection(BrokerOptions(mosquitto.url)) as witness:
        witness.subscribe("agents/one", lambda message: heard.append(message.payload))
        async with connection:
            connection.retain(Message("agents/one", b"online", retain=True))
            await until(lambda: heard == [b"online"])
        witness.subscribe("mark", lambda message: heard.append(message.payload))
        witness.send(Message("mark", b"later"))
        await until(lambda: b"later" in heard)
    assert heard == [b"online", b"later"]


@looped
async def test_what_too_many_wait_is_dropped_and_counted_and_nobody_waits(mosquitto):
    mosquitto.kill()
    heard: list[bytes] = []
    async with BrokerConnection(BrokerOptions(mosquitto.url, waiting=10)) as connection:
        for n in range(25):
            connection.send(Message("news", str(n).encode()))
        assert connection.dropped == 15
        connection.subscribe("news", lambda message: heard.append(message.payload))
        mosquitto.start()
        await until(lambda: len(heard) == 10)
    assert heard == [str(n).encode() for n in range(15, 25)]


@looped
async def test_what_is_retained_is_told_again_to_a_broker_that_forgot(mosquitto):
    async with BrokerConnection(BrokerOptions(mosquitto.url)) as connection:
        connection.retain(Message("door", b"open", retain=True))
        connection.retain(Message("door", b"shut", retain=True))
        async with asyncio.timeout(LONG_S):
            await connection.connected.wait()
            await connection.flushed()
        mosquitto.kill()
        mosquitto.start()
        await until(lambda: connection.connections == 2)
        async with asyncio.timeout(LONG_S):
            await connection.flushed()
        assert await retained(mosquitto.port, "door") == b"shut"
        connection.forget("door")
        async with asyncio.timeout(LONG_S):
            await connection.flushed()
        assert await retained(mosquitto.port, "door") is None


async def retained(port: int, topic: str) -> Any:
    """What a newcomer gets of a topic; a mark of our own tells when that is all."""
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        await client.subscribe("mark", qos=1)
        await client.publish("mark", "x", qos=1)
        found = None
        async for message in client.messages:
            if message.topic.value == "mark":
                return found
            found = message.payload


@looped
async def test_wrong_passwords_and_urls_are_told(mosquitto):
    for url in ("http://x", "mqtt://", "mqtt://me:secret@host", "mqtt://host:99999", "mqtt://host/path"):
        with pytest.raises(ValueError) as told:
            BrokerOptions(url)
        assert "secret" not in str(told.value)
    mosquitto.kill()
    mosquitto.start("allow_anonymous false")
    options = BrokerOptions(mosquitto.url, username="me", password="a secret")
    assert "a secret" not in repr(options)
    async with BrokerConnection(options) as connection:
        await until(lambda: "uthor" in (connection.problem or ""))
        assert not connection.connected.is_set()


def test_filters_match_as_the_standard_says():
    for topic, pattern, expected in (
        ("a/b", "a/b", True), ("a/b", "a/+", True), ("a/b", "a/#", True), ("a", "a/#", True),
        ("a/b/c", "a/+", False), ("a/b/c", "+/+/c", True), ("/a", "+/a", True), ("$SYS/x", "#", False),
        ("$SYS/x", "+/x", False), ("a", "a/+", False), ("a/", "a/+", True),
    ):  # fmt: skip
        assert matches(topic, pattern) is expected, (topic, pattern)
    for topic in ("", "a/+", "#", "a\0", "\ud800", "x" * 65_536):
        with pytest.raises(ValueError):
            check_topic(topic)


def test_the_tools_of_the_page_load(tmp_path):
    page = (Path(__file__).parents[2] / "agent" / "MQTT.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.S)
    path = tmp_path / "tools_of_the_house.py"
    path.write_text(program)
    assert [tool.spec.name for tool in load_tools(path)] == ["set_light", "open_garage"]
