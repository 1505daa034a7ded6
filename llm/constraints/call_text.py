"""The text of a tool call, ``name{"key":" value","n":4}``: the one form that is trained on and written.

Keys stand in schema order, absent optionals are left out, there are no spaces between parts, and text is
plain UTF-8 (only ``"``, ``\\`` and control characters are escaped). A string whose text is free begins with a
space, as every word in running text does: so a name is the same tokens in a call as where the caller said
it. Enums, constants, dates and texts with a pattern have none. Training text and the constraint automaton
share this form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

PLAIN_FORMATS = frozenset(("date", "time", "date-time", "uuid", "email"))
"""String formats that are written in one plain form each."""


class CallTextError(ValueError):
    """The text is not a call of the form ``name{...}``."""


def compact_json(value: Any) -> str:
    """JSON text of any value, no spaces, plain UTF-8; what JSON cannot hold becomes null or a string."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def serialise_call(name: str, arguments: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> str:
    """The canonical text of a call.

    Keys follow ``schema["properties"]`` (nested objects and array items too); keys that the schema does not
    know follow in their own order. Never raises because of the schema: parts it cannot read are ignored.
    """
    return name + compact_json(_walked(dict(arguments), schema, schema, _with_space))


def spaced(value: Any) -> Any:
    """A value with a space before the text of every string in it (names of members keep theirs)."""
    return _walked(value, None, None, _with_space)


def parse_call(text: str, schema: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a call's text; the arguments come back in the schema's order, without the spaces.

    Raises CallTextError if there is no name, no object, or text after the object.
    """
    stripped = text.strip()
    brace = stripped.find("{")
    if brace < 1:
        raise CallTextError(f"not a call: {text[:80]!r} (expected name{{...}})")
    name = stripped[:brace].strip()
    try:
        arguments = json.loads(stripped[brace:])
    except (json.JSONDecodeError, RecursionError) as error:
        raise CallTextError(f"the arguments of {name!r} are no JSON object: {error}") from error
    return name, _walked(arguments, schema, schema, _without_space)


def parse_value(text: str, schema: Any = None) -> Any:
    """A value from its text in the form of a call's arguments. Raises CallTextError if it is no JSON."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CallTextError(f"this is no JSON: {error}") from error
    return _walked(value, schema, schema, _without_space)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_well_formed(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _well_formed(str(value))


def _well_formed(text: str) -> str:
    # A lone surrogate has no UTF-8 form; the replacement character stands for it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _resolve(schema: Any, root: Any) -> Any:
    """Follow ``#/...`` references and Optional (``anyOf`` with null) to the schema that names keys."""
    for _ in range(16):
        if not isinstance(schema, Mapping):
            return None
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            target = root
            for part in reference[2:].split("/"):
                target = target.get(part) if isinstance(target, Mapping) else None
            schema = target
            continue
        for key in ("anyOf", "oneOf", "allOf"):
            options = schema.get(key)
            if "properties" not in schema and isinstance(options, list):
                rest = [o for o in options if not (isinstance(o, Mapping) and o.get("type") == "null")]
                if len(rest) == 1:
                    schema = rest[0]
                    break
        else:
            return schema
    return None


def _with_space(text: str, schema: Any, root: Any) -> str:
    return f" {text}" if _is_free(text, schema, root) else text


def _without_space(text: str, schema: Any, root: Any) -> str:
    return text.removeprefix(" ") if _is_free(text, schema, root) else text


def _is_free(text: str, schema: Any, root: Any) -> bool:
    """Whether a schema leaves a string's text free, rather than being a constant or a plain form."""
    resolved = _resolve(schema, root)
    if resolved is None:
        return True
    if options := resolved.get("anyOf") or resolved.get("oneOf"):
        listed = [_resolve(option, root) or {} for option in options]
        if any(text in option.get("enum", [option.get("const")]) for option in listed):
            return False
        return any(_is_free(text, option, root) for option in listed if _takes_strings(option))
    return not ({"enum", "const", "pattern"} & resolved.keys() or resolved.get("format") in PLAIN_FORMATS)


def _takes_strings(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type", "string")
    return "string" in ([kinds] if isinstance(kinds, str) else kinds)


def _walked(value: Any, schema: Any, root: Any, change: Callable[[str, Any, Any], str]) -> Any:
    """The value with its keys in the schema's order and its strings changed."""
    if isinstance(value, str):
        return change(value, schema, root)
    resolved = _resolve(schema, root)
    if resolved is not None and {"enum", "const"} & resolved.keys():
        return value
    if isinstance(value, Mapping):
        properties = resolved.get("properties") if resolved is not None else None
        if not isinstance(properties, Mapping):
            properties = {}
        known = {
            key: _walked(value[key], properties[key], root, change) for key in properties if key in value
        }
        extra = resolved.get("additionalProperties") if resolved is not None else None
        return known | {
            key: _walked(item, extra, root, change) for key, item in value.items() if key not in known
        }
    if isinstance(value, list | tuple):
        first = resolved.get("prefixItems") if resolved is not None else None
        items = resolved.get("items") if resolved is not None else None
        own = first if isinstance(first, list) else []
        return [
            _walked(item, part, root, change)
            for item, part in zip_longest(value, own[: len(value)], fillvalue=items)
        ]
    return value
