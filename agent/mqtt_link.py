"""An agent's broker: one connection for its tools and for what is told of its calls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from types import TracebackType
from typing import TypeVar

from stretto.agent.call import SessionOptions
from stretto.agent.config import ConfigError
from stretto.agent.mqtt_bridge import MqttBridge
from stretto.agent.session import Session
from stretto.agent.settings import MqttSettings
from stretto.tools.mqtt.connection import INSTALL, BrokerConnection
from stretto.tools.mqtt.options import BrokerOptions
from stretto.tools.mqtt.tool import attached

T = TypeVar("T")


class MqttLink:
    """While the block runs tools reach their devices, and calls are told of.

    Have `observers` in the options of every session. `told`: False where there are only tools. A broker that
    cannot be reached is no error: it is tried again and again.
    """

    def __init__(
        self, options: BrokerOptions, settings: MqttSettings, tools: Iterable[object], told: bool = True
    ) -> None:
        self.connection = BrokerConnection(options if told else replace(options, will=None))
        self.bridge = MqttBridge(self.connection, settings.topic, settings.every_event)
        self._tools, self._told = tuple(tools), told
        self._attached = ExitStack()

    @property
    def observers(self) -> tuple[Callable[[Session], None], ...]:
        """For `SessionOptions.observers`."""
        return (self.bridge.opened,)

    async def __aenter__(self) -> MqttLink:
        await self.connection.__aenter__()
        self._attached.enter_context(attached(self._tools, self.connection, self.bridge.topic))
        if self._told:
            self.bridge.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told:
            self.bridge.end()
        self._attached.close()
        await self.connection.__aexit__(kind, error, trace)


def link_of(settings: MqttSettings, tools: Iterable[object], told: bool = True) -> MqttLink | None:
    """The link that the settings ask for; None where no broker is named. Raises ConfigError."""
    try:
        options = settings.options()
    except ValueError as error:
        raise ConfigError(f"[mqtt]: {error}") from error
    if options is None:
        return None
    if find_spec("aiomqtt") is None:
        raise ConfigError(INSTALL)
    return MqttLink(options, settings, tools, told)


def observed(options: SessionOptions, link: MqttLink | None) -> SessionOptions:
    """Options of sessions that the link is told of."""
    return options if link is None else replace(options, observers=(*options.observers, *link.observers))


async def within(link: MqttLink | None, work: Coroutine[object, object, T]) -> T:
    """Do the work while the link is up."""
    if link is None:
        return await work
    async with link:
        return await work
