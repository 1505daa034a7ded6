"""Simulated devices: what commands they take, what state they tell. No network here."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Protocol

from stretto.tools.mqtt.message import Message, parsed

ROOMS = ("kitchen", "bedroom", "hall")
COLDEST, WARMEST = 10.0, 28.0
"""Degrees Celsius that the thermostat can be set to."""
REMEMBERED = 256
"""Requests that the door answers again instead of doing them again."""


class Device(Protocol):
    """`subscribed`: topics of its commands. `take` gives what it publishes then, `states` what counts now."""

    @property
    def subscribed(self) -> tuple[str, ...]: ...
    def take(self, message: Message) -> list[Message]: ...
    def states(self) -> list[Message]: ...


@dataclass
class Light:
    """On or off: JSON on `home/light/<room>/set`, as Home Assistant's JSON lights and Zigbee2MQTT have it."""

    room: str
    on: bool = False
    brightness: int = 255

    @property
    def topic(self) -> str:
        return f"home/light/{self.room}"

    @property
    def subscribed(self) -> tuple[str, ...]:
        return (f"{self.topic}/set",)

    def take(self, message: Message) -> list[Message]:
        asked = parsed(message.payload)
        if not isinstance(asked, dict) or asked.get("state") not in ("ON", "OFF"):
            return []
        self.on = asked["state"] == "ON"
        brightness = asked.get("brightness")
        if isinstance(brightness, int) and not isinstance(brightness, bool) and 0 <= brightness <= 255:
            self.brightness = brightness
        return self.states()

    def states(self) -> list[Message]:
        state = {"state": "ON" if self.on else "OFF", "brightness": self.brightness}
        return [_retained(self.topic, json.dumps(state))]


@dataclass
class Thermostat:
    """A target in degrees Celsius as plain text on `home/thermostat/target/set`; the room follows at once."""

    target: float = 20.0
    subscribed: tuple[str, ...] = ("home/thermostat/target/set", "home/thermostat/mode/set")
    mode: str = "heat"

    def take(self, message: Message) -> list[Message]:
        if message.topic == "home/thermostat/mode/set":
            mode = message.payload.decode("utf-8", "replace")
            self.mode = mode if mode in ("heat", "off") else self.mode
            return self.states()
        asked = parsed(message.payload)
        if isinstance(asked, bool) or not isinstance(asked, int | float) or not COLDEST <= asked <= WARMEST:
            return []
        self.target = float(asked)
        return self.states()

    def states(self) -> list[Message]:
        return [
            _retained("home/thermostat/target", f"{self.target:g}"),
            _retained("home/thermostat/temperature", f"{self.target:g}"),
            _retained("home/thermostat/mode", self.mode),
        ]


@dataclass
class Door:
    """LOCK and UNLOCK on `home/door/front/set`; `home/door/front/request` answers, and does an id once."""

    locked: bool = True
    subscribed: tuple[str, ...] = ("home/door/front/set", "home/door/front/request")
    turned: int = 0
    """How often the bolt moved because of a request."""
    _answers: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)

    def take(self, message: Message) -> list[Message]:
        if message.topic == "home/door/front/set":
            if message.payload in (b"LOCK", b"UNLOCK"):
                self.locked = message.payload == b"LOCK"
                return self.states()
            return []
        asked = parsed(message.payload)
        fields: dict[str, Any] = asked if isinstance(asked, dict) else {}
        key = (message.correlation or b"").decode("utf-8", "replace") or fields.get("correlation_id")
        back = message.response_topic or fields.get("response_topic")
        if not isinstance(key, str) or not isinstance(back, str) or not key:
            return []
        if key not in self._answers:
            self._answers[key] = self._turn(fields.get("locked"))
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        answer = json.dumps({**self._answers[key], "correlation_id": key}).encode()
        return [Message(back, answer, correlation=key.encode()), *self.states()]

    def _turn(self, locked: object) -> dict[str, Any]:
        if not isinstance(locked, bool):
            return {"error": "The door did not understand."}
        self.locked = locked
        self.turned += 1
        return {"door": "locked" if locked else "unlocked"}

    def states(self) -> list[Message]:
        return [_retained("home/door/front", "LOCKED" if self.locked else "UNLOCKED")]


def _retained(topic: str, payload: str) -> Message:
    return Message(topic, payload.encode(), retain=True)
