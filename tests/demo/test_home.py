"""The demo's house: devices on real brokers, Home Assistant's messages, and the command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from stretto.demo.home.command import free_port, lived_in
from stretto.demo.home.devices import Door, Light, Thermostat
from stretto.demo.home.discovery import discovery
from stretto.demo.home.house import House, embedded_broker
from stretto.demo.home.tools import lock_door, set_light, set_temperature, unlock_door
from stretto.tools.mqtt import BrokerConnection, BrokerOptions, Message, attached
from stretto.tools.mqtt.message import check_topic

LONG_S = 60.0
TOOLS = (set_light, set_temperature, lock_door, unlock_door)


async def until(condition: Any) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():  # noqa: ASYNC110 - of a program beside this one
            await asyncio.sleep(0.01)


async def led(url: str, house: House) -> None:
    """Every tool, once."""
    async with house.living(BrokerOptions(url)) as home, BrokerConnection(BrokerOptions(url)) as broker:
        await until(lambda: home.connected.is_set() and broker.connected.is_set())
        async with asyncio.timeout(LONG_S):
            await home.flushed()
        with attached(TOOLS, broker):
            lit = await set_light.run({"room": "kitchen", "state": "on"}, "a")
            assert json.loads(lit.content or lit.error or "")["state"] == "ON"
            assert (await set_temperature.run({"degrees": 21.5}, "b")).content == "21.5"
            assert (await unlock_door.run({}, "c")).content == '{"door":"unlocked"}'
            assert (await unlock_door.run({}, "c")).content == '{"door":"unlocked"}'  # the same call again
            assert (await lock_door.run({}, "d")).content == '{"door":"locked"}'
    assert house.lights["kitchen"].on and not house.lights["hall"].on
    assert house.thermostat.target == 21.5 and house.door.locked and house.door.turned == 2


def test_the_tools_lead_the_house_over_mosquitto(mosquitto):
    asyncio.run(led(mosquitto.url, House()))


def test_the_tools_lead_the_house_over_the_embedded_broker():
    """It speaks MQTT 3.1.1 alone: correlation is in the payload."""

    async def work() -> None:
        async with embedded_broker(free_port()) as url:
            await led(url, House())
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    asyncio.run(work())


def test_the_door_turns_once_though_the_broker_is_killed(mosquitto):
    async def work() -> None:
        house = House()
        options = BrokerOptions(mosquitto.url)
        async with house.living(options) as home, BrokerConnection(options) as broker:
            await until(lambda: home.connected.is_set() and broker.connected.is_set())
            async with asyncio.timeout(LONG_S):
                await home.flushed()
            take = house.door.take

            def killing(message: Message) -> list[Message]:
                house.door.take = take  # type: ignore[method-assign]
                mosquitto.kill()
                return take(message)

            house.door.take = killing  # type: ignore[method-assign]
            unlock_door._wait_s, unlock_door.timeout_s = LONG_S, LONG_S + 1
            try:
                with attached(TOOLS, broker):
                    call = asyncio.create_task(unlock_door.run({}, "c"))
                    await until(lambda: house.door.turned)
                    await until(lambda: not broker.connected.is_set())
                    mosquitto.start()
                    assert (await call).content == '{"door":"unlocked"}'
            finally:
                unlock_door._wait_s, unlock_door.timeout_s = 5.0, 6.0
        assert house.door.turned == 1 and not house.door.locked

    asyncio.run(work())


def test_unlocking_asks_first():
    assert {tool.spec.name for tool in TOOLS if tool.confirm} == {"unlock_door"}


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"on", b'{"state": 3}', b"[]", b"true", b"9999", b"\xff", b"null"]
)
def test_devices_ignore_what_they_do_not_understand(payload):
    light, thermostat, door = Light("hall"), Thermostat(), Door()
    for device in (light, thermostat, door):
        before = device.states()
        for topic in device.subscribed:
            device.take(Message(topic, payload))
        assert device.states() == before
    (answer, _) = door.take(Message("home/door/front/request", payload, correlation=b"x", response_topic="r"))
    assert "error" in json.loads(answer.payload) and door.turned == 0


REQUIRED = {"light": {"command_topic"}, "lock": {"command_topic"}, "climate": set()}
"""Keys that Home Assistant's page of the component says are required."""
KNOWN = {
    "light": {"schema", "command_topic", "state_topic", "brightness", "brightness_scale", "effect"},
    "lock": {
        "command_topic", "state_topic", "payload_lock", "payload_unlock", "state_locked", "state_unlocked",
    },
    "climate": {
        "temperature_command_topic", "temperature_state_topic", "current_temperature_topic",
        "mode_command_topic", "mode_state_topic", "modes", "min_temp", "max_temp", "temp_step",
        "temperature_unit",
    },
}  # fmt: skip
"""Of the keys that those pages list: the ones used here, and a few more."""
EVERYWHERE = {"name", "unique_id", "qos", "device", "origin", "availability_topic"}
MODES = {"auto", "off", "cool", "heat", "dry", "fan_only"}


def test_home_assistant_finds_every_device():
    house = House()
    commands = {topic for device in house.devices for topic in device.subscribed}
    states = {state.topic for device in house.devices for state in device.states()}
    found = set()
    for message in discovery():
        prefix, component, name, config = message.topic.split("/")
        assert (prefix, config, message.retain) == ("homeassistant", "config", True)
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
        fields = json.loads(message.payload)
        assert REQUIRED[component] <= set(fields) <= KNOWN[component] | EVERYWHERE
        # A device needs an identifier, and its entity a unique id; whoever tells of it needs a name.
        assert fields["device"]["identifiers"] and fields["origin"]["name"] and fields["qos"] in (0, 1, 2)
        found.add(fields["unique_id"])
        for key, topic in fields.items():
            if key.endswith("_topic"):
                check_topic(topic)
                if key != "availability_topic":
                    assert topic in (commands if "command" in key else states), key
        if component == "climate":
            assert set(fields["modes"]) <= MODES and fields["min_temp"] < fields["max_temp"]
            assert fields["temperature_unit"] in ("C", "F")
        if component == "light":
            assert fields["schema"] == "json"
    assert len(found) == len(discovery()) == 5


def test_home_assistant_sees_the_house_and_that_it_is_gone(mosquitto):
    heard: dict[str, bytes] = {}

    async def work() -> None:
        async with BrokerConnection(BrokerOptions(mosquitto.url)) as broker:
            for pattern in ("home/#", "homeassistant/#"):
                broker.subscribe(pattern, lambda message: heard.update({message.topic: message.payload}))
            with lived_in(BrokerOptions(mosquitto.url), 0):
                await until(lambda: heard.get("home/status") == b"online" and len(heard) == 13)
            await until(lambda: heard["home/status"] == b"offline")

    asyncio.run(work())
    assert heard["home/door/front"] == b"LOCKED" and json.loads(heard["home/light/hall"])["state"] == "OFF"
    assert sum(topic.startswith("homeassistant/") for topic in heard) == 5


def test_the_command_runs_house_and_agent(tmp_path):
    """By text, with the broker in the process; what the small model makes of the words is its own affair."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "stretto.demo.home", "--json"],
        input="Please lock the front door.\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        env={name: value for name, value in os.environ.items() if not name.startswith("STRETTO_")},
    )
    assert done.returncode == 0, done.stderr
    assert "the house is on mqtt://127.0.0.1:" in done.stderr
    assert "agent: Hello, this is your house." in done.stderr and "Traceback" not in done.stderr
    (turn,) = json.loads(done.stdout.splitlines()[-1])["turns"]
    assert turn["caller"] == "Please lock the front door." and turn["agent"]


def test_a_broker_that_is_not_there_is_told(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "stretto.demo.home", "--broker", f"mqtt://127.0.0.1:{free_port()}"],
        input="", cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and "cannot be reached: does it run?" in done.stderr
