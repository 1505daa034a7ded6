"""What a model of another family wrote, taken apart: words, calls, and what was meant as a call and is none.

Two forms: Hermes (`<tool_call>{"name": …, "arguments": {…}}</tool_call>`), and that of Qwen3-Coder and
Nemotron (`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from stretto.llm.language_model import Call

OPENS, CLOSES = "<tool_call>", "</tool_call>"
_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_SPACE = re.compile(r"\s*")
_FUNCTION = re.compile(r"<function=([^<>\n]+)>(.*?)</function>", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^<>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)


@dataclass(frozen=True)
class Broken:
    """Text that stood where a call should stand, and why it is none."""

    text: str
    reason: str


@dataclass(frozen=True)
class Said:
    """A turn of the model."""

    words: str
    calls: tuple[Call, ...] = ()
    broken: tuple[Broken, ...] = ()


def parse_turn(text: str) -> Said:
    """A turn's words and calls, without the thoughts that it begins with.

    Never raises: what cannot be read is in `broken`.
    """
    thought = _THOUGHT.match(text)
    text = text[thought.end() :] if thought else text
    words: list[str] = []
    calls: list[Call] = []
    broken: list[Broken] = []
    place = 0
    while (start := text.find(OPENS, place)) >= 0:
        words.append(text[place:start])
        inner, place = _inside(text, start + len(OPENS))
        try:
            name, arguments = _call(inner)
            calls.append(Call(f"call_{len(calls)}", name, arguments))
        except ValueError as error:
            broken.append(Broken(inner.strip(), str(error)))
    words.append(text[place:])
    said = "\n".join(part for one in words if (part := one.strip()))
    return Said(said, tuple(calls), tuple(broken))


def settled_words(text: str) -> str:
    """The words of a turn of which only the beginning is written, as far as no end of it changes them."""
    for mark in (OPENS, "<think>"):
        begun = next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)
        text = text[: len(text) - begun]
    return parse_turn(text.rstrip("\N{REPLACEMENT CHARACTER}")).words


def _inside(text: str, start: int) -> tuple[str, int]:
    """What a call's mark holds, and where the text goes on. A string in the JSON may hold the end mark."""
    space = _SPACE.match(text, start)
    try:
        _, end = _decoder.raw_decode(text, space.end() if space else start)
    except (ValueError, RecursionError):
        end = start
    close = text.find(CLOSES, end)
    return (text[start:], len(text)) if close < 0 else (text[start:close], close + len(CLOSES))


def _call(inner: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments. Raises ValueError."""
    if function := _FUNCTION.search(inner):
        return function[1].strip(), {k.strip(): _value(v) for k, v in _PARAMETER.findall(function[2])}
    try:
        found = _decoder.decode(inner.strip())
    except RecursionError as error:
        raise ValueError("the JSON is nested too deep") from error
    if not isinstance(found, dict) or not isinstance(name := found.get("name"), str) or not name:
        raise ValueError("the JSON is no object with a name")
    arguments = found.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _value(arguments)
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of {name!r} are no JSON object")
    return name, arguments


def _value(text: str) -> Any:
    """A value as JSON, or else as the text that it is."""
    try:
        return _decoder.decode(text.strip())
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)
