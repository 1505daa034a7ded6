"""An oracle that slips now and then, so that a model learns what to do after a mistake of its own.

Where the agent is always right, nothing shows how to go on from a wrong read-back, a call that fails for it
or a question that was out of place, and a model that once errs keeps to its error (exposure bias; the
remedy is that of DAgger, Ross et al. 2011: the learner's states, the expert's actions). What is wrong
carries `"slip": true`: a model reads it and never learns to do it. Behind it the oracle does the right thing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from stretto.tools.concierge.database import SERVICES
from stretto.tools.concierge.goals import SLOTS, Kind
from stretto.tools.concierge.oracle import Message, Oracle
from stretto.tools.concierge.wording import Act, Utterance
from stretto.tools.concierge.wording_agent import SAY
from stretto.tools.concierge.wording_values import WEEKDAYS, people_of
from stretto.tools.tool import Tool

_NAMES = frozenset({"restaurant", "hotel", "pickup", "destination"})
_QUESTIONS = tuple(act for act in SAY if act.startswith("ask."))
_PLAIN = frozenset({"request", "inform", "search"})
_AGAIN = frozenset({"repeat", "out_of_scope", "garbled", "present", "small_talk"})


class SlippingOracle(Oracle):
    """An `Oracle` that errs at `rate` at every chance; `names`: those of the database."""

    def __init__(
        self, tools: Mapping[str, Tool], rng: random.Random, rate: float, names: Sequence[str]
    ) -> None:
        super().__init__(tools, rng)
        self._rate = rate
        self._names = names
        self._wrong: set[str] = set()
        self._off = self._last_off = False
        self._refused: dict[str, str] = {}

    async def reply(self, utterance: Utterance) -> list[Message]:
        """As `Oracle.reply`; messages that are wrong carry `"slip": true`."""
        # What is said again after an interlude is as wrong as it was the first time.
        again = self._last_off and any(act.kind in _AGAIN for act in utterance.acts)
        self._off = False
        messages = await super().reply(utterance)
        self._last_off = self._off or again
        if self._last_off and messages and messages[-1]["content"]:
            messages[-1]["slip"] = True
        return messages

    def _slips(self, weight: float = 1.0) -> bool:
        return self._rng.random() < self._rate * weight

    async def _answer(self, acts: tuple[Act, ...]) -> str:
        if {act.kind for act in acts} <= _PLAIN and self._slips():
            for act in acts:
                self._take(act)
            self._off = True
            return self._last if self._rng.random() < 0.5 else self._say(self._rng.choice(_QUESTIONS))
        text = await super()._answer(acts)
        told = self._messages and self._messages[-1]["role"] == "tool" and self._kind is None
        if text and not told and self._slips(0.5):
            self._off = True
            return _muddled(text, self._rng)
        return text

    def _take(self, act: Act) -> None:
        if act.kind == "inform":
            self._wrong.discard(act.slot)
        elif act.kind == "choose":
            self._wrong.discard(self._option_slot)
        super()._take(act)
        self._wrong &= set(self._slots)

    def _begin(self, kind: Kind) -> None:
        self._wrong.clear()
        self._refused = {}
        super()._begin(kind)

    def _ask(self, slot: str) -> str:
        # Words of a search were taken for a name: a search is due, whatever is asked instead.
        self._off = self._off or self._kind in self._wrong
        return super()._ask(slot)

    def _read(self) -> str:
        if self._slips(2.0):
            self._mistake()
        self._off = bool(self._wrong)
        return super()._read()

    async def _offer_places(self) -> str:
        kind = self._kind
        assert kind is not None
        if not self._slips(2.0):
            return await super()._offer_places()
        self._off = True
        missing = [slot for slot in SLOTS[kind] if slot not in self._slots and slot != kind]
        if missing and self._rng.random() < 0.5:
            return super()._ask(missing[0])
        what = ("place", "spot", "restaurant", "one") if kind == "restaurant" else ("hotel", "place", "one")
        self._slots[kind] = " ".join([*self._search.values(), self._rng.choice(what)])
        self._wrong.add(kind)
        self._want_search = False
        return await self._advance()

    async def _do(self) -> str:
        if self._refused and self._slips(2.0):
            # The very call that failed, once more.
            self._wrong |= {slot for slot, value in self._refused.items() if self._slots.get(slot) != value}
            self._slots |= self._refused
            return await super()._do()
        kind, truth = self._kind, dict(self._slots)
        slipped = not self._wrong and self._slips() and self._mistake()
        said = await super()._do()
        if slipped and self._messages[-1]["content"].startswith('{"error"'):
            # Everything was confirmed: the right call is due at once, not a question.
            self._kind, self._slots, self._options = kind, truth, []
            self._wrong, self._refused = set(), {}
            said = await super()._do()
        return said

    async def _call(self, name: str, slots: Mapping[str, str]) -> dict[str, Any]:
        answer = await super()._call(name, slots)
        if self._wrong & set(slots):
            self._messages[-2]["slip"] = True
        # What is said of a result is right, whatever led to it.
        self._off = False
        return answer

    def _failed(self, error: str) -> str:
        self._refused = dict(self._slots)
        said = super()._failed(error)
        self._wrong &= set(self._slots)
        self._off = False
        return said

    def _mistake(self) -> bool:
        """Take one of the slots for something else; False where nothing came of it."""
        assert self._kind is not None
        slot = self._rng.choice(SLOTS[self._kind])
        value = mistaken(slot, self._slots, self._names, self._rng)
        if not value.strip() or value == self._slots[slot]:
            return False
        self._slots[slot] = value
        self._wrong.add(slot)
        return True


def mistaken(slot: str, slots: Mapping[str, str], names: Sequence[str], rng: random.Random) -> str:
    """What a poor reader might take for a slot's value: another slot's, a piece of it, a blend."""
    value = slots[slot]
    others = [other for name, other in slots.items() if name != slot and other != value]
    if slot == "service":
        return rng.choice([service for service in SERVICES if service != value])
    if slot in ("people", "nights"):
        counts = [count for other in others if (count := people_of(other)) and count < 10]
        return str(rng.choice([*counts, rng.randint(1, 8)]))
    if slot in ("date", "time") and rng.random() < 0.5:
        hour, day = str(rng.randint(1, 12)), rng.choice((*WEEKDAYS, "tomorrow", "today"))
        return day if slot == "date" else rng.choice((hour, f"{hour}:30", f"{hour} p.m."))
    if slot in ("order", "reference") and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(("", str(rng.randrange(10)))) + value[at + 1 :]
    if others and rng.random() < 0.4:
        return rng.choice(others)
    if slot in _NAMES and rng.random() < 0.4:
        return rng.choice(names)
    words, donor = value.split(), rng.choice(names).split()
    at = rng.randrange(len(words))
    if len(words) > 1 and rng.random() < 0.5:
        return " ".join(words[:at] + words[at + 1 :])
    blend = words[at][: rng.randint(1, 4)] + donor[-1][rng.randint(0, 3) :].lower()
    words[at] = rng.choice((blend, donor[-1], words[at - 1]))
    return " ".join(words)


def _muddled(text: str, rng: random.Random) -> str:
    """A text with words lost, said twice or taken from elsewhere in it."""
    words = text.split()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(words))
        if rng.random() < 0.4 and len(words) > 3:
            del words[at]
        elif rng.random() < 0.5:
            words.insert(at, words[at])
        else:
            words[at] = rng.choice(words)
    return " ".join(words)
