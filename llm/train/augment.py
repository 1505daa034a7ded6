"""Dialogues as a call would have them: callers' words damaged as by a recogniser, agents' as one says them.

Values that a call copies keep their words (numbers stay as they are): a damaged dialogue is still a true one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

FILLERS = ("um", "uh", "er", "hmm", "well", "like", "so", "okay", "you know")
HOMOPHONES = {
    "for": "four", "to": "two", "there": "their", "their": "there", "by": "buy", "hi": "high",
    "week": "weak", "know": "no", "right": "write", "would": "wood", "hear": "here", "meet": "meat",
    "our": "are", "your": "you're", "it's": "its", "then": "than", "and": "an", "can": "can't",
}  # fmt: skip
LOWERED = 0.25
"""Share of dialogues whose caller is written in lower case."""


def damage(words: str, rng: random.Random, strength: float = 1.0) -> str:
    """One caller's turn as a recogniser might write it; `strength` scales how often (0: unchanged)."""
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
    if rng.random() < 0.07 * strength:
        at = rng.randrange(len(pieces))
        if pieces[at].isalpha() and len(pieces[at]) > 3:  # a word begun, broken off and said again
            pieces.insert(at, pieces[at][: rng.randint(2, len(pieces[at]) - 1)] + rng.choice(("-", "", ",")))
    if rng.random() < 0.1 * strength:
        at = rng.randrange(len(pieces))
        pieces[at] = HOMOPHONES.get(pieces[at].lower(), pieces[at])
    return " ".join(pieces)


def each_string(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string in it changed; names of members are kept."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [each_string(item, change) for item in value]
    return {k: each_string(v, change) for k, v in value.items()} if isinstance(value, dict) else value


def as_spoken(dialogue: Mapping[str, Any]) -> dict[str, Any]:
    """The dialogue with the agent's words as one says them; numbers are left to `stretto.audio.normalise`.

    A turn with a gap to be filled in ("a ____ is") is read, not learnt.
    """
    messages = []
    for message in dialogue["messages"]:
        content = message.get("content")
        if message["role"] == "assistant" and content:
            tidy = re.sub(r"[*#_`]+", "", content) if "__" not in content else content
            tidy = re.sub(r"\s+([.,;:?!])", r"\1", tidy)
            message = {**message, "content": " ".join(tidy.split())}
            if "__" in content:
                message["slip"] = True
        messages.append(message)
    return {**dialogue, "messages": messages}


def used_tools(dialogue: Mapping[str, Any]) -> dict[str, Any]:
    """The dialogue with only those of its tools that are called in it."""
    used = {c["name"] for m in dialogue["messages"] for c in m.get("tool_calls") or []}
    return {**dialogue, "tools": [tool for tool in dialogue["tools"] if tool["name"] in used]}


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


def lowered(dialogue: Mapping[str, Any]) -> dict[str, Any]:
    """The dialogue with a caller who is written in lower case.

    What the agent copies from the caller it copies so (values that no result has named before): to copy is
    to write the same tokens again.
    """
    returned, values = "", set[str]()
    for message in dialogue["messages"]:
        if message["role"] == "tool":
            returned += message["content"].lower()
        for call in message.get("tool_calls") or []:
            strings = [v for v in call["arguments"].values() if isinstance(v, str)]
            values |= {v for v in strings if v != v.lower() and v.lower() not in returned}

    longest_first = sorted(values, key=lambda v: (-len(v), v))

    def copied(text: str) -> str:
        for one in longest_first:
            text = text.replace(one, one.lower())
        return text

    def spoken(message: Mapping[str, Any]) -> dict[str, Any]:
        said = {**message, "content": each_string(message.get("content"), copied)}
        if message.get("tool_calls"):
            calls = message["tool_calls"]
            said["tool_calls"] = [{**c, "arguments": each_string(c["arguments"], copied)} for c in calls]
        return {**said, "own": spoken(message["own"])} if "own" in message else said

    messages = []
    for message in dialogue["messages"]:
        if message["role"] == "user" and message.get("content"):
            message = {**message, "content": message["content"].lower()}
            if "pauses" in message:
                message["pauses"] = [[part.lower() for part in pause] for pause in message["pauses"]]
        messages.append(spoken(message) if message["role"] == "assistant" else message)
    return {**dialogue, "messages": messages}


def heard_dialogue(dialogue: Mapping[str, Any], rng: random.Random, strength: float = 1.0) -> dict[str, Any]:
    """The dialogue with every caller's turn damaged."""
    if rng.random() < LOWERED * strength:
        dialogue = lowered(dialogue)
    messages = [
        {**m, "content": damage(m["content"], rng, strength)}
        if m["role"] == "user" and m.get("content")
        else m
        for m in dialogue["messages"]
    ]
    return {**dialogue, "messages": messages}
