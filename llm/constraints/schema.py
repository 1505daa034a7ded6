"""JSON schema of a tool's arguments -> regular expression over the bytes of the canonical call text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from .automaton import ByteAutomaton, Fragment, TooManyStates, determinise, either, sequence, text
from .call_text import compact_json
from .literals import BOOLEAN, NULL, constant
from .patterns import PatternError, pattern_automaton
from .place import TYPES, Limits, Place, UnsupportedSchema, bounds, kinds_of
from .scalars import numeric_value, text_value
from .spans import span_strings
from .structures import free, items, listed, mapping

__all__ = ["Limits", "UnsupportedSchema", "byte_automaton", "value_automaton"]

_BOUNDS = frozenset((
    "minItems", "maxItems", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
))  # fmt: skip
ASSERTIONS = _BOUNDS | {
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "required", "items", "prefixItems",
    "pattern",
}  # fmt: skip
"""Keywords that are checked here: each of them holds, wherever it stands."""
_ANNOTATIONS = {
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
    "$comment", "$schema", "$id", "$defs", "definitions", "$anchor", "additionalProperties",
    "contentEncoding", "contentMediaType", "contentSchema",
}  # fmt: skip
_UNSUPPORTED = {
    "not": "say what is allowed instead, with enum or anyOf",
    "if": "split the tool in two", "then": "split the tool in two", "else": "split the tool in two",
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


def byte_automaton(
    schema: Mapping[str, Any], limits: Limits | None = None, said: Sequence[str] = ()
) -> ByteAutomaton:
    """The automaton of the canonical texts ``{...}`` that fit the schema of a tool's arguments.

    An object without `properties` at the top takes no arguments. `said`: the texts of the conversation, for
    strings that are stretches of it ("x-spans-only"); these are free where nothing was said. Raises
    UnsupportedSchema.
    """
    limits = limits or Limits()
    place = Place(schema, limits, spans=cache(lambda: span_strings(said, limits.max_states)))
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise place.wrong(
            "the arguments of a tool are not an object", 'use {"type": "object", "properties": …}'
        )
    top = schema
    if not {"properties", "required", "$ref", "anyOf", "oneOf", "allOf"} & set(schema):
        top = {**schema, "properties": {}, "additionalProperties": False}
    return _determinised({"type": "object", **top}, place)


def value_automaton(schema: Mapping[str, Any] | bool, limits: Limits | None = None) -> ByteAutomaton:
    """The automaton of the texts, in the same form, of values of any schema. Raises UnsupportedSchema."""
    root = schema if isinstance(schema, Mapping) else {}
    return _determinised(schema, Place(root, limits or Limits()))


def _determinised(schema: Any, place: Place) -> ByteAutomaton:
    try:
        return determinise(_value(schema, place), place.limits.max_states)
    except TooManyStates as error:
        raise place.wrong(f"it needs {error}", "use fewer or shorter optional and nested parts") from None
    except RecursionError:
        raise place.wrong("it is nested too deeply", "flatten it") from None


def _value(schema: Any, place: Place) -> Fragment:
    try:
        return _strict_value(schema, place)
    except UnsupportedSchema:
        if place.limits.strict or not place.path:
            raise
        return free(place.limits.free_depth)


def _strict_value(schema: Any, place: Place) -> Fragment:
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
        _check_beside_reference(schema, place)
        return _value(_referred(schema["$ref"], place), place.at("$ref"))
    if "const" in schema:
        return _constants([schema["const"]], schema, place)
    if "enum" in schema:
        return _constants(schema["enum"], schema, place)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return _combined(keyword, schema, place)
    kinds = kinds_of(schema, place)
    if not kinds:
        return free(place.limits.free_depth)
    options = [_KINDS[kind](schema, place) for kind in kinds]
    if schema.get("nullable") is True and "null" not in kinds:
        options.append(NULL)
    return options[0] if len(options) == 1 else either(*options)


def _referred(reference: Any, place: Place) -> Any:
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


def _check_beside_reference(schema: Mapping[str, Any], place: Place) -> None:
    """What stands beside a reference holds as well; only a type that says the same is taken."""
    target = _resolved(schema, place)
    same = isinstance(target, Mapping) and target.get("type") == schema.get("type")
    beside = (set(schema) & ASSERTIONS) - ({"type"} if same else set())
    if beside:
        raise place.wrong(f"{', '.join(sorted(beside))} beside $ref", "move it into the definition")


def _constants(values: Any, schema: Mapping[str, Any], place: Place) -> Fragment:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise place.wrong("enum is no list", "list the values")
    kinds = kinds_of(schema, place) if "type" in schema else list(TYPES)
    if schema.get("nullable") is True:
        kinds = [*kinds, "null"]
    fitting = [value for value in values if any(_is(value, kind) for kind in kinds)]
    if not fitting:
        raise place.wrong(f"no value of the enum has type {schema.get('type')!r}", "correct enum or type")
    fitting = _within_bounds(fitting, schema, place)
    _check_text(fitting, place)
    if place.among and any(_opens_with_space(value) for value in fitting):
        raise place.wrong("among alternatives a constant text begins with a space", "leave the space out")
    return either(*(constant(value) for value in fitting))


def _within_bounds(values: list[Any], schema: Mapping[str, Any], place: Place) -> list[Any]:
    """Those constants that what stands beside them allows: lengths, numeric bounds, a pattern."""
    beside = ASSERTIONS & schema.keys() - {"type", "const" if "const" in schema else "enum"}
    if unknown := beside - _BOUNDS - {"pattern"}:
        raise place.wrong(f"{', '.join(sorted(unknown))} beside enum or const", "leave it out")
    if not beside:
        return values
    try:
        bounds = Draft202012Validator({keyword: schema[keyword] for keyword in beside & _BOUNDS})
        values = [value for value in values if bounds.is_valid(value)]
        if "pattern" in schema:
            language = pattern_automaton(schema["pattern"], place.limits.max_states)
            values = [
                v for v in values if not isinstance(v, str) or language.accepts(compact_json(v).encode())
            ]
    except (TypeError, PatternError) as error:
        raise place.wrong(
            f"{', '.join(sorted(beside))} beside enum or const: {error}", "leave it out"
        ) from None
    if not values:
        raise place.wrong(f"no constant fits {', '.join(sorted(beside))}", "correct one of them")
    return values


def _check_text(value: Any, place: Place) -> None:
    """What no call could spell would come back as another text than the tool knows."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise place.wrong("a text with half of a surrogate pair", "write whole characters") from None


def _opens_with_space(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_opens_with_space, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_opens_with_space, value))
    return isinstance(value, str) and value.startswith(" ")


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


def _combined(keyword: str, schema: Mapping[str, Any], place: Place) -> Fragment:
    options = schema[keyword]
    if not isinstance(options, list) or not options:
        raise place.wrong(f"{keyword} is no list of schemas", "list the alternatives")
    beside = set(schema) - _ANNOTATIONS - {keyword, "nullable", "discriminator"}
    if beside == {"type"} and all(isinstance(o, Mapping) for o in options):
        kinds = set(kinds_of(schema, place))
        if any("type" in option and not set(kinds_of(option, place)) <= kinds for option in options):
            raise place.wrong(f"a part of {keyword} has another type", "leave the type out beside it")
        options = [{"type": schema["type"], **option} for option in options]
    elif beside:
        raise place.wrong(
            f"{', '.join(sorted(beside))} beside {keyword}", f"move it into each part of {keyword}"
        )
    if keyword == "allOf" and len(options) > 1:
        raise place.wrong("allOf with several parts is not supported", "merge them into one object")
    if sum(not (isinstance(o, Mapping) and o.get("type") == "null") for o in options) > 1:
        place = replace(place, among=True)
    fragments = [_value(option, place.at(keyword, index)) for index, option in enumerate(options)]
    if keyword == "oneOf" and not _disjoint([_resolved(option, place) for option in options]):
        raise place.wrong("the parts of oneOf may overlap", "use anyOf, or give each part its own const")
    if schema.get("nullable") is True:
        fragments.append(NULL)
    return either(*fragments)


def _resolved(schema: Any, place: Place) -> Any:
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


def _array(schema: Mapping[str, Any], place: Place) -> Fragment:
    if "prefixItems" in schema:
        if not isinstance(schema["prefixItems"], list):
            raise place.wrong("prefixItems is no list of schemas", "list a schema for each item")
        parts = [_value(part, place.at("prefixItems", i)) for i, part in enumerate(schema["prefixItems"])]
        low, high = bounds(schema, "minItems", "maxItems", len(parts), place.limits.counted_items, place)
        if low != len(parts) or (high is not None and high < len(parts)):
            raise place.wrong(
                "a tuple with parts that may be missing is not supported", "set minItems to its length"
            )
        return listed([(part, True) for part in parts], "[", "]")
    part = schema.get("items", True)
    item = free(place.limits.free_depth - 1) if part is True else _value(part, place.at("items"))
    low, high = bounds(schema, "minItems", "maxItems", 0, place.limits.counted_items, place)
    return items(item, low, high)


def _object(schema: Mapping[str, Any], place: Place) -> Fragment:
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


_KINDS: dict[str, Callable[[Mapping[str, Any], Place], Fragment]] = {
    "string": text_value,
    "integer": numeric_value,
    "number": numeric_value,
    "boolean": lambda schema, place: BOOLEAN,
    "null": lambda schema, place: NULL,
    "object": _object,
    "array": _array,
}
