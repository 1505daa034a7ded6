"""The messages of Twilio's Media Streams, as they come: JSON text, numbers as strings.

https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 64 * 1024
"""Characters of a message at most; Twilio's have a few hundred."""
LONGEST_TEXT = 1000
"""Characters of a name or a parameter that are kept."""
MOST_PARAMETERS = 50


class BadMessage(ValueError):
    """What came is no message of the protocol."""


@dataclass(frozen=True)
class Connected:
    """The stream is there."""


@dataclass(frozen=True)
class Start:
    """The call begins: its ids, and the parameters that the `<Stream>` was given."""

    stream_sid: str
    call_sid: str
    account_sid: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Media:
    """A packet of the caller's: µ-law, 8 kHz. `timestamp_ms`: from the start of the stream, if it says so."""

    payload: bytes
    timestamp_ms: int | None


@dataclass(frozen=True)
class Dtmf:
    """The caller pressed a key."""

    digit: str


@dataclass(frozen=True)
class Mark:
    """A mark of ours was played, or cleared."""

    name: str


@dataclass(frozen=True)
class Stop:
    """The caller hung up, or the call was led elsewhere."""


Message = Connected | Start | Media | Dtmf | Mark | Stop


def parse(frame: str | bytes) -> Message:
    """Raises BadMessage."""
    if isinstance(frame, bytes):
        raise BadMessage("a message is text, not bytes")
    if len(frame) > LONGEST:
        raise BadMessage(f"a message has at most {LONGEST} characters")
    try:
        found = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise BadMessage("a message is JSON") from error
    if not isinstance(found, dict):
        raise BadMessage("a message is a JSON object")
    match found.get("event"):
        case "media":
            return _media(_body(found, "media"))
        case "mark":
            return Mark(_text(_body(found, "mark"), "name"))
        case "dtmf":
            return Dtmf(_text(_body(found, "dtmf"), "digit"))
        case "start":
            return _start(_body(found, "start"), found)
        case "connected":
            return Connected()
        case "stop":
            return Stop()
    raise BadMessage("there is no such event")


def _body(found: dict[str, Any], name: str) -> dict[str, Any]:
    body = found.get(name)
    if not isinstance(body, dict):
        raise BadMessage(f"{name} has an object {name}")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadMessage(f"{name} is a text")
    return _readable(value)


def _readable(value: str) -> str:
    """Halves of characters can be written nowhere."""
    return value[:LONGEST_TEXT].encode("utf-8", "replace").decode()


def _media(body: dict[str, Any]) -> Media:
    payload = body.get("payload")
    if body.get("track", "inbound") != "inbound":
        raise BadMessage("only what the caller says is heard")
    try:
        pcm = base64.b64decode(payload if isinstance(payload, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMessage("payload is base64") from error
    if not pcm:
        raise BadMessage("payload is empty")
    return Media(pcm, _number(body.get("timestamp")))


def _number(value: Any) -> int | None:
    """A number, which may be written as text; None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    return value if type(value) is int and 0 <= value < 10**15 else None


def _start(body: dict[str, Any], found: dict[str, Any]) -> Start:
    encoding = body.get("mediaFormat")
    if isinstance(encoding, dict) and encoding.get("encoding", "audio/x-mulaw") != "audio/x-mulaw":
        raise BadMessage("the audio of a stream is audio/x-mulaw")
    given = body.get("customParameters")
    parameters = {
        _readable(name): _readable(value)
        for name, value in list(given.items() if isinstance(given, dict) else ())[:MOST_PARAMETERS]
        if isinstance(value, str)
    }
    stream = body.get("streamSid") or found.get("streamSid")
    ids = {"streamSid": stream, "callSid": body.get("callSid"), "accountSid": body.get("accountSid")}
    account = _text(ids, "accountSid") if ids["accountSid"] else ""
    return Start(_text(ids, "streamSid"), _text(ids, "callSid"), account, parameters)
