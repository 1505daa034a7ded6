"""Other names in a dialogue, the same throughout: a name is to be copied, never remembered."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
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
    "vet yes okay right my i i'm i'd it it's that you me we is st nd rd th morning afternoon evening "
    "noon midnight tonight weekend jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat "
    "sun true false null"
)
COMMON = frozenset(_COMMON_WORDS.split())
_WORD = re.compile(r"[A-Za-z]+(?:'(?!s\b)[A-Za-z]+)*")
"""A word without the 's behind it."""


def made_up(words: Sequence[str], tails: Sequence[str], rng: random.Random) -> str:
    """A word of one, two or three pieces: most names that a model meets later are no single token."""
    return (rng.choice(words) + "".join(rng.choices(tails, k=rng.choice((0, 0, 1, 1, 2))))).lower()


def names_of(dialogue: Mapping[str, Any]) -> set[str]:
    """The words of names in a concierge dialogue, in lower case."""
    values = [v for c in _calls(dialogue["messages"]) for k, v in c["arguments"].items() if k in NAMED]
    return {w.lower() for v in values if isinstance(v, str) for w in _words(v)} - COMMON


def capitalised(dialogue: Mapping[str, Any]) -> set[str]:
    """The words of names in any dialogue, in lower case: capitals in free values that the caller has said.

    Words that stand anywhere in the tools, or in lower case somewhere in what is said, are no names.
    """
    properties = {
        (tool["name"], key): value
        for tool in dialogue["tools"]
        for key, value in tool["parameters"].get("properties", {}).items()
    }
    messages = dialogue["messages"][1:]
    said = " ".join(m.get("content") or "" for m in messages if m["role"] == "user")
    found: set[str] = set()
    for call in _calls(messages):
        for key, value in call["arguments"].items():
            schema = properties.get((call["name"], key), {})
            free = isinstance(value, str) and not {"enum", "format", "pattern"} & schema.keys()
            if free and re.search(rf"\b{re.escape(value)}\b", said):
                found |= {w.lower() for w in _words(value) if w[0].isupper()}
    spoken = " ".join(m.get("content") or "" for m in messages if m["role"] != "tool")
    plain = {w for w in _words(spoken) if w.islower()}
    tools = {w.lower() for w in _words(str(dialogue["tools"]))}
    return found - plain - tools - COMMON


def _calls(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [call for message in messages for call in message.get("tool_calls") or []]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text) if len(word) > 1]


def rename(
    dialogue: Mapping[str, Any],
    found: Collection[str],
    words: Sequence[str],
    tails: Sequence[str],
    rng: random.Random,
) -> dict[str, Any]:
    """The dialogue with most of the words `found` replaced by made-up ones, the same throughout.

    What the caller says, what the agent reads back, values of calls and of results change together; where a
    value of a call would no longer stand in what is said and returned, the dialogue stays as it is.
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

    def renamed(message: Mapping[str, Any]) -> dict[str, Any]:
        new = dict(message)
        result = message.get("role") == "tool"
        new["content"] = _in_json(message["content"], swapped) if result else swapped(message.get("content"))
        if "pauses" in message:
            new["pauses"] = swapped(message["pauses"])
        if message.get("tool_calls"):
            calls = message["tool_calls"]
            new["tool_calls"] = [{**call, "arguments": swapped(call["arguments"])} for call in calls]
        return {**new, "own": renamed(message["own"])} if "own" in message else new

    before = dialogue["messages"]
    after = [*before[:1], *map(renamed, before[1:])]
    return {**dialogue, "messages": after if _copied(before) == _copied(after) else before}


def _in_json(content: str, change: Callable[[Any], Any]) -> str:
    """A result with its strings changed, or a text changed where it is no JSON."""
    try:
        value = json.loads(content)
    except ValueError:
        return str(change(content))
    return json.dumps(change(value), ensure_ascii=False, separators=(",", ":"))


def _copied(messages: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Of each free value in a call, whether it stands in what is said and returned."""
    told = " ".join(m.get("content") or "" for m in messages).lower()
    values = [v for c in _calls(messages) for v in c["arguments"].values() if isinstance(v, str)]
    return [value.lower() in told for value in values]
