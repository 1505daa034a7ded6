"""Schemas of other people's tools, cut down to what a model can be held to; their servers check the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNTOLD = frozenset(
    """not if then else multipleOf patternProperties propertyNames minProperties maxProperties
    dependentRequired dependentSchemas dependencies unevaluatedProperties unevaluatedItems
    uniqueItems contains minContains maxContains additionalItems $dynamicRef $recursiveRef format
    pattern""".split()
)
_NAMED = ("properties", "$defs", "definitions")


def as_object(schema: Any) -> dict[str, Any]:
    """The schema of a tool's arguments, which may say less than it should. Raises ValueError."""
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise ValueError("its arguments are no object")
    return {"properties": {}, **schema, "type": "object"}


def simplified(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the keywords that only a validator understands: it takes more values, never fewer."""
    return {key: _simple(key, value) for key, value in schema.items() if key not in _UNTOLD}


def _simple(key: str, value: Any) -> Any:
    if key in _NAMED and isinstance(value, Mapping):
        return {
            name: simplified(inner) if isinstance(inner, Mapping) else inner for name, inner in value.items()
        }
    if key in ("default", "enum", "const", "examples"):
        return value
    if isinstance(value, Mapping):
        return simplified(value)
    if isinstance(value, list):
        return [simplified(inner) if isinstance(inner, Mapping) else inner for inner in value]
    return value


def loosened(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Names and required ones only, each with its description; any value fits."""
    properties = schema.get("properties")
    named = {
        name: {"description": inner["description"]}
        if isinstance(inner, Mapping) and "description" in inner
        else {}
        for name, inner in (properties.items() if isinstance(properties, Mapping) else ())
    }
    required = [name for name in schema.get("required") or () if name in named]
    return {"type": "object", "properties": named, "required": required}
