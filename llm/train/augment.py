"""Damage a caller's words as a speech recogniser would: case, punctuation, fillers, cut-off words.

Only the caller's text changes; values that a call copies keep their words (numbers stay as they are),
so a damaged dialogue is still a true one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

FILLERS = ("um", "uh", "er", "hmm", "well", "like", "so", "okay", "you know")
HOMOPHONES = {
    "for": "four", "to": "two", "there": "their", "their": "there", "by": "buy", "hi": "high",
    "week": "weak", "know": "no", "right": "write", "would": "wood", "hear": "here", "meet": "meat",
    "our": "are", "your": "you're", "it's": "its", "then": "than", "and": "an", "can": "can't",
}  # fmt: skip


def damage(words: str, rng: random.Random, strength: float = 1.0) -> str:
    """One caller's turn as a recogniser might write it; `strength` scales how often (0: unchanged)."""
    if rng.random() < 0.35 * strength:
        words = words.lower()
    if rng.random() < 0.3 * strength:
        words = re.sub(r"[!?;]|,(?=\s)|\.(?=\s|$)", "", words)
    elif rng.random() < 0.3 * strength:
        words = words.rstrip(".!?") + rng.choice((".", "", "...", "?"))
    pieces = words.split(" ")
    if rng.random() < 0.15 * strength and pieces:
        at = rng.randrange(len(pieces))
        filler = rng.choice(FILLERS)
        pieces.insert(at, filler + ("," if rng.random() < 0.5 else ""))
    if rng.random() < 0.1 * strength and len(pieces) > 2:
        at = rng.randrange(len(pieces) - 1)
        pieces.insert(at, pieces[at])
    if rng.random() < 0.1 * strength:
        at = rng.randrange(len(pieces))
        pieces[at] = HOMOPHONES.get(pieces[at].lower(), pieces[at])
    return " ".join(pieces)


NAMED = ("restaurant", "hotel", "pickup", "destination", "name")
"""Arguments whose values are names: any word may stand in one."""
_COMMON_WORDS = (
    "the a an of to at on in for and or is it please no not one two three four five six seven eight "
    "nine ten eleven twelve thirteen half past quarter o'clock am pm today tomorrow week next this "
    "first second third monday tuesday wednesday thursday friday saturday sunday january february "
    "march april may june july august september october november december hotel inn lodge suites "
    "guesthouse resort street station room table taxi night nights day dentist doctor haircut massage "
    "vet yes okay right my i i'm i'd it's that that's you me we is"
)
COMMON = frozenset(_COMMON_WORDS.split())
_WORD = re.compile(r"[A-Za-z][A-Za-z']+")


def rename(dialogue: Mapping[str, Any], words: Sequence[str], rng: random.Random) -> dict[str, Any]:
    """The dialogue with the words of its names replaced by random ones, the same throughout.

    What the caller says, what the agent reads back, calls and results change together; numbers, days and
    common words stay.
    """
    calls = [c for m in dialogue["messages"] for c in m.get("tool_calls") or []]
    values = [v for c in calls for k, v in c["arguments"].items() if k in NAMED and isinstance(v, str)]
    found = {w.lower() for v in values for w in _WORD.findall(v)} - COMMON
    table = {w: rng.choice(words).lower() for w in sorted(found) if rng.random() < 0.8}
    if not table:
        return dict(dialogue)

    def swap(match: re.Match[str]) -> str:
        new = table.get(match[0].lower())
        if new is None:
            return match[0]
        return new.capitalize() if match[0][0].isupper() else new

    def swapped(value: Any) -> Any:
        if isinstance(value, str):
            return _WORD.sub(swap, value)
        if isinstance(value, list):
            return [swapped(v) for v in value]
        return {k: swapped(v) for k, v in value.items()} if isinstance(value, dict) else value

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


def subset_tools(dialogue: Mapping[str, Any], rng: random.Random, whole: float = 0.15) -> dict[str, Any]:
    """The dialogue with its tools shuffled and, but for a share `whole`, most unused ones left out."""
    used = {c["name"] for m in dialogue["messages"] for c in m.get("tool_calls") or []}
    tools = list(dialogue["tools"])
    rng.shuffle(tools)
    if rng.random() >= whole:
        spare = rng.randint(0, 3)
        kept: list[Any] = []
        for tool in tools:
            if tool["name"] in used or spare > 0:
                spare -= tool["name"] not in used
                kept.append(tool)
        tools = kept
    return {**dialogue, "tools": tools}


def heard_dialogue(dialogue: Mapping[str, Any], rng: random.Random, strength: float = 1.0) -> dict[str, Any]:
    """The dialogue with every caller's turn damaged."""
    messages = [
        {**m, "content": damage(m["content"], rng, strength)}
        if m["role"] == "user" and m.get("content")
        else m
        for m in dialogue["messages"]
    ]
    return {**dialogue, "messages": messages}
