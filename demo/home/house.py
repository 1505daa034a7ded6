"""The devices of the demo on a broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from stretto.demo.home.devices import ROOMS, Device, Door, Light, Thermostat
from stretto.demo.home.discovery import STATUS, discovery
from stretto.tools.mqtt.connection import BrokerConnection
from stretto.tools.mqtt.message import Message
from stretto.tools.mqtt.options import BrokerOptions


class House:
    """Three lights, a thermostat, a door. `told`: called with a line for everything that changes."""

    def __init__(self, told: Callable[[str], None] = lambda line: None) -> None:
        self.lights = {room: Light(room) for room in ROOMS}
        self.thermostat = Thermostat()
        self.door = Door()
        self._told = told

    @property
    def devices(self) -> list[Device]:
        return [*self.lights.values(), self.thermostat, self.door]

    @contextlib.asynccontextmanager
    async def living(self, options: BrokerOptions) -> AsyncIterator[BrokerConnection]:
        """The devices take commands and tell their states while the block runs."""
        will = Message(STATUS, b"offline", retain=True)
        async with BrokerConnection(replace(options, will=will)) as broker:
            for message in [*discovery(), replace(will, payload=b"online")]:
                broker.retain(message)
            for device in self.devices:
                for state in device.states():
                    broker.retain(state)
                for topic in device.subscribed:
                    broker.subscribe(topic, self._taker(broker, device))
            try:
                yield broker
            finally:
                broker.retain(will)

    def _taker(self, broker: BrokerConnection, device: Device) -> Callable[[Message], None]:
        def take(message: Message) -> None:
            for each in device.take(message):
                if not each.retain:
                    broker.send(each)
                    continue
                broker.retain(each)
                self._told(f"{each.topic} {each.payload.decode()}")

        return take


@contextlib.asynccontextmanager
async def embedded_broker(port: int) -> AsyncIterator[str]:
    """amqtt, a broker in Python, on this machine alone; gives its URL.

    Raises RuntimeError where it is not installed, OSError where the port is taken.
    """
    try:
        from amqtt.broker import Broker
        from amqtt.errors import BrokerError
    except ImportError as error:
        raise RuntimeError(
            "the embedded broker needs amqtt: `make demo-home` installs it; or give --broker "
            "mqtt://127.0.0.1:1883, a broker that runs already (Debian: apt-get install mosquitto)"
        ) from error
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    anybody = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker(
        {"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": anybody}
    )
    try:
        await broker.start()
    except BrokerError as error:
        raise OSError(f"the embedded broker cannot listen on port {port}") from error
    try:
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        async with asyncio.timeout(10):
            await broker.shutdown()
