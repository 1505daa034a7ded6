"""What is written in the benchmark: short dialogues of the kind that the house model was trained on.

Where a situation says `call` the agent's next turn is a call, else it is words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stretto.llm.conversation import LocalConversation
from stretto.llm.format import Spec
from stretto.llm.language_model import ToolChoice
from stretto.llm.local import LocalModel

Kind = Literal["reply", "call"]

SYSTEM = (
    "You are the concierge of Harbor City. Plain spoken English, short. Today is Sunday, August 1st 2027."
)


def _tool(name: str, description: str, needed: int, /, **properties: Any) -> Spec:
    """The first `needed` of the properties are required; `...` is any text."""
    types = {key: {"type": "string"} if value is ... else value for key, value in properties.items()}
    schema = {"type": "object", "properties": types, "required": list(types)[:needed]}
    return Spec(name, description, {**schema, "additionalProperties": False})


_COUNT: Mapping[str, Any] = {"type": "integer"}
_AREA: Mapping[str, Any] = {"type": "string", "enum": ["north", "south", "east", "west", "centre"]}
_PRICE: Mapping[str, Any] = {"type": "string", "enum": ["cheap", "moderate", "expensive"]}
_SERVICE: Mapping[str, Any] = {"type": "string", "enum": ["dentist", "doctor", "haircut", "massage", "vet"]}

TOOLS = (
    _tool("order_status", "Status of an order.", 1, order=...),
    _tool("find_appointments", "Find free appointment times.", 2, service=_SERVICE, date=...),
    _tool("book_appointment", "Book an appointment.", 4, service=_SERVICE, date=..., time=..., name=...),
    _tool("find_hotels", "Find hotels by area, stars, price.", 0, area=_AREA, stars=_COUNT, price=_PRICE),
    _tool("book_hotel", "Book hotel rooms.", 4, hotel=..., date=..., nights=_COUNT, people=_COUNT),
    _tool(
        "find_restaurants", "Find restaurants by food, area, price.", 0, food=..., area=_AREA, price=_PRICE
    ),
    _tool("book_restaurant", "Book a table.", 4, restaurant=..., date=..., time=..., people=_COUNT),
    _tool("book_taxi", "Book a taxi.", 4, pickup=..., destination=..., date=..., time=...),
    _tool("transfer", "Hand over to a person.", 0),
    _tool("hang_up", "End the call.", 0),
)


@dataclass(frozen=True)
class Situation:
    """A dialogue up to the agent's turn: what was said, and what the caller says last (nothing behind a
    tool's result)."""

    kind: Kind
    messages: tuple[Mapping[str, Any], ...]
    heard: str = ""

    async def open(self, model: LocalModel) -> LocalConversation:
        """A conversation that has come there, and must write what the situation is about."""
        forced = ToolChoice("none" if self.kind == "reply" else "required")
        conversation = model.open(SYSTEM, TOOLS, forced)
        await conversation.restore(self.messages)
        if self.heard:
            await conversation.hear(self.heard)
        return conversation


def _agent(text: str) -> Mapping[str, Any]:
    return {"role": "assistant", "content": text}


def _caller(text: str) -> Mapping[str, Any]:
    return {"role": "user", "content": text}


def _called(name: str, result: str, /, **arguments: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    call = {"id": "1", "name": name, "arguments": arguments}
    return (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "name": name, "tool_call_id": "1", "content": result},
    )


_HELLO = _agent("Harbor City concierge, what can I do for you?")
_DENTIST = (
    _HELLO,
    _caller("I need an appointment with the dentist at 3pm, my name is Laura Miller."),
    _agent("Okay. What day should it be?"),
)

SITUATIONS: tuple[Situation, ...] = (
    Situation("reply", (_HELLO,), "I'd like to know where my order is."),
    Situation(
        "reply",
        (
            *_DENTIST,
            _caller("On Thursday."),
            _agent("So that's a dentist appointment, Thursday at 3pm, for Laura Miller. Is that right?"),
            _caller("Right."),
            *_called(
                "book_appointment",
                '{"error":"No dentist appointment is free at 3 pm on Thursday the 5th of August. '
                'Free: 10 am, 2:30 pm or 3:30 pm."}',
                service="dentist", date="Thursday", time="3pm", name="Laura Miller",
            ),
        ),
    ),
    Situation(
        "reply",
        (
            _HELLO,
            _caller("Where is my order? The number is 4-0-0-8."),
            *_called(
                "order_status",
                '{"order":"4008","item":"silver toaster","status":"processing",'
                '"delivery":"Saturday the 14th of August"}',
                order="4-0-0-8",
            ),
        ),
    ),
    Situation("reply", _DENTIST, "On Thursday."),
    Situation(
        "call",
        (*_DENTIST, _caller("On Thursday."),
         _agent("So that's a dentist appointment, Thursday at 3pm, for Laura Miller. Is that right?")),
        "Right.",
    ),
    Situation("call", (_HELLO,), "Can you recommend a cheap Italian restaurant in the centre?"),
    Situation("call", (_HELLO,), "Hi, can you tell me where my order is? The number is 7-3-1-5."),
    Situation(
        "call",
        (
            _HELLO,
            _caller("A taxi from the Grand Hotel to the airport on Friday at nine in the morning, please."),
            _agent("A taxi from the Grand Hotel to the airport, Friday at nine in the morning. Right?"),
        ),
        "Yes, please.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """What the caller seems to say at first, and what it turns out to be."""

    change: str
    situation: Situation
    before: str


VERSIONS: tuple[Heard, ...] = (
    Heard("nothing", SITUATIONS[0], SITUATIONS[0].heard),
    Heard("a full stop", SITUATIONS[0], SITUATIONS[0].heard.rstrip(".")),
    Heard("a word more", Situation("reply", _DENTIST, "On Thursday please."), "On Thursday."),
    Heard("another day", Situation("reply", _DENTIST, "On Tuesday."), "On Thursday."),
    Heard("another order", SITUATIONS[6], SITUATIONS[6].heard.replace("7-3-1-5", "7-3-1-9")),
    Heard("another area", SITUATIONS[5], SITUATIONS[5].heard.replace("centre", "north")),
    Heard("another wish", Situation("reply", (_HELLO,), "I want to book a hotel room."), SITUATIONS[0].heard),
)
