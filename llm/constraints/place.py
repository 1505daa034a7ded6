"""Where in a schema its compiler is, what an automaton may cost, and how a schema is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .automaton import ByteAutomaton

TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
_OF_TYPE = {
    "object": ("properties", "required"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
"""Keywords that say nothing of other types: where no type is named, values of theirs are written."""


class UnsupportedSchema(ValueError):
    """A schema that cannot be turned into an automaton; the message names the place and what to do."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        message = f"schema at {path or '/'}: {problem}; {remedy}"
        # It is passed on to whoever wrote the schema: it must have a UTF-8 form, whatever the schema quotes.
        super().__init__(message.encode("utf-8", "backslashreplace").decode())
        self.path = path


@dataclass(frozen=True)
class Limits:
    """What bounds an automaton.

    Strings without maxLength are bounded by the canvas alone; a longer maxLength than `counted_characters`
    and a longer maxItems than `counted_items` are tightened to these (what is written stays valid).
    `free_depth`: nesting of values without a type. `max_parts`: schemas inside the schema, each counted as
    often as it is referred to. `strict` False takes an unsupported part as a value without a type.
    """

    counted_characters: int = 128
    counted_items: int = 16
    free_depth: int = 2
    max_depth: int = 6
    max_states: int = 20_000
    max_parts: int = 5_000
    strict: bool = True


@dataclass(frozen=True)
class Place:
    """Where in the schema the compiler is."""

    root: Mapping[str, Any]
    limits: Limits
    path: str = ""
    depth: int = 0
    among: bool = False
    """Inside one of several alternatives. Which one was written is not known when a call is read: there the
    space that opens a free text tells it from all others, which have none at their beginning."""
    parts: Iterator[int] = field(default_factory=itertools.count)
    spans: Callable[[], ByteAutomaton | None] = lambda: None
    """What strings that take only words of the conversation are, None where nothing was said."""

    def at(self, *steps: object) -> Place:
        return replace(self, path=self.path + "".join(f"/{step}" for step in steps), depth=self.depth + 1)

    def wrong(self, problem: str, remedy: str) -> UnsupportedSchema:
        return UnsupportedSchema(self.path, problem, remedy)


def whole(schema: Mapping[str, Any], keyword: str, default: int, place: Place) -> int:
    value = schema.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise place.wrong(f"{keyword} is {value!r}", "use a whole number, 0 or more")
    return value


def bounds(
    schema: Mapping[str, Any], low: str, high: str, default: int, most: int, place: Place
) -> tuple[int, int | None]:
    at_least = whole(schema, low, default, place)
    at_most = whole(schema, high, most, place) if high in schema else None
    if at_most is not None and low not in schema:
        at_least = min(at_least, at_most)
    if at_least > most or (at_most is not None and at_least > at_most):
        raise place.wrong(f"{low} is {at_least}", f"use at most {min(most, at_most or most)}")
    return at_least, None if at_most is None else min(at_most, most)


def kinds_of(schema: Mapping[str, Any], place: Place) -> list[str]:
    """The types that a schema names or means; none if it takes any value."""
    kinds = schema.get("type")
    if kinds is None:
        if schema.get("additionalProperties", True) is not True:
            return ["object"]
        return [kind for kind, keywords in _OF_TYPE.items() if schema.keys() & set(keywords)][:1]
    listed = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(listed, list) or not listed or any(kind not in TYPES for kind in listed):
        raise place.wrong(f"type {kinds!r} is unknown", f"use one of {', '.join(TYPES)}")
    return listed
