"""What a colleague should know when a call is handed over, written from the call's own record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

LAST = 3
"""Of what the caller said, so many of the last turns are quoted."""


def summary(caller: str, name: str | None, messages: Sequence[Mapping[str, Any]]) -> str:
    """Who called, what for, what was done and what failed, and the last words; from a call's messages.

    Nothing in it is made up: words as recognised, calls with their results.
    """
    said = [m["content"] for m in messages if m["role"] == "user" and m["content"]]
    lines = [f"Caller: {name or 'not known'} ({caller or 'number withheld'})"]
    lines.append(f"Wanted: {said[0]}" if said else "Wanted: said nothing that was understood")
    made = {call["id"]: call for m in messages for call in m.get("tool_calls") or []}
    for message in messages:
        if message["role"] != "tool":
            continue
        call = made.get(message["tool_call_id"])
        asked = _arguments(call["arguments"]) if call is not None else ""
        result = _read(message["content"])
        failed = isinstance(result, Mapping) and "error" in result
        came = result["error"] if failed else _told(result)
        lines.append(f"{'Failed' if failed else 'Done'}: {message['name']}({asked}): {came}")
    lines += [f"Said at last: {words}" for words in said[1:][-LAST:]]
    return "\n".join(lines)


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items())


def _read(content: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


def _told(result: Any) -> str:
    if isinstance(result, Mapping):
        return _arguments(result)
    if isinstance(result, list):
        return "; ".join(_told(each) for each in result)
    return str(result)
