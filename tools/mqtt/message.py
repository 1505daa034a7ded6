"""What goes over a broker: messages, topics and filters, as MQTT 5.0 (OASIS, 2019) names them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stretto.tools.tool import dump

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties

LONGEST_TOPIC = 65_535
"""Bytes of UTF-8 (section 1.5.4)."""
NO_JSON = object()
"""What `parsed` gives for a payload that is no JSON: None is a value of its own."""


@dataclass(frozen=True)
class Message:
    """Published with QoS 1. `correlation` and `response_topic` are those of a request and its reply;
    `expiry_s`: a broker that speaks MQTT 5 forgets the message after so many seconds."""

    topic: str
    payload: bytes = b""
    retain: bool = False
    correlation: bytes | None = None
    response_topic: str | None = None
    expiry_s: int | None = None


def check_topic(topic: str) -> str:
    """The topic, if one can publish to it. Raises ValueError."""
    if not topic or any(character in topic for character in "+#\0"):
        raise ValueError(f"{topic!r} is no topic to publish to: leave out +, # and zero bytes")
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{topic!r} is no topic: it is not valid Unicode") from None
    if size > LONGEST_TOPIC:
        raise ValueError(f"a topic has at most {LONGEST_TOPIC} bytes, this one {size}")
    return topic


def matches(topic: str, pattern: str) -> bool:
    """Whether a topic is meant by a filter with + and # (section 4.7)."""
    levels = topic.split("/")
    wanted = pattern.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def parsed(payload: bytes) -> Any:
    """A payload as JSON; `NO_JSON` for all that is none, however it is broken."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return NO_JSON


def properties_of(message: Message) -> Properties:
    """What MQTT 5 carries beside topic and payload."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.response_topic is not None:
        properties.ResponseTopic = message.response_topic
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    return properties


def in_payload(message: Message) -> bytes:
    """MQTT 3.1.1 has no properties: correlation and response topic become fields of a JSON object."""
    fields = parsed(message.payload)
    if not isinstance(fields, dict) or message.correlation is None:
        return message.payload
    fields["correlation_id"] = message.correlation.decode("utf-8", "replace")
    if message.response_topic is not None:
        fields["response_topic"] = message.response_topic
    return dump(fields).encode()
