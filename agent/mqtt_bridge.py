"""Calls on MQTT: what happens in each is published, and commands lead it; see `MQTT.md`."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from stretto.agent import events
from stretto.agent.session import Session
from stretto.tools.mqtt.connection import BrokerConnection
from stretto.tools.mqtt.message import Message, check_topic
from stretto.tools.tool import dump

log = logging.getLogger(__name__)

LONGEST_COMMAND = 16 * 1024
"""Bytes of a payload."""
REMEMBERED = 1024
"""Ids of commands that are done once."""
STATE_EXPIRY_S = 3600
"""A broker that knows MQTT 5 forgets the state of a call whose agent vanished after so long."""
MANY = (events.DenoisingPass, events.CallerPartial)
"""Events that come many times a second; left out unless all are asked for."""
STATES: Mapping[type[events.Event], str] = {
    events.SessionStarted: "listening",
    events.CallerSpeaking: "caller_speaking",
    events.Committed: "thinking",
    events.ToolStarted: "tool",
    events.AgentSpeaking: "speaking",
    events.AgentHeard: "listening",
    events.TurnIgnored: "listening",
}
"""What a call is in after an event."""


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A command whose id came before is not done again."""


class _Say(_Command):
    text: Annotated[str, Field(min_length=1, max_length=2000)]


class _Leave(_Command):
    text: Annotated[str, Field(max_length=2000)] = ""


COMMANDS: dict[str, tuple[type[_Command], Callable[[Session, _Command], None]]] = {
    "say": (_Say, lambda session, asked: session.say(getattr(asked, "text", ""))),
    "hang_up": (_Leave, lambda session, asked: session.leave("hang_up", getattr(asked, "text", ""))),
    "transfer": (_Leave, lambda session, asked: session.leave("transfer", getattr(asked, "text", ""))),
}


class MqttBridge:
    """All calls of one agent on one connection, under `topic`.

    Have `opened` told of every session (`SessionOptions.observers`). Nothing here waits: what a slow broker
    does not take is dropped, oldest first, and `BrokerConnection.dropped` counts it. Raises ValueError for a
    topic that none is.
    """

    def __init__(self, broker: BrokerConnection, topic: str = "stretto", every_event: bool = False) -> None:
        self.topic = check_topic(topic)
        self.refused = 0
        """Commands that could not be understood."""
        self._broker = broker
        self._every_event = every_event
        self._sessions: dict[str, Session] = {}
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self) -> None:
        """Say that the agent is there, and take commands."""
        self._broker.subscribe(f"{self.topic}/+/command/+", self._command)
        self._broker.retain(status(self.topic, "online"))

    def end(self) -> None:
        """Say that it is not any more."""
        self._broker.unsubscribe(f"{self.topic}/+/command/+", self._command)
        for name in self._sessions:
            self._broker.forget(f"{self.topic}/{name}/state")
        self._broker.retain(status(self.topic, "offline"))

    def opened(self, session: Session) -> None:
        """A call begins: publish what happens in it until it is over."""
        self._sessions[session.id] = session
        began = datetime.now(UTC).isoformat(timespec="seconds")
        turn = 0

        def happened(event: events.Event) -> None:
            nonlocal turn
            if self._every_event or not isinstance(event, MANY):
                fields = event.to_json()
                self._tell(f"{session.id}/event/{fields['event']}", fields)
            turn = getattr(event, "turn", turn)
            if isinstance(event, events.HangUp):
                del self._sessions[session.id]
                self._state(session.id, began, turn, "over", event.reason)
                self._broker.forget(f"{self.topic}/{session.id}/state")
            elif (state := STATES.get(type(event))) is not None:
                self._state(session.id, began, turn, state)

        session.watch(happened)

    def _state(self, name: str, began: str, turn: int, state: str, reason: str | None = None) -> None:
        fields = {"session": name, "state": state, "turn": turn, "began": began}
        fields |= {"dropped": self._broker.dropped} | ({"reason": reason} if reason is not None else {})
        topic, payload = f"{self.topic}/{name}/state", _json(fields)
        if state == "over":
            self._broker.send(Message(topic, payload))
        else:
            self._broker.retain(Message(topic, payload, retain=True, expiry_s=STATE_EXPIRY_S))

    def _tell(self, topic: str, fields: Mapping[str, object]) -> None:
        self._broker.send(Message(f"{self.topic}/{topic}", _json(fields)))

    # ------------------------------------------------------------------ commands

    def _command(self, message: Message) -> None:
        name, _, verb = message.topic.removeprefix(f"{self.topic}/").split("/")
        try:
            self._do(name, verb, message)
        except ValueError as error:
            self.refused += 1
            log.info("a command for %s was refused: %s", name, error)
            self._tell(f"{name}/error", {"command": verb[:100], "error": str(error)})

    def _do(self, name: str, verb: str, message: Message) -> None:
        """Raises ValueError for what cannot be done; it says why."""
        if verb not in COMMANDS:
            raise ValueError(f"there is no such command: send {', '.join(COMMANDS)}")
        if message.retain:
            raise ValueError("a command is for now: publish it without the retain flag")
        if len(message.payload) > LONGEST_COMMAND:
            raise ValueError(
                f"a command has at most {LONGEST_COMMAND} bytes, this one {len(message.payload)}"
            )
        kind, act = COMMANDS[verb]
        try:
            asked = kind.model_validate_json(message.payload or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{place}: {first['msg']}".removeprefix(": ")[:200]) from None
        session = self._sessions.get(name)
        if session is None:
            raise ValueError("there is no such call")
        if asked.id is not None:
            if (name, asked.id) in self._seen:
                return  # QoS 1 may bring it twice
            self._seen[name, asked.id] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        act(session, asked)


def status(topic: str, word: str) -> Message:
    """What `<topic>/status` says of the agent: online or offline, retained."""
    return Message(f"{topic}/status", word.encode(), retain=True)


def _json(fields: Mapping[str, object]) -> bytes:
    return dump(fields).encode("utf-8", "backslashreplace")
