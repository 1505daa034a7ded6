"""`@mqtt_tool`: a typed function whose call is a message to a device."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from string import Formatter
from typing import Any

from pydantic_core import to_jsonable_python
from stretto.tools.mqtt.connection import BrokerConnection
from stretto.tools.mqtt.exchange import Exchange
from stretto.tools.mqtt.message import NO_JSON, check_topic, parsed
from stretto.tools.tool import BUDGET, TIMEOUT_S, Tool, ToolError, call_key, dump

GRACE_S = 1.0
"""The call itself gives up first, for it knows what to say."""


class MqttTool(Tool):
    """A tool whose calls are published; `attach` gives it the connection. See `mqtt_tool`.

    Raises TypeError for topics that name no argument of the function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        topic: str | None,
        *,
        state: str | None = None,
        done: Callable[..., bool] | None = None,
        name: str | None = None,
        timeout_s: float = TIMEOUT_S,
        budget: int = BUDGET,
        read_only: bool = False,
        confirm: bool | str = False,
    ) -> None:
        if topic is None and state is None:
            raise TypeError(f"{function.__name__}: name a topic to publish to, or a state to read")
        self.topic, self.state = topic, state
        self._payload, self._done = function, done
        self._wait_s = timeout_s
        self._exchange: Exchange | None = None
        signature = inspect.signature(function)
        # The arguments may be left out where they have defaults: a topic needs them all the same.
        self._signature = signature
        for template in filter(None, (topic, state)):
            strange = [part for part in _fields(template) if part not in signature.parameters]
            if strange:
                raise TypeError(f"{function.__name__} has no argument {', '.join(strange)} for {template!r}")

        @functools.wraps(function)
        async def call(**arguments: Any) -> Any:
            return await self._published(arguments)

        super().__init__(
            call,
            name=name,
            timeout_s=timeout_s + GRACE_S,
            budget=budget,
            read_only=read_only or topic is None,
            confirm=confirm,
        )

    def attach(self, exchange: Exchange | None) -> None:
        """Have calls go over this exchange; None: over none any more."""
        self._exchange = exchange
        if exchange is not None and self.state is not None:
            exchange.watch(_pattern(self.state))

    async def _published(self, arguments: dict[str, Any]) -> Any:
        exchange = self._exchange
        if exchange is None:
            raise ToolError("There is no connection to the devices. Set url in [mqtt].")
        bound = self._signature.bind(**arguments)
        bound.apply_defaults()
        given = dict(bound.arguments)
        state = None if self.state is None else _filled(self.state, given)
        if self.topic is None:
            assert state is not None
            return await exchange.state(state, self._wait_s)
        payload = self._payload(**arguments)
        if inspect.isawaitable(payload):
            payload = await payload
        if payload is None:
            used = {*_fields(self.topic), *_fields(self.state or "")}
            payload = {key: value for key, value in given.items() if key not in used}
        topic, wanted = _filled(self.topic, given), to_jsonable_python(payload, bytes_mode="base64")
        raw = payload if isinstance(payload, bytes) else _written(wanted)
        key = call_key()
        if state is None:
            return _told(await exchange.request(topic, raw, key, self._wait_s))
        return await exchange.set_state(
            topic, raw, key, state, lambda told: self._is_done(told, wanted, given), self._wait_s
        )

    def _is_done(self, told: Any, wanted: Any, given: Mapping[str, Any]) -> bool:
        if self._done is None:
            return _says(told, wanted)
        try:
            return bool(self._done(told, **given))
        except (LookupError, TypeError, ValueError, AttributeError):
            return False  # a state of another shape


def mqtt_tool(
    topic: str | None = None,
    *,
    state: str | None = None,
    done: Callable[..., bool] | None = None,
    name: str | None = None,
    timeout_s: float = TIMEOUT_S,
    budget: int = BUDGET,
    read_only: bool = False,
    confirm: bool | str = False,
) -> Callable[[Callable[..., Any]], MqttTool]:
    """Make a tool of a typed function: a call is published to `topic`, and its result is what comes back.

        @mqtt_tool("garage/door/request")
        def open_door(width_cm: int) -> None:
            "Open the garage door."

        @mqtt_tool("zigbee2mqtt/{room}/set", state="zigbee2mqtt/{room}")
        def set_light(room: Literal["kitchen", "hall"], on: bool) -> dict[str, str]:
            "Switch a light."
            return {"state": "ON" if on else "OFF"}

    Topics may name arguments. The payload is what the function returns: text and bytes as they are, the
    rest as JSON; of None the arguments that no topic names. It makes the payload and nothing else: it runs
    on the event loop.
    Without `state` a reply with the call's correlation id is awaited (MQTT 5: response topic and correlation
    data; in MQTT 3.1.1 fields of the payload), and `{"error": …}` is a refusal. With it the call is done
    when that topic says so: all fields of the payload have their values there, or `done(state, **arguments)`
    is true. Without `topic` the tool reads what `state` said last.
    `timeout_s`: then the call has failed, and is spoken about. `confirm`: ask the caller first.
    """

    def made(function: Callable[..., Any]) -> MqttTool:
        return MqttTool(
            function,
            topic,
            state=state,
            done=done,
            name=name,
            timeout_s=timeout_s,
            budget=budget,
            read_only=read_only,
            confirm=confirm,
        )

    return made


@contextlib.contextmanager
def attached(
    tools: Iterable[object], broker: BrokerConnection, prefix: str = "stretto"
) -> Iterator[Exchange]:
    """While the block runs the MQTT tools among `tools` go over this connection."""
    exchange = Exchange(broker, prefix)
    mine = [tool for tool in tools if isinstance(tool, MqttTool)]
    try:
        for tool in mine:
            tool.attach(exchange)
        yield exchange
    finally:
        for tool in mine:
            tool.attach(None)
        exchange.close()


# ---------------------------------------------------------------------- topics and payloads


def _fields(template: str) -> list[str]:
    return [field for _, field, _, _ in Formatter().parse(template) if field is not None]


def _pattern(template: str) -> str:
    """The filter of all topics of a template: levels with arguments are any."""
    return "/".join("+" if _fields(level) else level for level in template.split("/"))


def _filled(template: str, arguments: Mapping[str, Any]) -> str:
    """The topic of a call. Raises ToolError for a value that is no part of a topic."""
    parts = {}
    for field in _fields(template):
        value = arguments[field]
        text = str(getattr(value, "value", value))
        if not text or re.search(r"[/+#\0]", text):
            raise ToolError(f"There is no {field} called {text or 'nothing'}.")
        parts[field] = text
    try:
        return check_topic(template.format_map(parts))
    except ValueError:
        raise ToolError("There is no such device.") from None


def _written(payload: Any) -> bytes:
    return (payload if isinstance(payload, str) else dump(payload)).encode("utf-8", "backslashreplace")


def _told(reply: bytes) -> Any:
    """A device's reply as a tool's result. Raises ToolError for a refusal, and for what is no text."""
    value = parsed(reply)
    if value is NO_JSON:
        try:
            value = reply.decode()
        except UnicodeDecodeError:
            raise ToolError("The device gave an answer that cannot be read.") from None
    if isinstance(value, dict):
        value = {name: inner for name, inner in value.items() if name not in ("correlation_id",)}
        if isinstance(refusal := value.get("error"), str) and refusal.strip():
            raise ToolError(refusal.strip()[:200])
    return value


def _says(state: Any, wanted: Any) -> bool:
    """A state has all that a payload asked for; texts are compared without case."""
    if isinstance(wanted, Mapping):
        return isinstance(state, Mapping) and all(
            name in state and _says(state[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, str) and isinstance(state, str):
        return wanted.casefold() == state.casefold()
    return isinstance(state, bool) == isinstance(wanted, bool) and bool(state == wanted)
