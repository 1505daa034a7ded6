"""Copying drills: short made-up dialogues whose values are random words of the vocabulary.

A small model learns late, if at all, to copy what it has never seen. Here nothing can be memorised: tools,
slots and values are drawn anew for every dialogue, and most of what the agent writes stands somewhere
before. The forms are those of a task call: values said at once or one by one, read back, called, reported.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from stretto.llm.tokenizer import Tokenizer
from stretto.llm.train.renaming import made_up

SLOTS = (
    "name place day date time city item code color size food street hotel room price number team song doctor "
    "pickup destination order people nights service restaurant area stars title owner"
).split()
VERBS = "book find move cancel order check send change reserve get".split()
GIVES = (
    "{slot} is {value}",
    "the {slot} is {value}",
    "{value} for the {slot}",
    "{slot}: {value}",
    "{slot} {value}",
)
BARE = (
    "{value}",
    "{value} please",
    "it's {value}",
    "that would be {value}",
    "um, {value}",
    "{value}, thanks",
)
ASKS = ("Which {slot}?", "What is the {slot}?", "And the {slot}?", "What {slot} would you like?")
OPENINGS = ("Hi, {verb} it.", "I'd like to {verb} something.", "Please {verb} one.", "Can you {verb} that?")
JOINS = (", ", " and ", ", and ", ". ", " at ", " for ", " on ", " to ")
YES = ("yes", "right", "that's right", "correct", "exactly", "yes please", "sure")
NUMBERS = (
    "{a}",
    "{a}:{b}0",
    "{a} {b}",
    "{a}{b}{c}{d}",
    "{a}-{b}-{c}-{d}",
    "{a} {b} {c} {d}",
    "{a}.{b}0 p.m.",
    "the {a}th",
)


class Drills:
    """`dialogue(rng)`: one drill in the data format."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        pieces = [b.decode("utf-8", "ignore") for b in tokenizer.token_bytes if b]
        self.words = [
            p[1:] for p in pieces if p[:1] == " " and p[1:].isalpha() and p.isascii() and len(p) > 2
        ]
        self.tails = [p for p in pieces if p.isalpha() and p.islower() and p.isascii() and len(p) > 1]

    def _value(self, rng: random.Random) -> str:
        if rng.random() < 0.25:
            a, b, c, d = (rng.randrange(10) for _ in range(4))
            return rng.choice(NUMBERS).format(a=a, b=b, c=c, d=d)
        count = rng.choice((1, 1, 2, 2, 3, 4))
        text = " ".join(made_up(self.words, self.tails, rng) for _ in range(count))
        return rng.choice((text, text.title()))

    def dialogue(self, rng: random.Random) -> dict[str, Any]:
        """A call with one to four slots; at the end its result is told."""
        slots = rng.sample(SLOTS, rng.randint(1, 4))
        values = {slot: self._value(rng) for slot in slots}
        verb = rng.choice(VERBS)
        tools = [_tool(f"{verb}_{rng.choice(SLOTS)}", slots)]
        for _ in range(rng.randint(0, 2)):
            other = _tool(f"{rng.choice(VERBS)}_{rng.choice(SLOTS)}", rng.sample(SLOTS, rng.randint(1, 3)))
            if other["name"] not in {t["name"] for t in tools}:
                tools.append(other)
        name = tools[0]["name"]
        rng.shuffle(tools)
        messages: list[dict[str, Any]] = [{"role": "system", "content": ""}]
        known = rng.sample(slots, rng.randint(0, len(slots)))
        opening = rng.choice(OPENINGS).format(verb=name.replace("_", " "))
        said = [rng.choice(GIVES).format(slot=s, value=values[s]) for s in known]
        messages.append({"role": "user", "content": " ".join([opening, rng.choice(JOINS[:4]).join(said)])})
        for slot in (s for s in slots if s not in known):
            messages.append({"role": "assistant", "content": rng.choice(ASKS).format(slot=slot)})
            messages.append({"role": "user", "content": rng.choice(BARE).format(value=values[slot])})
        if rng.random() < 0.7:
            messages.append(
                {"role": "assistant", "content": f"{_listed(slots, values, rng)}. Is that right?"}
            )
            if rng.random() < 0.2:
                wrong = rng.choice(slots)
                values[wrong] = self._value(rng)
                change = rng.choice(("No, {s} {v}", "sorry, the {s} is {v}", "{s} should be {v}"))
                messages.append({"role": "user", "content": change.format(s=wrong, v=values[wrong])})
                again = f"Okay. {_listed(slots, values, rng)}. Is that right?"
                messages.append({"role": "assistant", "content": again})
            messages.append({"role": "user", "content": rng.choice(YES)})
        arguments = {slot: values[slot] for slot in slots}
        messages.append(
            {"role": "assistant", "content": None, "tool_calls": [{"name": name, "arguments": arguments}]}
        )
        found = {slot: rng.choice((values[slot], self._value(rng))) for slot in rng.sample(slots, len(slots))}
        found["reference"] = f"{rng.randrange(10_000):04}"
        messages.append({"role": "tool", "name": name, "content": json.dumps(found)})
        told = [s for s in found if s != "reference"]
        ending = rng.choice(("The reference is {}.", "Your reference is {}.")).format(found["reference"])
        messages.append({"role": "assistant", "content": f"Done: {_listed(told, found, rng)}. {ending}"})
        return {"split": "train", "tools": tools, "messages": messages}


def _listed(slots: Sequence[str], values: dict[str, str], rng: random.Random) -> str:
    text = values[slots[0]]
    for slot in slots[1:]:
        text += rng.choice(JOINS) + values[slot]
    return text


def _tool(name: str, slots: Sequence[str]) -> dict[str, Any]:
    properties = {slot: {"type": "string"} for slot in slots}
    return {
        "name": name,
        "description": "",
        "parameters": {"type": "object", "properties": properties, "required": list(slots)},
    }
