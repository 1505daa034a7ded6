"""The oracle: an agent that is told the caller's acts, and so always does the right thing.

It makes the agent's side of the training dialogues. Its policy is regular and everything it says can be
computed from the dialogue so far: read-backs and arguments copy the caller's words, replies copy results.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from stretto.tools.concierge.goals import SLOTS, Kind
from stretto.tools.concierge.wording import Act, Utterance
from stretto.tools.concierge.wording_agent import SAY
from stretto.tools.concierge.wording_values import people_of
from stretto.tools.tool import Tool

Message = dict[str, Any]

_TOOL: dict[Kind, str] = {
    "restaurant": "book_restaurant", "hotel": "book_hotel", "appointment": "book_appointment",
    "taxi": "book_taxi", "order_status": "order_status",
    "change_delivery": "change_delivery", "cancel_order": "cancel_order",
    "cancel_booking": "cancel_booking", "ask_restaurants": "find_restaurants", "ask_hotels": "find_hotels",
    "ask_appointments": "find_appointments",
}  # fmt: skip
_INTEGERS = frozenset({"people", "nights", "stars"})
_SEARCH_ORDER = ("food", "area", "stars", "price")


class Oracle:
    """One call's agent. `reply` gives the messages of a turn: calls, their results, what is said."""

    def __init__(self, tools: Mapping[str, Tool], rng: random.Random) -> None:
        self._tools = tools
        self._rng = rng
        self._kind: Kind | None = None
        self._slots: dict[str, str] = {}
        self._search: dict[str, str] = {}
        self._options: list[str] = []
        self._option_slot = ""
        self._want_search = False
        self._confirming = False
        self._confirmed = False
        self._changed = False
        self._last = ""
        self._reference = ""
        self._messages: list[Message] = []

    def welcome(self) -> str:
        self._last = self._say("welcome")
        return self._last

    async def reply(self, utterance: Utterance) -> list[Message]:
        """Answer what the caller said; a message that calls `hang_up` or `transfer` is the last one."""
        self._messages = []
        text = await self._answer(utterance.acts)
        if text:
            self._messages.append({"role": "assistant", "content": text})
            self._last = text
        return self._messages

    async def _answer(self, acts: tuple[Act, ...]) -> str:
        kinds = {act.kind for act in acts}
        if "person" in kinds:
            self._leave("transfer", self._say("transfer"))
            return ""
        if kinds & {"bye", "nothing_else"}:
            self._leave("hang_up", self._say("bye"))
            return ""
        if "repeat" in kinds:
            return self._last
        if "out_of_scope" in kinds:
            return self._and_again(self._say("scope"))
        if "garbled" in kinds:
            return self._and_again(self._say("lost"))
        if "present" in kinds:
            return self._and_again(self._say("here"))
        if kinds == {"small_talk"}:
            return self._and_again(self._say("fine"))
        prefix = self._say("fine") + " " if "small_talk" in kinds else ""
        if "cancel_that" in kinds:
            self._begin("cancel_booking")
            if self._reference:
                self._slots["reference"] = self._reference
        for act in acts:
            self._take(act)
        if self._kind is None:
            return prefix + (self._say("more") if kinds == {"thanks"} else self._say("ask.kind"))
        if kinds == {"no"} and self._confirming:
            return self._say("ask.change")
        text = await self._advance()
        fresh = "request" in kinds and text == self._question and self._rng.random() < 0.4
        return prefix + (f"{self._say('ack')} {text}" if fresh else text)

    _question = ""

    def _begin(self, kind: Kind) -> None:
        self._kind = kind
        self._slots, self._search, self._options, self._option_slot = {}, {}, [], ""
        self._confirming = self._confirmed = self._want_search = self._changed = False

    def _take(self, act: Act) -> None:
        if act.kind == "request" and act.value == self._kind:
            # Said once more in the middle of it: what is known stays, but is read back again.
            self._confirming = self._confirmed = False
        elif act.kind == "request":
            self._begin(act.value)  # type: ignore[arg-type]
        elif act.kind == "inform":
            if self._confirming:
                self._changed = True
            if act.slot in ("date", "service") and self._kind == "appointment" and act.slot in self._slots:
                # Times that were offered belong to the day that was asked for.
                self._slots.pop("time", None)
                self._options = []
            if act.slot == self._option_slot:
                self._options = []
            self._slots[act.slot] = act.value
            self._confirming = False
        elif act.kind == "search":
            self._search[act.slot] = act.value
            self._slots.pop(str(self._kind), None)
            self._want_search = True
            self._options = []
        elif act.kind == "choose" and int(act.value) < len(self._options):
            # "yes" to a single option is the first one.
            self._slots[self._option_slot] = self._options[int(act.value)]
            self._options = []
        elif act.kind == "yes" and self._confirming:
            self._confirmed = True

    async def _advance(self) -> str:
        """Take the task one step further; returns what is said."""
        kind = self._kind
        assert kind is not None
        if kind in ("ask_restaurants", "ask_hotels"):
            return await self._tell_places()
        if kind in ("restaurant", "hotel") and kind not in self._slots:
            return await self._offer_places() if self._want_search else self._ask(kind)
        for slot in SLOTS[kind]:
            if slot in self._slots:
                continue
            if kind == "appointment" and slot == "time":
                return await self._offer_times()
            return self._ask(slot)
        if kind == "ask_appointments":
            return await self._tell_times()
        if kind == "order_status" or self._confirmed:
            return await self._do()
        return self._read()

    def _read(self) -> str:
        """Read everything back before it is done."""
        self._confirming = True
        said = self._say(f"read.{self._kind}", **self._spoken())
        if self._changed:
            self._changed = False
            return f"{self._say('changed')} {said}"
        return said

    def _spoken(self) -> dict[str, str]:
        slots = dict(self._slots)
        if "nights" in slots:
            slots["nights"] = _count(slots["nights"], "night")
        return slots

    def _ask(self, slot: str) -> str:
        special = f"ask.{slot}.{self._kind}"
        self._question = self._say(special if special in SAY else f"ask.{slot}")
        return self._question

    async def _offer_places(self) -> str:
        found = await self._find_places()
        if isinstance(found, str):
            return found
        if not found:
            self._want_search = False
            self._search = {}
            return self._say("offer.none")
        self._options, self._option_slot = found, str(self._kind)
        if len(found) == 1:
            return self._say("offer.one", a=found[0])
        return self._say("offer.two", a=found[0], b=found[1])

    async def _tell_places(self) -> str:
        found = await self._find_places()
        if isinstance(found, str):
            return self._end(found)
        if not found:
            return self._end("Sorry, I found nothing like that.")
        said = (
            self._say("tell.place", a=found[0])
            if len(found) == 1
            else self._say("tell.places", a=found[0], b=found[1])
        )
        return self._end(said)

    async def _find_places(self) -> list[str] | str:
        what = "hotels" if self._kind in ("hotel", "ask_hotels") else "restaurants"
        arguments = {slot: self._search[slot] for slot in _SEARCH_ORDER if slot in self._search}
        result = await self._call(f"find_{what}", arguments)
        return (
            self._failed(result["error"]) if "error" in result else [place["name"] for place in result[what]]
        )

    async def _offer_times(self) -> str:
        result = await self._call(
            "find_appointments", {slot: self._slots[slot] for slot in ("service", "date")}
        )
        if "error" in result:
            return self._failed(result["error"])
        self._options, self._option_slot = list(result["free"]), "time"
        return self._say("offer.times", date=result["date"], options=either(result["free"]))

    async def _tell_times(self) -> str:
        result = await self._call(
            "find_appointments", {slot: self._slots[slot] for slot in ("service", "date")}
        )
        if "error" in result:
            return self._end(self._say("failed", reason=result["error"]))
        return self._end(self._say("tell.times", date=result["date"], options=either(result["free"])))

    async def _do(self) -> str:
        kind = self._kind
        assert kind is not None
        result = await self._call(_TOOL[kind], {slot: self._slots[slot] for slot in SLOTS[kind]})
        if "error" in result:
            return self._failed(result["error"])
        self._reference = str(result.get("reference", self._reference))
        template = f"done.{kind}" + (f".{result['status']}" if kind == "order_status" else "")
        if "nights" in result:
            result["nights"] = _count(str(result["nights"]), "night")
        return self._end(_capital(self._say(template, **result)))

    def _end(self, text: str) -> str:
        self._kind = None
        return f"{text} {self._say('more')}"

    def _failed(self, error: str) -> str:
        """Speak of an error; what it offers is asked for, and an answer to that needs no read-back."""
        kind = self._kind
        assert kind is not None
        reason, _, options = error.partition(" Free: ")
        said = self._say("failed", reason=reason)
        if options:
            self._options = options.rstrip(".").replace(" or ", ", ").split(", ")
            self._option_slot = "hotel" if kind == "hotel" else "time"
            self._slots.pop(self._option_slot, None)
            act = "failed.options" if len(self._options) > 1 else "failed.option"
            return f"{said} {self._say(act, options=either(self._options))}"
        if " next free day is " in reason:
            self._options = [reason.partition(" next free day is ")[2].rstrip(".")]
            self._option_slot = "date"
            self._slots.pop("date", None)
            return f"{said} {self._say('failed.day')}"
        if "start and end" in error:
            # Which of the two is wrong nobody knows.
            self._slots.pop("destination", None)
        slot = self._blame(error)
        if slot is None:
            self._kind = None
            return f"{said} {self._say('more')}"
        self._slots.pop(slot, None)
        if "Did you mean " in error:
            self._options = error.partition("Did you mean ")[2].rstrip("?").split(" or ")
            self._option_slot = slot
            return said
        return f"{said} {self._ask(slot)}"

    def _blame(self, error: str) -> str | None:
        """The slot that an error is about: the one whose value it names."""
        assert self._kind is not None
        if "start and end" in error:
            return "pickup"
        if "There is no order" in error or "There is no booking" in error:
            return SLOTS[self._kind][0]
        if " only " in error:
            return "people"
        if " open from " in error or "already passed" in error or "which time" in error:
            return "time"
        if " in the past" in error or "which day" in error or " is a " in error:
            return "date"
        named = [
            slot
            for slot in SLOTS[self._kind]
            if slot in self._slots and self._slots[slot].lower() in error.lower()
        ]
        if named:
            return named[0]
        return None

    async def _call(self, name: str, slots: Mapping[str, str]) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            slot: (people_of(value) or 1) if slot in _INTEGERS else value for slot, value in slots.items()
        }
        result = await self._tools[name].run(arguments, "")
        self._messages.append(
            {"role": "assistant", "content": None, "tool_calls": [{"name": name, "arguments": arguments}]}
        )
        self._messages.append({"role": "tool", "name": name, "content": result.text})
        answer: dict[str, Any] = json.loads(result.text)
        return answer

    def _leave(self, tool: str, text: str) -> None:
        self._messages.append(
            {"role": "assistant", "content": text, "tool_calls": [{"name": tool, "arguments": {}}]}
        )

    def _and_again(self, text: str) -> str:
        """Answer an interlude and come back to what was asked, without changing what "repeat" gives."""
        last = self._last
        pending = last if self._kind is not None or "?" not in last else self._say("ask.kind")
        return f"{text} {_after_interlude(pending)}"

    def _say(self, act: str, **values: Any) -> str:
        templates = SAY[act]
        template = templates[int(self._rng.random() * len(templates))]
        # A value may end in a dot of its own: "8 p.m.".
        return _capital(template.format_map(values)).replace("..", ".") if values else template


def _after_interlude(text: str) -> str:
    # "I'm fine. I'm fine. Which day?" when two interludes follow one another.
    for act in ("fine", "here", "scope", "lost", "ack", "changed"):
        for template in SAY[act]:
            text = text.removeprefix(template + " ")
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(number: str, noun: str) -> str:
    return f"{number} {noun}" if number.lower() in ("1", "one", "a") else f"{number} {noun}s"


def either(options: list[str]) -> str:
    """ "9 am, 11:30 am or 3 pm"."""
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"
