"""A dialogue as tokens: the one place where marks are put around text (frozen, FORMAT_VERSION).

    <system> text \\n name(arg: type|enum, optional?: type) description … <end>
    <user> words <end>
    <say> reply <end>        <call> name{"a":"b"} <end>        <say> words <call> name{…} <end>
    <tool> name {"result":…} <end>

Every word stands behind a space, also the first one of a turn, of a free string in a call and of one in a
result: a name is the same tokens wherever it stands, so that to copy it is to copy tokens. (In version 1 what
the caller called " Maple" had to be written as "M", "aple".)

A `Segment` is one stretch of it. In agents' segments `body` is what a canvas holds: the reply after
`<say>`, or the arguments after `<call> name`, each with the mark that ends it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any, Literal, TypeVar

from stretto.llm.constraints.call_text import compact_json, serialise_call, spaced
from stretto.llm.language_model import ToolSpec
from stretto.llm.tokenizer import CALL, END, SAY, SYSTEM, TOOL, USER, Tokenizer

RESULT_BUDGET = 160
"""Tokens of a tool's result that the model reads; longer results lose whole fields from the end."""

T = TypeVar("T")
Kind = Literal["system", "user", "say", "call", "tool"]


@dataclass(frozen=True)
class Segment:
    """`head` is read causally (mark, tool name); `body` ends with `<end>`, or `<call>` if one follows.

    `pauses`, for training: what a recogniser wrote of a caller's turn at pauses in it, without the full stop
    that it puts there, each with the one token that came next. `learn` is False for what an agent said or
    did by mistake: it is read, never imitated. `routed` is False where the agent of the source never speaks,
    so that its call says nothing about when to call. `own`: the body that the model itself writes here.
    """

    kind: Kind
    head: tuple[int, ...]
    body: tuple[int, ...]
    pauses: tuple[tuple[int, ...], ...] = ()
    learn: bool = True
    routed: bool = True
    own: tuple[int, ...] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens of the segment."""
        return self.head + self.body


def describe_type(schema: Any) -> str:
    """A JSON schema's type in a few characters: `string`, `a|b|c`, `integer[]`. Never raises."""
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(values := schema.get("enum"), list | tuple):
        return "|".join(str(v) for v in values[:12])
    among = schema.get("anyOf")
    among = among if isinstance(among, list | tuple) else ()
    options = [o for o in among if not (isinstance(o, Mapping) and o.get("type") == "null")]
    if options:
        return describe_type(options[0])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "any")
    if kind == "array":
        return describe_type(schema.get("items", {})) + "[]"
    return f"{kind} {schema['format']}" if "format" in schema else str(kind)


def describe_tool(name: str, description: str, parameters: Mapping[str, Any]) -> str:
    """One line of the system segment for one tool."""
    properties, required = parameters.get("properties"), parameters.get("required")
    needed = required if isinstance(required, list | tuple) else ()
    arguments = ", ".join(
        f"{key}{'' if key in needed else '?'}: {describe_type(value)}"
        for key, value in (properties.items() if isinstance(properties, Mapping) else ())
    )
    return f"{name}({arguments}) {description.strip()}".strip()


def system_segment(tokenizer: Tokenizer, text: str, tools: Sequence[ToolSpec]) -> Segment:
    """The system text and the tools, a line each."""
    lines = [text.strip(), *(describe_tool(t.name, t.description, t.parameters) for t in tools)]
    return Segment("system", (SYSTEM,), (*tokenizer.encode("\n".join(lines)), END))


def user_segment(tokenizer: Tokenizer, words: str) -> Segment:
    """What the caller said."""
    return Segment("user", (USER,), (*spoken_ids(tokenizer, words), END))


def say_segment(tokenizer: Tokenizer, words: str, call_follows: bool = False) -> Segment:
    """What the agent says."""
    return Segment("say", (SAY,), (*spoken_ids(tokenizer, words), CALL if call_follows else END))


def spoken_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Running text with a space before its first word too."""
    return tokenizer.encode(f" {text.strip()}") if text.strip() else []


def opening_brace(tokenizer: Tokenizer) -> int:
    """The token that stands between the name of a tool and its arguments."""
    return tokenizer.encode('{"')[0]


def call_segment(
    tokenizer: Tokenizer,
    name: str,
    arguments: Mapping[str, Any],
    schema: Mapping[str, Any] | None,
    first: bool = True,
    call_follows: bool = False,
) -> Segment:
    """A call. `first` is False where the segment before already ended in this call's `<call>` mark."""
    text = serialise_call(name, arguments, schema)[len(name) :]
    mark = (CALL,) if first else ()
    return Segment(
        "call", (*mark, *tokenizer.encode(name)), (*tokenizer.encode(text), CALL if call_follows else END)
    )


def tool_segment(tokenizer: Tokenizer, name: str, content: str) -> Segment:
    """A result, cut to RESULT_BUDGET tokens by whole fields and items."""
    return Segment("tool", (TOOL,), (*tokenizer.encode(f"{name} {fit_result(tokenizer, content)}"), END))


def fit_result(tokenizer: Tokenizer, content: str, budget: int = RESULT_BUDGET) -> str:
    """Compact JSON (or text) of at most `budget` tokens: the first fields and items."""
    try:
        value = json.loads(content)
    except ValueError:
        ids = tokenizer.encode(content)
        return content if len(ids) <= budget else tokenizer.decode(ids[:budget]).rstrip("\ufffd")

    def text(count: int) -> str:
        return compact_json(spaced(_beginning(value, iter(range(count)))))

    # Searched for by halves: to drop the fields of a long table one by one takes minutes. A token has a few
    # characters, so that no more fields than these can be kept.
    most = budget * max(len(piece or b"") for piece in tokenizer.token_bytes)
    kept = bisect_right(range(most + 1), budget, key=lambda count: len(tokenizer.encode(text(count)))) - 1
    if kept < 0:
        return tokenizer.decode(tokenizer.encode(text(0))[:budget]).rstrip("\ufffd")
    return text(kept)


def _beginning(value: Any, places: Iterator[int]) -> Any:
    """The value with as many of its fields and items as there are places, in the order of its text."""
    if isinstance(value, dict):
        return {key: _beginning(item, places) for (key, item), _ in _placed(value.items(), places)}
    if isinstance(value, list):
        return [_beginning(item, places) for item, _ in _placed(value, places)]
    return value


def _placed(items: Iterable[T], places: Iterator[int]) -> Iterator[tuple[T, int]]:
    for item in items:
        if (place := next(places, None)) is None:
            return
        yield item, place


@dataclass(frozen=True)
class Spec:
    """A tool as the data describes it."""

    name: str
    description: str
    parameters: Mapping[str, Any]


def tools_of(dialogue: Mapping[str, Any]) -> list[Spec]:
    """The tools of a dialogue of the data format."""
    return [Spec(t["name"], t.get("description", ""), t["parameters"]) for t in dialogue["tools"]]


def dialogue_segments(tokenizer: Tokenizer, dialogue: Mapping[str, Any]) -> list[Segment]:
    """A dialogue of the data format (`messages`, `tools`) as segments."""
    tools = tools_of(dialogue)
    schemas = {t.name: t.parameters for t in tools}
    messages = list(dialogue["messages"])
    system = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    spoken = (message_segments(tokenizer, message, schemas) for message in messages)
    return [system_segment(tokenizer, system, tools), *chain.from_iterable(spoken)]


def message_segments(
    tokenizer: Tokenizer, message: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]]
) -> list[Segment]:
    """One message of a dialogue, other than the system's; `schemas`: the tools' parameters by name."""
    role, content = message["role"], (message.get("content") or "").strip()
    if role == "user":
        pauses = tuple(_at_pause(tokenizer, *pause) for pause in message.get("pauses", ()))
        return [replace(user_segment(tokenizer, content), pauses=pauses)]
    if role == "tool":
        return [tool_segment(tokenizer, message.get("name", "tool"), content)]
    turn = _turn_segments(tokenizer, message, schemas)
    if "own" in message:
        own = _turn_segments(tokenizer, message["own"], schemas)
        paired = zip_longest(turn, own[: len(turn)])
        turn = [replace(s, own=o.body) if o is not None and o.head == s.head else s for s, o in paired]
    return [replace(s, learn=not message.get("slip", False)) for s in turn]


def _turn_segments(
    tokenizer: Tokenizer, message: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]]
) -> list[Segment]:
    """An agent's message: its words, then its calls."""
    content, calls = (message.get("content") or "").strip(), message.get("tool_calls") or []
    segments = [say_segment(tokenizer, content, bool(calls))] if content else []
    for i, call in enumerate(calls):
        segments.append(
            call_segment(
                tokenizer,
                call["name"],
                call["arguments"],
                schemas.get(call["name"]),
                first=not content and i == 0,
                call_follows=i + 1 < len(calls),
            )
        )
    return segments


def _at_pause(tokenizer: Tokenizer, heard: str, rest: str) -> tuple[int, ...]:
    """The tokens of what was heard before a pause, and the first one of what followed."""
    return (*spoken_ids(tokenizer, heard.rstrip(" .,;:!?…-")), tokenizer.encode(f" {rest}")[0])
