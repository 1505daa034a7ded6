"""The page of reference, made from the types of the settings so that it cannot fall behind them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from stretto.agent.setting_types import NESTED, PREFIX, is_secret, section_of, sections_of, variable
from stretto.agent.settings import Settings


def page() -> str:
    """The page of reference, Markdown: every section with its keys, types, defaults and variables."""
    parts = [_HEAD, "\n".join(_section(Settings, "The top of the file", ()))]
    for names, kind in _sections(Settings, ()):
        parts.append("\n".join(_section(kind, f"`[{'.'.join(names)}]`", names)))
    return "\n\n".join(parts) + "\n"


_HEAD = f"""# Configuration

*Made from the types in `agent/settings.py`: `python -m stretto.agent.reference > agent/CONFIGURATION.md`.*

What is typed counts first: flags, then environment variables, then the file, then the defaults below. The
file is the one that `--config` names, else `stretto.toml` in the folder you stand in, if there is one:

```toml
effort = "high"          # for every command that has a flag --effort
facts = "our-shop.md"

[serve]
port = 9000              # or {PREFIX}SERVE{NESTED}PORT=9000
key_file = "keys.txt"

[call.canned]
greeting = "Harbor Bikes, good morning."

[demo]                   # a command's name: flags of that command alone
seed = 102
```

Any other flag may stand in the file by its name, too (`show_canvas = true`): at the top for every command
that has it, in a table of the command's name (`[demo]`, `[llm.train]`) for that one. Relative paths count
from the folder you stand in. An empty variable counts as none. A key, a table or a value that Stretto does
not know is refused with exit code 2; `stretto doctor` tells what is set. Keys marked *secret* are no flags
and are never shown."""


def _sections(
    kind: type[BaseModel], names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    for name, field in kind.model_fields.items():
        if (inner := section_of(field)) is not None:
            yield (*names, name), inner
            yield from _sections(inner, (*names, name))
        elif (inner := sections_of(field)) is not None:
            yield (*names, name, "NAME"), inner


def _section(kind: type[BaseModel], title: str, names: tuple[str, ...]) -> Iterator[str]:
    schema = kind.model_json_schema()["properties"]
    yield f"## {title}\n\n{' '.join((kind.__doc__ or '').split())}\n"
    yield "| key | type | default | environment variable | what it does |"
    yield "|---|---|---|---|---|"
    for name, field in kind.model_fields.items():
        if section_of(field) is None and sections_of(field) is None:
            cells = (
                f"`{name}`",
                _kind(schema[name]) + (" *(secret)*" if is_secret(field) else ""),
                _default(field.default),
                f"`{variable((*names, name))}`",
                field.description or "",
            )
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}s"
    if schema["type"] == "object":
        return "table of texts"
    kinds = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    kind = "path" if schema.get("format") == "path" else kinds[schema["type"]]
    least, most = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        return f"{kind} above {schema['exclusiveMinimum']}"
    if least is None:
        return kind
    return f"{kind}, {least} to {most}" if most is not None else f"{kind}, {least} or more"


def _default(value: Any) -> str:
    return "none" if value is None or value in ([], {}) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(page())
