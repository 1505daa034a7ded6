"""JSON schemas and validation for the arguments of typed Python functions (by pydantic)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model


class ArgumentError(ValueError):
    """Arguments do not fit a tool; the message names the argument and can be spoken about."""


_REASONS = {"int_parsing": "it must be a whole number", "float_parsing": "it must be a number"}
_REASONS |= {"int_type": _REASONS["int_parsing"], "int_from_float": _REASONS["int_parsing"]}


class _Arguments(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=False,
        coerce_numbers_to_str=True,
        validate_default=False,
        str_strip_whitespace=True,
    )


def arguments_model(function: Callable[..., Any], name: str) -> type[BaseModel]:
    """A pydantic model of a function's arguments; field `a0`, `a1`, ... with the argument as alias.

    Raises:
        TypeError: an argument has no type, a type that no schema describes, or is `*args`, `**kwargs`
            or positional-only.
    """
    signature = inspect.signature(function)
    hints = _type_hints(function, name)
    described = argument_descriptions(inspect.getdoc(function) or "")
    fields: dict[str, Any] = {}
    for index, (argument, parameter) in enumerate(signature.parameters.items()):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"Tool {name}: give '{argument}' a name of its own; a schema cannot describe it.")
        if argument not in hints:
            raise TypeError(f"Tool {name}: give the argument '{argument}' a type.")
        default = ... if parameter.default is parameter.empty else parameter.default
        # An alias, for a field of pydantic may not be called "copy" or "_x", an argument may.
        field = Field(default, alias=argument, description=described.get(argument))
        fields[f"a{index}"] = (hints[argument], field)
    try:
        return create_model(name, __base__=_Arguments, **fields)
    except Exception as error:
        raise TypeError(f"Tool {name}: its arguments cannot be described as JSON: {error}") from error


def _type_hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    target = inspect.unwrap(function)
    enclosing: dict[str, Any] = {}
    if not inspect.isroutine(target):
        target = vars(type(target)).get("__call__", target)
    if inspect.isfunction(target):
        enclosing = dict(inspect.getclosurevars(target).nonlocals)
    try:
        return get_type_hints(target, localns=enclosing or None, include_extras=True)
    except Exception as error:
        raise TypeError(
            f"Tool {name}: a type could not be resolved ({error}). Its module must know the types."
        ) from error


def parameters_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model as a plain JSON schema of an object: no references, titles or nulls."""
    try:
        schema = model.model_json_schema(by_alias=True)
    except Exception as error:
        raise TypeError(
            f"Tool {model.__name__}: its arguments cannot be described as JSON: {error}"
        ) from error
    definitions = schema.pop("$defs", {})
    plain = _plain(schema, definitions, ())
    return {
        "type": "object",
        "properties": plain.get("properties", {}),
        "required": plain.get("required", []),
        "additionalProperties": False,
    }


def _plain(node: Any, definitions: Mapping[str, Any], seen: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions, seen) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = node["$ref"].rsplit("/", 1)[-1]
        if target in seen:
            raise TypeError(f"the type {target} contains itself")
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        resolved = _plain(definitions[target], definitions, (*seen, target))
        return {**resolved, **_plain(siblings, definitions, seen)}
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _plain(inner, definitions, seen) for name, inner in value.items()}
        elif key == "title" or (key == "default" and value is None):
            continue
        elif key in ("default", "enum", "const", "examples"):
            result[key] = value
        else:
            result[key] = _plain(value, definitions, seen)
    options = result.get("anyOf")
    if options is not None:
        options = [option for option in options if option != {"type": "null"}]
        if len(options) == 1:
            del result["anyOf"]
            # The field's own description is nearer than its type's.
            return {**options[0], **result}
        result["anyOf"] = options
    return result


def validate(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the function takes them; absent optional ones are left out.

    Raises:
        ArgumentError: they do not fit; the message names the first argument that does not.
    """
    name = model.__name__
    if not isinstance(arguments, Mapping):
        raise ArgumentError(f"The arguments of {name} must be an object, not {type(arguments).__name__}.")
    nullable = {field.alias for field in model.model_fields.values() if not field.is_required()}
    given = {key: value for key, value in arguments.items() if value is not None or key not in nullable}
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        raise ArgumentError(_explain(name, error)) from error
    return {
        str(model.model_fields[field].alias): getattr(checked, field)
        for field in model.model_fields
        if field in checked.model_fields_set
    }


def _explain(name: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "arguments"
    if first["type"] == "missing":
        return f"{name} needs the argument '{where}'."
    if first["type"] == "extra_forbidden":
        return f"{name} has no argument '{where}'."
    value = repr(first.get("input"))
    value = value if len(value) <= 60 else value[:60] + "..."
    reason = _REASONS.get(first["type"], str(first["msg"]))
    return f"The argument '{where}' of {name} is wrong: {reason[:1].lower()}{reason[1:]}, not {value}."


def first_paragraph(docstring: str) -> str:
    """A docstring's first paragraph on one line."""
    return " ".join(docstring.strip().split("\n\n")[0].split())


def argument_descriptions(docstring: str) -> dict[str, str]:
    """What a docstring's `Args:` section says of each argument."""
    lines = inspect.cleandoc(docstring).splitlines()
    start = next(
        (i for i, line in enumerate(lines) if re.fullmatch(r"(Args|Arguments|Parameters):\s*", line)), None
    )
    found: dict[str, str] = {}
    if start is None:
        return found
    current, depth = "", 0
    for line in lines[start + 1 :]:
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent == 0:
            break
        entry = re.match(r"\s+(\w+)\s*(?:\([^)]*\))?:\s*(.*)", line)
        if entry and (not current or indent <= depth):
            current, depth = entry[1], indent
            found[current] = entry[2].strip()
        elif current and line.strip():
            found[current] = f"{found[current]} {line.strip()}".strip()
    return found
