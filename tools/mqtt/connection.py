"""One connection to an MQTT broker that outlives the broker's restarts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from stretto.tools.mqtt.message import Message, check_topic, in_payload, matches, properties_of
from stretto.tools.mqtt.options import BrokerOptions

if TYPE_CHECKING:
    from aiomqtt import Client

log = logging.getLogger(__name__)

Handler = Callable[[Message], None]

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
"""Between two tries to connect; what it really is lies between a half and one and a half of it."""
REPEAT_S = 1.0
SETTLING_S = 30.0
"""After a break devices may be back so much later than we."""
INCOMING = 4096
"""Messages that may wait to be handled."""
INSTALL = "MQTT needs aiomqtt: pip install 'stretto[mqtt]'"


@dataclass(eq=False)
class Command:
    """A message that goes out again after every break, until it is withdrawn.

    `taken`: the broker has it. `sent`: it may have it. `broken`: the line broke since or shortly before, and
    it is said again every `REPEAT_S`: a broker that forgot everything gives it to nobody until its device is
    back, too.
    """

    message: Message
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    sent: bool = False
    broken: bool = False
    due_at: float = 0.0


class BrokerConnection:
    """Publishes and subscribes with QoS 1 while the block runs; a broker that goes away is waited for.

        async with BrokerConnection(BrokerOptions("mqtt://127.0.0.1")) as broker:
            broker.subscribe("home/+/state", print)
            broker.send(Message("home/bell", b"ring"))

    Nothing here waits for the broker: what cannot leave yet is kept, and `dropped` counts what was not. A
    broker that knows MQTT 3.1.1 alone is spoken to in that; then correlation goes into the JSON payload.
    Safe to enter and to leave in different tasks of one event loop.
    """

    def __init__(self, options: BrokerOptions) -> None:
        self.options = options
        self.identifier = options.identifier or f"stretto-{secrets.token_hex(6)}"
        self.connected = asyncio.Event()
        self.connections = 0
        """How often the broker let us in so far."""
        self.problem: str | None = "not connected yet"
        """Why there is no connection."""
        self.dropped = 0
        """Messages that had to go because too many waited."""
        self.version_5 = True
        self._asked = False
        """Whether it is known which version the broker speaks."""
        self._handlers: dict[str, list[Handler]] = {}
        self._subscribing: deque[str] = deque()
        self._retained: dict[str, Message] = {}
        self._stale: dict[str, None] = {}
        """Topics whose retained message the broker does not have yet, in order."""
        self._commands: list[Command] = []
        self._waiting: deque[Message] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ its life

    async def __aenter__(self) -> BrokerConnection:
        try:
            import aiomqtt  # noqa: F401
        except ImportError as error:
            raise ValueError(INSTALL) from error
        self._task = asyncio.create_task(self._run(), name="mqtt")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What waits still leaves, if the broker takes it within `timeout_s`."""
        assert self._task is not None
        if self.connected.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.options.timeout_s):
                    await self.flushed()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def flushed(self) -> None:
        """Until the broker has taken all that was given so far."""
        await asyncio.sleep(0)
        await self._idle.wait()

    # ------------------------------------------------------------------ for whoever has something to say

    def send(self, message: Message) -> None:
        """Publish once the broker is there; if too many wait, the oldest is dropped. Raises ValueError."""
        check_topic(message.topic)
        if len(self._waiting) >= self.options.waiting:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(message)
        self._woken()

    def retain(self, message: Message) -> None:
        """Publish what counts for a topic from now on; said again to a broker that was away."""
        topic = check_topic(message.topic)
        self._retained[topic] = message
        self._stale[topic] = None
        self._woken()

    def forget(self, topic: str) -> None:
        """Take back what was retained: the broker forgets it, too."""
        if topic in self._retained:
            self._retained[topic] = Message(topic, retain=True)
            self._stale[topic] = None
            self._woken()

    def command(self, message: Message) -> Command:
        """Publish before all else, and again after every break until `withdraw`. Raises ValueError."""
        check_topic(message.topic)
        command = Command(message)
        self._commands.append(command)
        self._woken()
        return command

    def withdraw(self, command: Command) -> None:
        """It is answered or given up: do not publish it (again)."""
        if command in self._commands:
            self._commands.remove(command)

    def subscribe(self, pattern: str, handler: Handler) -> None:
        """Have `handler` get all messages of a topic or filter. It must return at once.

        As QoS 1 may bring a message twice, so do filters that overlap.
        """
        if pattern not in self._handlers:
            self._subscribing.append(pattern)
        self._handlers.setdefault(pattern, []).append(handler)
        self._woken()

    def unsubscribe(self, pattern: str, handler: Handler) -> None:
        """End what `subscribe` began."""
        handlers = self._handlers.get(pattern, [])
        if handler in handlers:
            handlers.remove(handler)
        if not handlers and self._handlers.pop(pattern, None) is not None:
            self._subscribing.append(pattern)
            self._woken()

    def _woken(self) -> None:
        self._idle.clear()
        self._news.set()

    # ------------------------------------------------------------------ the connection

    async def _run(self) -> None:
        """Connect, hold, and connect again."""
        from aiomqtt import MqttError

        failures = 0
        while True:
            before = self.connections
            try:
                await self._hold()
            except* (MqttError, OSError, TimeoutError, ssl.SSLError) as broken:
                self._lost(str(broken.exceptions[0]) or type(broken.exceptions[0]).__name__)
            except* Exception as fault:  # whatever it is: the next connection may do
                log.exception("the broker connection failed", exc_info=fault)
                self._lost(f"{type(fault.exceptions[0]).__name__}: {fault.exceptions[0]}")
            failures = 0 if self.connections > before else failures + 1
            wait = min(FIRST_WAIT_S * 2**failures, LONGEST_WAIT_S)
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))

    def _lost(self, why: str) -> None:
        if self.connected.is_set() or self.problem != why:
            log.warning("no connection to the broker %s: %s", self.options.url, why)
        self.connected.clear()
        self.problem = why

    async def _hold(self) -> None:
        """One connection, until it breaks. Raises what broke it."""
        from aiomqtt.exceptions import MqttConnectError

        if not self._asked:
            # A broker of MQTT 3.1.1 refuses a plain CONNECT of version 5, but may stumble over properties.
            try:
                async with self._client(plain=True):
                    pass
            except MqttConnectError:
                if self.version_5:
                    raise
            self._asked = True
        async with self._client() as client:
            self.connections += 1
            self.problem = None
            self.connected.set()
            # A broker that was restarted may know nothing of us any more.
            self._subscribing = deque(self._handlers)
            self._stale = dict.fromkeys(self._retained)
            self._idle.clear()
            for command in self._commands:
                command.broken, command.due_at = command.broken or command.sent, 0.0
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._receive(client))
                    group.create_task(self._publish(client))
            finally:
                self.connected.clear()

    @contextlib.asynccontextmanager
    async def _client(self, plain: bool = False) -> AsyncIterator[Client]:
        from aiomqtt import MqttError
        from aiomqtt.exceptions import MqttConnectError

        client = await self._new_client(plain)
        # Cancelled while its thread connects, aiomqtt would leave the socket and a task behind.
        entering = asyncio.create_task(client.__aenter__(), name="mqtt connect")
        try:
            await asyncio.shield(entering)
        except MqttError as error:
            _abandon(client)
            if isinstance(error, MqttConnectError) and "protocol" in str(error).lower() and self.version_5:
                self.version_5 = False
            raise
        except asyncio.CancelledError:
            await asyncio.wait([entering])
            if entering.exception() is None:
                await client.__aexit__(None, None, None)
            _abandon(client)
            raise
        try:
            yield client
        finally:
            with contextlib.suppress(MqttError):
                await client.__aexit__(None, None, None)
            _abandon(client)

    async def _new_client(self, plain: bool) -> Client:
        import aiomqtt
        from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        options = self.options
        host, port, tls = options.address()
        context = None
        if tls:
            context = await asyncio.to_thread(ssl.create_default_context, cafile=options.ca_file)
        will = None
        if options.will is not None and not plain:
            will = aiomqtt.Will(options.will.topic, options.will.payload, qos=1, retain=options.will.retain)
        properties = None
        if self.version_5 and not plain:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = options.session_expiry_s
        return aiomqtt.Client(
            host,
            port,
            username=options.username,
            password=options.password,
            identifier=None if plain else self.identifier,
            protocol=aiomqtt.ProtocolVersion.V5 if self.version_5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if self.version_5 else False,
            clean_start=plain if self.version_5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
            will=will,
            keepalive=options.keepalive_s,
            timeout=options.timeout_s,
            tls_context=context,
            max_queued_incoming_messages=INCOMING,
            logger=log.getChild("client"),
        )

    # ------------------------------------------------------------------ what comes, what goes

    async def _receive(self, client: Client) -> None:
        async for each in client.messages:
            payload = each.payload if isinstance(each.payload, bytes) else str(each.payload or "").encode()
            properties = each.properties
            message = Message(
                each.topic.value,
                payload,
                bool(each.retain),
                getattr(properties, "CorrelationData", None),
                getattr(properties, "ResponseTopic", None),
            )
            for pattern, handlers in list(self._handlers.items()):
                for handler in list(handlers) if matches(message.topic, pattern) else ():
                    try:
                        handler(message)
                    except Exception:  # one message is lost, not the connection
                        log.exception("a message on %s could not be handled", message.topic)

    async def _publish(self, client: Client) -> None:
        """Subscriptions first, so that no answer is missed; then what counts, commands, and the rest."""
        now = asyncio.get_running_loop().time
        settled = now() + SETTLING_S if self.connections > 1 else 0.0
        while True:
            self._news.clear()
            if self._subscribing:
                await self._follow(client, self._subscribing[0])
                self._subscribing.popleft()
            elif self._stale:
                topic = next(iter(self._stale))
                message = self._retained[topic]
                await self._put(client, message)
                if self._retained.get(topic) is message:
                    del self._stale[topic]
                    if not message.payload:
                        del self._retained[topic]
            elif (command := min(self._commands, key=_due_at, default=None)) and command.due_at <= now():
                command.broken = command.broken or now() < settled
                command.sent, command.due_at = True, now() + REPEAT_S if command.broken else math.inf
                await self._put(client, command.message)
                command.taken.set()
            elif self._waiting:
                message = self._waiting[0]
                await self._put(client, message)
                # It may have been dropped meanwhile.
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()
            else:
                self._idle.set()
                soonest = min(map(_due_at, self._commands), default=math.inf)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if soonest == math.inf else soonest - now()):
                        await self._news.wait()

    async def _follow(self, client: Client, pattern: str) -> None:
        if pattern in self._handlers:
            await client.subscribe(pattern, qos=1)
        else:
            await client.unsubscribe(pattern)

    async def _put(self, client: Client, message: Message) -> None:
        """Until the broker has it. Raises MqttError."""
        payload, properties = message.payload, None
        if self.version_5:
            properties = properties_of(message)
        elif message.response_topic is not None:
            payload = in_payload(message)
        await client.publish(message.topic, payload, qos=1, retain=message.retain, properties=properties)


def _due_at(command: Command) -> float:
    return command.due_at


def _abandon(client: Client) -> None:
    """aiomqtt leaves the socket of a handshake that failed open, with a task that looks after it."""
    with contextlib.suppress(Exception):
        client._client.disconnect()
    if client._misc_task is not None:
        client._misc_task.cancel()
