"""Tools under other names: a model that meets each tool under one name learns the name, not to read.

Names of tools and arguments change together in tools, calls and results; types, enums and
descriptions stay, for they say what is meant.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

_VERBS = {
    "find": ("search", "look_up", "list", "get"),
    "get": ("fetch", "find", "check", "read"),
    "search": ("find", "look_up", "query"),
    "book": ("reserve", "make", "create", "schedule"),
    "reserve": ("book", "hold", "make"),
    "buy": ("purchase", "order"),
    "cancel": ("drop", "call_off", "remove"),
    "change": ("update", "move", "modify", "edit"),
    "order": ("buy", "request"),
    "play": ("start", "put_on"),
    "add": ("append", "put", "insert"),
    "check": ("get", "look_at", "verify"),
    "transfer": ("hand_over", "connect", "forward"),
    "send": ("transmit", "pass"),
    "schedule": ("book", "plan", "set_up"),
}
_FILLERS = ("", "", "", "my", "the", "new")
_ENDS = ("", "", "", "info", "request", "now", "service")
_ARGUMENT_ENDS = ("", "", "value", "given", "wanted")
_BUILT_IN = frozenset(("hang_up", "transfer"))
"""The session knows these by name."""


def rename_tools(dialogue: Mapping[str, Any], rng: random.Random, share: float = 0.8) -> dict[str, Any]:
    """The dialogue with a `share` of its tools and their arguments renamed, in one style throughout."""
    joined = rng.choice(("snake", "snake", "camel", "kebab"))
    names: dict[str, str] = {}
    keys: dict[str, dict[str, str]] = {}
    taken = {tool["name"] for tool in dialogue["tools"]}
    tools: list[dict[str, Any]] = []
    for tool in dialogue["tools"]:
        old, properties = tool["name"], tool["parameters"].get("properties", {})
        if old in _BUILT_IN or rng.random() >= share:
            tools.append(tool)
            continue
        new = _tool_name(old, rng, joined)
        if new in taken:
            new = f"{new}{rng.randint(2, 9)}"
        if new in taken:
            tools.append(tool)
            continue
        taken.add(new)
        end = rng.choice(_ARGUMENT_ENDS)
        renamed = {key: _join([*_words(key), *([end] if end else [])], joined) for key in properties}
        if len(set(renamed.values())) < len(renamed):
            renamed = {key: key for key in properties}
        names[old], keys[old] = new, renamed
        parameters = {
            **tool["parameters"],
            "properties": {renamed[key]: value for key, value in properties.items()},
            "required": [renamed.get(key, key) for key in tool["parameters"].get("required", ())],
        }
        tools.append({**tool, "name": new, "parameters": parameters})
    messages: list[dict[str, Any]] = []
    for message in dialogue["messages"]:
        message = dict(message)
        if message["role"] == "tool" and message.get("name") in names:
            message["name"] = names[message["name"]]
        if message.get("tool_calls"):
            message["tool_calls"] = [
                {
                    **call,
                    "name": names.get(call["name"], call["name"]),
                    "arguments": {
                        keys.get(call["name"], {}).get(key, key): value
                        for key, value in call["arguments"].items()
                    },
                }
                for call in message["tool_calls"]
            ]
        messages.append(message)
    return {**dialogue, "tools": tools, "messages": messages}


def _words(name: str) -> list[str]:
    """The words of a name in any style, in lower case: "BookTable", "book_table", "book-table"."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)] or [name]


def _tool_name(name: str, rng: random.Random, joined: str) -> str:
    words = _words(name)
    if words[0] in _VERBS and rng.random() < 0.7:
        words = [*rng.choice(_VERBS[words[0]]).split("_"), *words[1:]]
    filler, end = rng.choice(_FILLERS), rng.choice(_ENDS)
    if filler and len(words) > 1:
        words.insert(1, filler)
    return _join([*words, *([end] if end else [])], joined)


def _join(words: list[str], style: str) -> str:
    if style == "camel":
        return words[0] + "".join(word.capitalize() for word in words[1:])
    return ("-" if style == "kebab" else "_").join(words)
