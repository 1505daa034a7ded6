"""Damage a caller's words as a speech recogniser would: case, punctuation, fillers, cut-off words.

Only the caller's text changes; values that a call copies keep their words (numbers stay as they are),
so a damaged dialogue is still a true one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
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
