"""What a client may send: every event as a checked type, from JSON text."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.session_config import FunctionTool, refused


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore")
    event_id: str | None = Field(default=None, max_length=512)


class SessionUpdate(_Event):
    type: Literal["session.update"]
    session: dict[str, Any]


class Append(_Event):
    type: Literal["input_audio_buffer.append"]
    audio: str


class CommitAudio(_Event):
    type: Literal["input_audio_buffer.commit"]


class ClearAudio(_Event):
    type: Literal["input_audio_buffer.clear"]


class Part(BaseModel):
    """A piece of a message's content."""

    type: Literal["input_text", "output_text", "text", "input_audio", "output_audio", "audio", "input_image"]
    text: str | None = None
    transcript: str | None = None


class NewItem(BaseModel):
    """An item that a client adds."""

    id: str | None = Field(default=None, min_length=1, max_length=128)
    type: Literal["message", "function_call", "function_call_output"]
    role: Literal["user", "assistant", "system"] | None = None
    content: list[Part] = []
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = Field(default=None, max_length=100_000)
    output: str | None = None

    def text(self) -> str:
        """The words of a message. Raises RequestError for content that no words are known of."""
        said: list[str] = []
        for part in self.content:
            words = part.text if part.text is not None else part.transcript
            if words is None:
                raise RequestError(
                    f"a message takes text, not {part.type}: send a caller's audio with "
                    "input_audio_buffer.append",
                    "unsupported_content",
                    "item.content",
                )
            said.append(words)
        return " ".join(said).strip()


class CreateItem(_Event):
    type: Literal["conversation.item.create"]
    previous_item_id: str | None = None
    item: NewItem


class TruncateItem(_Event):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = Field(ge=0)
    audio_end_ms: int = Field(ge=0)


class DeleteItem(_Event):
    type: Literal["conversation.item.delete"]
    item_id: str


class RetrieveItem(_Event):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ResponseParams(BaseModel):
    """How one response differs from what the session says."""

    model_config = ConfigDict(extra="ignore")
    instructions: str | None = Field(default=None, max_length=20_000)
    output_modalities: list[Literal["text", "audio"]] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    tools: list[FunctionTool] | None = Field(default=None, max_length=128)
    tool_choice: Any = None
    conversation: Literal["auto", "none"] = "auto"
    metadata: dict[str, str] | None = None
    input: list[NewItem] | None = None

    @property
    def wanted(self) -> list[Literal["text", "audio"]] | None:
        """The modalities that are asked for, by either name."""
        return self.output_modalities or self.modalities


class CreateResponse(_Event):
    type: Literal["response.create"]
    response: ResponseParams = ResponseParams()


class CancelResponse(_Event):
    type: Literal["response.cancel"]
    response_id: str | None = None


class ClearOutput(_Event):
    type: Literal["output_audio_buffer.clear"]


ClientEvent = (
    SessionUpdate
    | Append
    | CommitAudio
    | ClearAudio
    | CreateItem
    | TruncateItem
    | DeleteItem
    | RetrieveItem
    | CreateResponse
    | CancelResponse
    | ClearOutput
)
DEEPEST = 64
"""Lists and objects of an event may lie so deep in each other."""
_EVENTS: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[ClientEvent, Field(discriminator="type")])


def parse(text: str | bytes) -> tuple[ClientEvent, str | None]:
    """An event and its id. Raises RequestError."""
    if isinstance(text, bytes):
        raise RequestError("events are text frames; audio goes into them as base64", "invalid_frame")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("the frame is no JSON object", "invalid_json") from error
    if not isinstance(data, dict):
        raise RequestError("the frame is no JSON object", "invalid_json")
    _check(data)
    try:
        event = _EVENTS.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
            kind = str(data.get("type"))[:80]
            raise RequestError(f"there is no event {kind!r}", "unknown_event", "type") from error
        raise refused(error, str(data["type"])) from error
    return event, event.event_id


def _check(data: dict[str, Any]) -> None:
    """What Python's JSON reads and no other program could be sent is refused. Raises RequestError."""
    inside: list[Any] = [data]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for each in inside:
            if isinstance(each, dict):
                below += [*each, *each.values()]
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str) and not _has_utf8(each):
                raise RequestError("a text has half of a surrogate pair: it is no Unicode", "invalid_text")
            elif isinstance(each, float) and not math.isfinite(each):
                raise RequestError("a number is none, or too large", "invalid_number")
        inside = below
        if not inside:
            return
    raise RequestError(f"lists and objects lie more than {DEEPEST} deep in each other", "nested_too_deeply")


def _has_utf8(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def event_id_of(text: str | bytes) -> str | None:
    """The id of an event that could not be parsed, if it has one."""
    try:
        name = json.loads(text).get("event_id")
    except (ValueError, RecursionError, AttributeError, UnicodeDecodeError):
        return None
    return name[:512] if isinstance(name, str) and _has_utf8(name) else None
