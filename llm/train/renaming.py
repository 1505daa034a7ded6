"""Other names in a dialogue, the same throughout: a name is to be copied, never remembered."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stretto.llm.train.augment import each_string

NAMED = ("restaurant", "hotel", "pickup", "destination", "name")
"""Arguments whose values are names: any word may stand in one."""
_COMMON_WORDS = (
    "the a an of to at on in for and or is it please no not one two three four five six seven eight "
    "nine ten eleven twelve thirteen half past quarter o'clock am pm today tomorrow week next this "
    "first second third monday tuesday wednesday thursday friday saturday sunday january february "
    "march april may june july august september october november december hotel inn lodge suites "
    "guesthouse resort street station room table taxi night nights day dentist doctor haircut massage "
    "vet yes okay right my i i'm i'd it's that that's you me we is st nd rd th morning afternoon evening "
    "noon midnight tonight weekend jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat "
    "sun"
)
COMMON = frozenset(_COMMON_WORDS.split())
_WORD = re.compile(r"[A-Za-z][A-Za-z']+")


def made_up(words: Sequence[str], tails: Sequence[str], rng: random.Random) -> str:
    """A word of one, two or three pieces: most names that a model meets later are no single token."""
    return (rng.choice(words) + "".join(rng.choices(tails, k=rng.choice((0, 0, 1, 1, 2))))).lower()


def names_of(dialogue: Mapping[str, Any]) -> set[str]:
    """The words of names in a concierge dialogue, in lower case."""
    calls = [c for m in dialogue["messages"] for c in m.get("tool_calls") or []]
    values = [v for c in calls for k, v in c["arguments"].items() if k in NAMED and isinstance(v, str)]
    return {w.lower() for v in values for w in _WORD.findall(v)} - COMMON


def capitalised(dialogue: Mapping[str, Any]) -> set[str]:
    """The words of names in any dialogue, in lower case: capitals in free values that the caller has said.

    Words that stand anywhere in the tools, or in lower case somewhere in what is said, are no names.
    """
    properties = {
        (tool["name"], key): value
        for tool in dialogue["tools"]
        for key, value in tool["parameters"].get("properties", {}).items()
    }
    said = " ".join(m.get("content") or "" for m in dialogue["messages"][1:] if m["role"] == "user")
    found: set[str] = set()
    for call in (c for m in dialogue["messages"] for c in m.get("tool_calls") or []):
        for key, value in call["arguments"].items():
            schema = properties.get((call["name"], key), {})
            if isinstance(value, str) and not {"enum", "format"} & schema.keys() and value in said:
                found |= {w.lower() for w in _WORD.findall(value) if w[0].isupper()}
    spoken = " ".join(m.get("content") or "" for m in dialogue["messages"][1:] if m["role"] != "tool")
    plain = {w for w in _WORD.findall(spoken) if w.islower()}
    tools = {w.lower() for w in _WORD.findall(str(dialogue["tools"]))}
    return found - plain - tools - COMMON


def rename(
    dialogue: Mapping[str, Any],
    found: Collection[str],
    words: Sequence[str],
    tails: Sequence[str],
    rng: random.Random,
) -> dict[str, Any]:
    """The dialogue with most of the words `found` replaced by made-up ones, the same throughout.

    What the caller says, what the agent reads back, calls and results change together.
    """
    table = {w: made_up(words, tails, rng) for w in sorted(found) if rng.random() < 0.8}
    if not table:
        return dict(dialogue)

    def swap(match: re.Match[str]) -> str:
        new = table.get(match[0].lower())
        if new is None:
            return match[0]
        return new.capitalize() if match[0][0].isupper() else new

    def swapped(value: Any) -> Any:
        return each_string(value, lambda text: _WORD.sub(swap, text))

    messages = [dict(m) for m in dialogue["messages"]]
    for message in messages[1:]:
        message["content"] = swapped(message.get("content"))
        if "pauses" in message:
            message["pauses"] = swapped(message["pauses"])
        if "own" in message:
            message["own"] = swapped(message["own"])
        if message.get("tool_calls"):
            message["tool_calls"] = [
                {**c, "arguments": swapped(c["arguments"])} for c in message["tool_calls"]
            ]
    return {**dialogue, "messages": messages}
