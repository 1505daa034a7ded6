"""Calls on a real broker: what happens in them is told there, and commands lead them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stretto.agent import Agent, SessionOptions
from stretto.agent.mqtt_bridge import COMMANDS, LONGEST_COMMAND
from stretto.agent.mqtt_link import MqttLink, observed
from stretto.agent.settings import MqttSettings
from stretto.llm.language_model import Call, Draft
from stretto.tools.mqtt import BrokerConnection, BrokerOptions, Message, mqtt_tool
from websockets.asyncio.client import connect

LONG_S = 60.0
QUIET = SessionOptions(greeting="", silence_prompt_s=600.0, caller_gone_s=600.0)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():  # noqa: ASYNC110 - of a program beside this one
            await asyncio.sleep(0.01)


def looped(test: Any) -> Any:
    """Run a test in an event loop of its own; no task may be left in it."""

    async def whole(*args: Any, **named: Any) -> None:
        async with asyncio.timeout(3 * LONG_S):
            await test(*args, **named)
            await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(whole(*args, **named))

    return run


class Witness:
    """All that is published under a topic, by topic; sends commands."""

    def __init__(self, broker: BrokerConnection) -> None:
        self.broker = broker
        self.heard: list[Message] = []

    def on(self, part: str) -> list[Any]:
        """Payloads of topics that have `part` in them."""
        payloads = (message.payload for message in self.heard if part in message.topic)
        return [payload if part == "status" or not payload else json.loads(payload) for payload in payloads]

    def command(self, call: Any, verb: str, **fields: Any) -> None:
        topic = f"stretto/{call.session.id}/command/{verb}"
        self.broker.send(Message(topic, json.dumps(fields).encode()))


@contextlib.asynccontextmanager
async def watched(url: str, pattern: str = "stretto/#") -> AsyncIterator[Witness]:
    async with BrokerConnection(BrokerOptions(url)) as broker:
        witness = Witness(broker)
        broker.subscribe(pattern, witness.heard.append)
        async with asyncio.timeout(LONG_S):
            await broker.connected.wait()
            await broker.flushed()
        yield witness


@contextlib.asynccontextmanager
async def held(url: str, brain: Any, ears: Any, throat: Any, tools: Any = ()) -> AsyncIterator[Any]:
    """A call of an embedded agent with that broker."""
    agent = Agent(tools=tools, model=brain, recogniser=ears, voice=throat, options=QUIET, mqtt=url)
    async with agent, agent.call(lambda frame, at: None) as call:
        async with asyncio.timeout(LONG_S):
            await call.session.picked_up()
            await agent._link.connection.flushed()  # it hears commands now
        yield call


@looped
async def test_a_call_is_told_of_and_led(mosquitto, brain, ears, throat):
    async with watched(mosquitto.url) as witness:
        async with held(mosquitto.url, brain, ears, throat) as call:
            name = call.session.id
            call.write("My name is Anna.")
            await until(lambda: witness.on(f"{name}/event/AgentHeard"))
            (heard,) = witness.on(f"{name}/event/AgentHeard")
            assert heard["text"] == "You said My name is Anna." and heard["event"] == "AgentHeard"
            states = [each["state"] for each in witness.on(f"{name}/state")]
            assert states[0] == "listening" and "speaking" in states
            assert not witness.on("DenoisingPass") and witness.on("DraftReady")
            late = await retained(mosquitto.url, f"stretto/{name}/state")
            assert json.loads(late)["session"] == name
            for _ in range(2):  # as QoS 1 may bring it
                witness.command(call, "say", text="The kitchen light is on.", id="one")
            await until(lambda: len(witness.on("AgentHeard")) == 2)
            witness.command(call, "hang_up", text="Goodbye.")
            record = await call.wait(LONG_S)
        assert record.ended == "hang_up"
        said = [turn.agent for turn in record.turns if turn.canned]
        assert said == ["The kitchen light is on.", "Goodbye."]
        await until(lambda: witness.on("status")[-1:] == [b"offline"])
        assert witness.on("status") == [b"online", b"offline"]
        last = [each for each in witness.on(f"{name}/state") if each][-1]
        assert (last["state"], last["reason"]) == ("over", "hang_up")
        assert await retained(mosquitto.url, f"stretto/{name}/state") is None
        assert await retained(mosquitto.url, "stretto/status") == b"offline"


@looped
async def test_a_call_is_handed_over_by_command(mosquitto, brain, ears, throat):
    async with watched(mosquitto.url) as witness, held(mosquitto.url, brain, ears, throat) as call:
        witness.command(call, "transfer")
        assert (await call.wait(LONG_S)).ended == "transfer"
        await until(lambda: witness.on("event/Transfer"))


@looped
async def test_the_agent_uses_a_device_and_its_id_names_the_session(mosquitto, brain, ears, throat):
    @mqtt_tool("home/door/unlock", timeout_s=LONG_S)
    def unlock_door(door: str) -> None:
        """Unlock a door."""

    def policy(thought: Any) -> Any:
        if thought.results:
            return f"The door is {json.loads(thought.results[-1])['door']}."
        return Draft("", (Call("c0", "unlock_door", {"door": "front"}),))

    brain.policy = policy
    ids: list[bytes] = []
    async with watched(mosquitto.url, "nothing") as device:

        def unlocked(message: Message) -> None:
            ids.append(message.correlation)
            device.broker.send(
                Message(message.response_topic, b'{"door": "unlocked"}', correlation=message.correlation)
            )

        device.broker.subscribe("home/door/unlock", unlocked)
        async with asyncio.timeout(LONG_S):
            await device.broker.flushed()
        async with held(mosquitto.url, brain, ears, throat, [unlock_door]) as call:
            call.write("Unlock the front door.")
            await until(lambda: call.record.turns and call.record.turns[-1].heard)
            assert call.record.turns[-1].heard == "The door is unlocked."
            assert ids == [f"{call.session.id}-c0".encode()]


def broken(verb: str) -> st.SearchStrategy[bytes]:
    """Payloads that are no such command: bytes, JSON of any shape, and nearly right ones."""
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    trees = st.recursive(
        values,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
    near = st.fixed_dictionaries({}, optional={"text": trees, "id": trees, "reason": trees})
    payloads = st.binary(max_size=60) | (trees | near).map(lambda tree: json.dumps(tree).encode())

    def refused(payload: bytes) -> bool:
        try:
            COMMANDS[verb][0].model_validate_json(payload or b"{}")
        except ValidationError:
            return True
        return False

    return payloads.filter(refused)


def collected(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many examples."""
    found: list[Any] = []

    @settings(max_examples=count // 50, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(strategy, min_size=50, max_size=50))
    def collect(examples: list[Any]) -> None:
        found.extend(examples)

    collect()
    return (found * 2)[:count]


@looped
async def test_malformed_commands_are_refused_and_the_call_goes_on(mosquitto, brain, ears, throat):
    count = 5000
    payloads = [(verb, each) for verb in COMMANDS for each in collected(broken(verb), 1650)]
    payloads += [("dance", b"{}")] * 30 + [("say", b'{"text": "' + b"x" * LONGEST_COMMAND + b'"}')] * 20
    assert len(payloads) == count
    async with watched(mosquitto.url, "nothing/#") as witness, held(
        mosquitto.url, brain, ears, throat
    ) as call, held(mosquitto.url, brain, ears, throat) as beside:  # fmt: skip
        tasks = len(asyncio.all_tasks())
        witness.broker.options = replace(witness.broker.options, waiting=count + 10)
        for verb, payload in payloads:
            witness.broker.send(Message(f"stretto/{call.session.id}/command/{verb}", payload))
        witness.command(call, "say", text="Still here.")
        await until(lambda: [turn for turn in call.record.turns if turn.heard])
        assert [turn.heard for turn in call.record.turns] == ["Still here."]
        await until(lambda: len(asyncio.all_tasks()) <= tasks)  # once all is said
        assert not call.over and not beside.over
        beside.write("Hello.")
        await until(lambda: beside.record.turns and beside.record.turns[-1].heard)
        assert beside.record.turns[-1].heard == "You said Hello."
        assert witness.broker.dropped == 0


@looped
async def test_a_refusal_says_why(mosquitto, brain, ears, throat):
    async with watched(mosquitto.url) as witness, held(mosquitto.url, brain, ears, throat) as call:
        for fields in ({"text": ""}, {"text": "Hi.", "volume": 3}, {"text": 5}):
            witness.command(call, "say", **fields)
        witness.command(call, "dance")
        witness.broker.send(Message("stretto/nobody/command/say", b'{"text": "Hi."}'))
        await until(lambda: len(witness.on("/error")) == 5)
        told = [(each["command"], each["error"]) for each in witness.on("/error")]
        assert told == [
            ("say", "text: String should have at least 1 character"),
            ("say", "volume: Extra inputs are not permitted"),
            ("say", "text: Input should be a valid string"),
            ("dance", "there is no such command: send say, hang_up, transfer"),
            ("say", "there is no such call"),
        ]


@looped
async def test_a_broker_that_hangs_slows_no_call_and_what_is_lost_is_counted(mosquitto, brain, ears, throat):
    asked = MqttSettings(url=mosquitto.url, every_event=True)
    options = asked.options()
    assert options is not None
    link = MqttLink(replace(options, waiting=5), asked, ())
    agent = Agent(model=brain, recogniser=ears, voice=throat, options=observed(QUIET, link))
    async with link, agent, agent.call(lambda frame, at: None) as call:
        async with asyncio.timeout(LONG_S):
            await link.connection.connected.wait()
            await call.session.picked_up()
        mosquitto.signal(signal.SIGSTOP)
        call.write("Hello.")
        await until(lambda: call.record.turns and call.record.turns[-1].heard)
        assert call.record.turns[-1].heard == "You said Hello."
        assert link.connection.dropped > 0
        mosquitto.signal(signal.SIGCONT)
        async with watched(mosquitto.url) as witness:
            await until(lambda: witness.on("/state") and witness.on("/state")[-1]["dropped"] > 0)


@looped
async def test_a_process_that_vanishes_is_told_of_by_the_broker(mosquitto):
    program = (
        "import asyncio, sys\n"
        "from stretto.agent.mqtt_link import link_of\n"
        "from stretto.agent.settings import MqttSettings\n"
        "async def main():\n"
        "    async with link_of(MqttSettings(url=sys.argv[1]), ()):\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    async with watched(mosquitto.url) as witness:
        with subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-W", "ignore", "-c", program, mosquitto.url]
        ) as agent:
            try:
                await until(lambda: witness.on("status") == [b"online"])
            finally:
                agent.kill()
        await until(lambda: witness.on("status") == [b"online", b"offline"])
    assert await retained(mosquitto.url, "stretto/status") == b"offline"


@looped
async def test_a_restarted_broker_learns_the_state_of_a_running_call(mosquitto, brain, ears, throat):
    async with held(mosquitto.url, brain, ears, throat) as call:
        await until(lambda: call.session.id)
        topic = f"stretto/{call.session.id}/state"
        async with watched(mosquitto.url) as witness:
            await until(lambda: witness.on("/state"))
        mosquitto.kill()
        mosquitto.start()
        async with watched(mosquitto.url, topic) as witness:
            await until(lambda: witness.on("/state"))
            witness.command(call, "say", text="Back again.")
            await until(lambda: call.record.turns and call.record.turns[-1].heard)


@looped
async def test_calls_of_the_server_are_told_of_by_their_sessions_id(mosquitto, brain, ears, throat):
    agent = Agent(model=brain, recogniser=ears, voice=throat, mqtt=mosquitto.url)
    async with watched(mosquitto.url) as witness, agent, agent.serving(port=0) as url:
        async with connect(f"{url.replace('http', 'ws')}/v1/realtime") as line:
            name = json.loads(await line.recv())["session"]["id"]
            await until(lambda: witness.on(f"{name}/event/SessionStarted"))
        await until(lambda: witness.on(f"{name}/event/HangUp"))


async def retained(url: str, topic: str) -> bytes | None:
    """What a newcomer gets of a topic; a mark of our own tells when that is all."""
    found: list[Message] = []
    async with BrokerConnection(BrokerOptions(url)) as broker:
        broker.subscribe(topic, found.append)
        broker.subscribe("mark", found.append)
        broker.send(Message("mark"))
        await until(lambda: any(message.topic == "mark" for message in found))
    return next((message.payload for message in found if message.topic == topic), None)


@pytest.mark.parametrize("wrong", [{"url": "http://x"}, {"topic": "a/#"}, {"url": "mqtt://a:b@c"}])
def test_settings_that_name_no_broker_are_refused(wrong):
    with pytest.raises(ValidationError):
        MqttSettings(**wrong)
