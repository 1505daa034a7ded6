"""JSON schema of a tool's arguments -> regular expression over the bytes of the canonical call text."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .automaton import ByteAutomaton, Fragment, TooManyStates, determinise, either, sequence, text
from .call_text import compact_json
from .literals import BOOLEAN, FORMATS, NULL, constant, integer, number, string
from .structures import free, items, listed, mapping

_ANNOTATIONS = {
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
    "$comment", "$schema", "$id", "$defs", "definitions", "$anchor", "additionalProperties",
    "contentEncoding", "contentMediaType", "contentSchema",
}  # fmt: skip
_UNSUPPORTED = {
    "not": "say what is allowed instead, with enum or anyOf",
    "if": "split the tool in two", "then": "split the tool in two", "else": "split the tool in two",
    "pattern": "use enum, or a format, or check it in the tool",
    "multipleOf": "check it in the tool",
    "patternProperties": "name the properties", "propertyNames": "name the properties",
    "minProperties": "use required", "maxProperties": "use required",
    "dependentRequired": "check it in the tool", "dependentSchemas": "check it in the tool",
    "dependencies": "check it in the tool",
    "unevaluatedProperties": "name the properties", "unevaluatedItems": "use items",
    "uniqueItems": "use a plain list, the tool may drop repeated items",
    "contains": "use items", "minContains": "use items", "maxContains": "use items",
    "additionalItems": "use items", "$dynamicRef": "use $ref", "$recursiveRef": "use $ref",
}  # fmt: skip
_TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
WIDEST = 10**30
"""A bound of a number beyond this, either way, is none."""


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
class _Place:
    """Where in the schema the compiler is."""

    root: Mapping[str, Any]
    limits: Limits
    path: str = ""
    depth: int = 0
    parts: Iterator[int] = field(default_factory=itertools.count)

    def at(self, *steps: object) -> _Place:
        return replace(self, path=self.path + "".join(f"/{step}" for step in steps), depth=self.depth + 1)

    def wrong(self, problem: str, remedy: str) -> UnsupportedSchema:
        return UnsupportedSchema(self.path, problem, remedy)


def byte_automaton(schema: Mapping[str, Any], limits: Limits | None = None) -> ByteAutomaton:
    """The automaton of the canonical texts ``{...}`` that fit the schema of a tool's arguments.

    An object without `properties` at the top takes no arguments. Raises UnsupportedSchema.
    """
    limits = limits or Limits()
    place = _Place(schema, limits)
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise place.wrong(
            "the arguments of a tool are not an object", 'use {"type": "object", "properties": …}'
        )
    top = schema
    if not {"properties", "required", "$ref", "anyOf", "oneOf", "allOf"} & set(schema):
        top = {**schema, "properties": {}, "additionalProperties": False}
    try:
        fragment = _value({"type": "object", **top}, place)
        return determinise(fragment, limits.max_states)
    except TooManyStates as error:
        raise place.wrong(f"it needs {error}", "use fewer or shorter optional and nested parts") from None
    except RecursionError:
        raise place.wrong("it is nested too deeply", "flatten it") from None


def _value(schema: Any, place: _Place) -> Fragment:
    try:
        return _strict_value(schema, place)
    except UnsupportedSchema:
        if place.limits.strict or not place.path:
            raise
        return free(place.limits.free_depth)


def _strict_value(schema: Any, place: _Place) -> Fragment:
    if next(place.parts) > place.limits.max_parts:
        raise TooManyStates(f"more than {place.limits.max_parts} parts")
    if schema is True:
        return free(place.limits.free_depth)
    if not isinstance(schema, Mapping):
        raise place.wrong(f"{schema!r} is no schema", 'use an object such as {"type": "string"}')
    if place.depth > place.limits.max_depth * 2:
        raise place.wrong("it is nested too deeply or refers to itself", "flatten it")
    for keyword, remedy in _UNSUPPORTED.items():
        if schema.get(keyword) not in (None, False):
            raise place.wrong(f"keyword {keyword!r} is not supported", remedy)
    if "$ref" in schema:
        return _value(_referred(schema["$ref"], place), place.at("$ref"))
    if "const" in schema:
        return _constants([schema["const"]], schema, place)
    if "enum" in schema:
        return _constants(schema["enum"], schema, place)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return _combined(keyword, schema, place)
    kinds = _kinds(schema, place)
    if not kinds:
        return free(place.limits.free_depth)
    options = [_KINDS[kind](schema, place) for kind in kinds]
    if schema.get("nullable") is True and "null" not in kinds:
        options.append(NULL)
    return options[0] if len(options) == 1 else either(*options)


def _kinds(schema: Mapping[str, Any], place: _Place) -> list[str]:
    kinds = schema.get("type")
    if kinds is None:
        if "properties" in schema or "required" in schema:
            return ["object"]
        return ["array"] if "items" in schema or "prefixItems" in schema else []
    listed = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(listed, list) or not listed or any(kind not in _TYPES for kind in listed):
        raise place.wrong(f"type {kinds!r} is unknown", f"use one of {', '.join(_TYPES)}")
    return listed


def _referred(reference: Any, place: _Place) -> Any:
    target: Any = place.root
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise place.wrong(
            f"reference {reference!r} leads out of the schema", "put the definition under $defs"
        )
    for step in filter(None, reference[1:].split("/")):
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping) or step not in target:
            raise place.wrong(f"reference {reference!r} leads nowhere", "put the definition under $defs")
        target = target[step]
    return target


def _constants(values: Any, schema: Mapping[str, Any], place: _Place) -> Fragment:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise place.wrong("enum is no list", "list the values")
    kinds = _kinds(schema, place) if "type" in schema else list(_TYPES)
    if schema.get("nullable") is True:
        kinds = [*kinds, "null"]
    fitting = [value for value in values if any(_is(value, kind) for kind in kinds)]
    if not fitting:
        raise place.wrong(f"no value of the enum has type {schema.get('type')!r}", "correct enum or type")
    _check_text(fitting, place)
    return either(*(constant(value) for value in fitting))


def _check_text(value: Any, place: _Place) -> None:
    """What no call could spell would come back as another text than the tool knows."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise place.wrong("a text with half of a surrogate pair", "write whole characters") from None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        case "number":
            return isinstance(value, int | float)
        case "null":
            return value is None
        case "object":
            return isinstance(value, Mapping)
        case _:
            return kind == "array" and isinstance(value, list | tuple)


def _combined(keyword: str, schema: Mapping[str, Any], place: _Place) -> Fragment:
    options = schema[keyword]
    if not isinstance(options, list) or not options:
        raise place.wrong(f"{keyword} is no list of schemas", "list the alternatives")
    beside = set(schema) - _ANNOTATIONS - {keyword, "nullable", "discriminator"}
    if beside == {"type"} and all(isinstance(o, Mapping) for o in options):
        options = [{"type": schema["type"], **option} for option in options]
    elif beside:
        raise place.wrong(
            f"{', '.join(sorted(beside))} beside {keyword}", f"move it into each part of {keyword}"
        )
    if keyword == "allOf" and len(options) > 1:
        raise place.wrong("allOf with several parts is not supported", "merge them into one object")
    fragments = [_value(option, place.at(keyword, index)) for index, option in enumerate(options)]
    if keyword == "oneOf" and not _disjoint([_resolved(option, place) for option in options]):
        raise place.wrong("the parts of oneOf may overlap", "use anyOf, or give each part its own const")
    if schema.get("nullable") is True:
        fragments.append(NULL)
    return either(*fragments)


def _resolved(schema: Any, place: _Place) -> Any:
    for _ in range(place.limits.max_depth):
        if not (isinstance(schema, Mapping) and "$ref" in schema):
            break
        schema = _referred(schema["$ref"], place)
    return schema


def _disjoint(options: list[Any]) -> bool:
    """Whether no value can fit two options: types differ, or a required const or enum tells them apart."""
    if not all(isinstance(option, Mapping) for option in options):
        return False
    kinds = [option.get("type") for option in options]
    numbers = sum(kind in ("integer", "number") for kind in kinds)
    if all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) == len(kinds) and numbers < 2:
        return True
    tagged: list[set[str]] = []
    for option in options:
        required, properties = option.get("required"), option.get("properties")
        tags: set[str] = set()
        for name, part in properties.items() if isinstance(properties, Mapping) else ():
            if isinstance(required, list) and name in required and isinstance(part, Mapping):
                values = [part["const"]] if "const" in part else part.get("enum")
                listed = values if isinstance(values, list | tuple) else ()
                tags |= {f"{name}={compact_json(value)}" for value in listed}
        tagged.append(tags)
    names = [{tag.split("=", 1)[0] for tag in tags} for tags in tagged]
    shared = set.intersection(*names) if names else set()
    for name in shared:
        told = [tag for tags in tagged for tag in tags if tag.split("=", 1)[0] == name]
        if len(told) == len(set(told)):
            return True
    return False


def _whole(schema: Mapping[str, Any], keyword: str, default: int, place: _Place) -> int:
    value = schema.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise place.wrong(f"{keyword} is {value!r}", "use a whole number, 0 or more")
    return value


def _range(
    schema: Mapping[str, Any], low: str, high: str, default: int, most: int, place: _Place
) -> tuple[int, int | None]:
    at_least = _whole(schema, low, default, place)
    at_most = _whole(schema, high, most, place) if high in schema else None
    if at_most is not None and low not in schema:
        at_least = min(at_least, at_most)
    if at_least > most or (at_most is not None and at_least > at_most):
        raise place.wrong(f"{low} is {at_least}", f"use at most {min(most, at_most or most)}")
    return at_least, None if at_most is None else min(at_most, most)


def _string(schema: Mapping[str, Any], place: _Place) -> Fragment:
    form = schema.get("format")
    if form is not None:
        if not isinstance(form, str) or form not in FORMATS:
            raise place.wrong(
                f"format {form!r} is not supported", f"use one of {', '.join(FORMATS)} or leave it out"
            )
        if {"minLength", "maxLength"} & set(schema):
            raise place.wrong(f"a length beside format {form!r}", "leave one of them out")
        return FORMATS[form]
    low, high = _range(schema, "minLength", "maxLength", 1, place.limits.counted_characters, place)
    return string(low, high)


def _numeric(schema: Mapping[str, Any], place: _Place) -> Fragment:
    whole = schema.get("type") == "integer" or "number" not in _kinds(schema, place)
    low: int | None = None
    high: int | None = None
    for keyword, value in schema.items():
        if keyword not in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            continue
        endless = isinstance(value, float) and not math.isfinite(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or endless:
            raise place.wrong(f"{keyword} is {value!r}", "use a number")
        lowest = keyword.lower().endswith("minimum")
        if abs(value) > WIDEST:
            if (value > 0) is lowest:
                raise place.wrong(f"{keyword} is beyond all numbers that can be said", "use a smaller one")
            continue
        exclusive = keyword.startswith("exclusive")
        if not whole and value != int(value):
            raise place.wrong(
                f"{keyword} of a number is {value!r}", "use a whole bound and check the rest in the tool"
            )
        if not whole and exclusive:
            raise place.wrong(f"{keyword} of a number is not supported", "use minimum or maximum")
        if lowest:
            bound = math.floor(value) + 1 if exclusive else math.ceil(value)
            low = bound if low is None else max(low, bound)
        else:
            bound = math.ceil(value) - 1 if exclusive else math.floor(value)
            high = bound if high is None else min(high, bound)
    try:
        return integer(low, high) if whole else number(low, high)
    except ValueError as error:
        raise place.wrong(str(error), "correct the bounds") from None


def _array(schema: Mapping[str, Any], place: _Place) -> Fragment:
    if "prefixItems" in schema:
        if not isinstance(schema["prefixItems"], list):
            raise place.wrong("prefixItems is no list of schemas", "list a schema for each item")
        parts = [_value(part, place.at("prefixItems", i)) for i, part in enumerate(schema["prefixItems"])]
        low, high = _range(schema, "minItems", "maxItems", len(parts), place.limits.counted_items, place)
        if low != len(parts) or (high is not None and high < len(parts)):
            raise place.wrong(
                "a tuple with parts that may be missing is not supported", "set minItems to its length"
            )
        return listed([(part, True) for part in parts], "[", "]")
    part = schema.get("items", True)
    item = free(place.limits.free_depth - 1) if part is True else _value(part, place.at("items"))
    low, high = _range(schema, "minItems", "maxItems", 0, place.limits.counted_items, place)
    return items(item, low, high)


def _object(schema: Mapping[str, Any], place: _Place) -> Fragment:
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    if not isinstance(properties, Mapping):
        raise place.wrong("properties is no object", "map each name to its schema")
    if not isinstance(required, list) or any(not isinstance(name, str) for name in required):
        raise place.wrong("required is no list of names", "list the names of the required properties")
    extra = schema.get("additionalProperties", True)
    properties = {**properties, **{name: extra for name in required if name not in properties}}
    if not properties and extra is not False:
        value = (
            free(place.limits.free_depth - 1)
            if extra is True
            else _value(extra, place.at("additionalProperties"))
        )
        return mapping(value)
    _check_text(list(properties), place)
    members = [
        (
            sequence(text(compact_json(name) + ":"), _value(part, place.at("properties", name))),
            name in required,
        )
        for name, part in properties.items()
    ]
    return listed(members, "{", "}")


_KINDS: dict[str, Callable[[Mapping[str, Any], _Place], Fragment]] = {
    "string": _string,
    "integer": _numeric,
    "number": _numeric,
    "boolean": lambda schema, place: BOOLEAN,
    "null": lambda schema, place: NULL,
    "object": _object,
    "array": _array,
}
