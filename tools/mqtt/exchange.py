"""Commands over a broker, and what comes back for each: a reply with its correlation id, or a new state."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

from stretto.tools.mqtt.connection import BrokerConnection
from stretto.tools.mqtt.message import NO_JSON, Message, parsed
from stretto.tools.tool import ToolError

STATES = 1024
"""Topics whose last state is remembered."""
FRESH_S = 1.0
"""A state that was right before the command counts as its answer if none comes for so long."""

Done = Callable[[Any], bool]


class Exchange:
    """What all tools of one connection share. `prefix`: replies come to `<prefix>/reply/<identifier>`."""

    def __init__(self, broker: BrokerConnection, prefix: str = "stretto") -> None:
        self.broker = broker
        self.reply_topic = f"{prefix}/reply/{broker.identifier}"
        self.strays = 0
        """Replies to no call that waits: late ones, second ones, garbage."""
        self._replies: dict[bytes, asyncio.Future[bytes]] = {}
        self._states: OrderedDict[str, Any] = OrderedDict()
        self._waiting: dict[str, list[asyncio.Queue[Any]]] = {}
        self._watched: set[str] = set()
        broker.subscribe(self.reply_topic, self._replied)

    def close(self) -> None:
        """Listen no more."""
        self.broker.unsubscribe(self.reply_topic, self._replied)
        for pattern in self._watched:
            self.broker.unsubscribe(pattern, self._stated)

    def watch(self, pattern: str) -> None:
        """Keep the states of a topic or filter from now on, so that they are known when one is asked for."""
        if pattern not in self._watched:
            self._watched.add(pattern)
            self.broker.subscribe(pattern, self._stated)

    # ------------------------------------------------------------------ what tools do

    async def request(self, topic: str, payload: bytes, correlation: str, timeout_s: float) -> bytes:
        """Publish and wait for the reply with the same correlation id, also across breaks of the line.

        A call whose id waits already is that call. Raises ToolError where none comes in time.
        """
        key = correlation.encode("utf-8", "backslashreplace")
        if (under_way := self._replies.get(key)) is not None:
            async with _in_time(timeout_s, lambda: True):
                return await asyncio.shield(under_way)
        reply = self._replies[key] = asyncio.get_running_loop().create_future()
        message = Message(topic, payload, False, key, self.reply_topic, _expiry(timeout_s))
        command = self.broker.command(message)
        try:
            async with _in_time(timeout_s, lambda: command.sent):
                return await asyncio.shield(reply)
        finally:
            del self._replies[key]
            reply.cancel()
            self.broker.withdraw(command)

    async def set_state(
        self, topic: str, payload: bytes, correlation: str, state: str, done: Done, timeout_s: float
    ) -> Any:
        """Publish and wait until the topic `state` says that it is done; gives the state.

        Raises ToolError where it does not in time.
        """
        news: asyncio.Queue[Any] = asyncio.Queue(STATES)
        self._waiting.setdefault(state, []).append(news)
        # The id goes with it, for devices that know MQTT 5; without a reply to it, it is in no payload.
        key = correlation.encode("utf-8", "backslashreplace")
        command = self.broker.command(Message(topic, payload, False, key, None, _expiry(timeout_s)))
        try:
            async with _in_time(timeout_s, lambda: command.sent):
                await command.taken.wait()
                while True:
                    known = self._states.get(state, NO_JSON)
                    settled = known is not NO_JSON and done(known)
                    try:
                        async with asyncio.timeout(FRESH_S if settled else None):
                            value = await news.get()
                    except TimeoutError:
                        return known
                    if done(value):
                        return value
        finally:
            self.broker.withdraw(command)
            self._waiting[state].remove(news)
            if not self._waiting[state]:
                del self._waiting[state]

    async def state(self, topic: str, timeout_s: float) -> Any:
        """What a topic said last; waits for it. Raises ToolError."""
        if topic in self._states:
            return self._states[topic]
        news: asyncio.Queue[Any] = asyncio.Queue(STATES)
        self._waiting.setdefault(topic, []).append(news)
        try:
            async with _in_time(timeout_s, lambda: False):
                return await news.get()
        finally:
            self._waiting[topic].remove(news)
            if not self._waiting[topic]:
                del self._waiting[topic]

    # ------------------------------------------------------------------ what comes

    def _replied(self, message: Message) -> None:
        key, payload = message.correlation, message.payload
        if key is None:
            fields = parsed(payload)
            told = fields.get("correlation_id") if isinstance(fields, dict) else None
            key = told.encode("utf-8", "backslashreplace") if isinstance(told, str) else b""
        waiting = self._replies.get(key)
        if waiting is None or waiting.done():
            self.strays += 1
        else:
            waiting.set_result(payload)

    def _stated(self, message: Message) -> None:
        value = parsed(message.payload)
        if value is NO_JSON:
            try:
                value = message.payload.decode()
            except UnicodeDecodeError:
                self.strays += 1
                return
        self._states[message.topic] = value
        self._states.move_to_end(message.topic)
        if len(self._states) > STATES:
            self._states.popitem(last=False)
        for news in self._waiting.get(message.topic, ()):
            with contextlib.suppress(asyncio.QueueFull):
                news.put_nowait(value)


@contextlib.asynccontextmanager
async def _in_time(timeout_s: float, sent: Callable[[], bool]) -> AsyncIterator[None]:
    """Raises ToolError when the block takes longer; it tells whether the command may have been done."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        if sent():
            told = f"There was no answer within {timeout_s:g} seconds. It is not known whether it was done."
        else:
            told = "The device cannot be reached. Nothing was done."
        raise ToolError(told) from None


def _expiry(timeout_s: float) -> int:
    """A command that comes to its device after its call was given up would surprise everybody."""
    return max(1, math.ceil(timeout_s))
