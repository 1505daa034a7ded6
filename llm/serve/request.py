"""The body of a request for a completion -> what is asked of a conversation.

What would change the answer and cannot be had is refused, not ignored; fields nobody here knows are ignored,
as such servers do.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, Field, ValidationError
from stretto.llm.format import Spec, message_segments, system_segment
from stretto.llm.language_model import AUTO, FREE, Effort, Steering, ToolChoice, ToolSpec
from stretto.llm.serve.error import ApiError
from stretto.llm.serve.messages import NAME, Loose, Message, dialogue
from stretto.llm.tokenizer import Tokenizer

MOST_STOPS = 16
FREE_OBJECT: Mapping[str, Any] = {"type": "object", "properties": {}}
"""Of `json_object`: any names, any values."""
NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
EFFORTS: dict[str, Effort] = {
    "none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high"
}  # fmt: skip
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": (),
    "web_search_options": (),
    "prompt": (),
}
"""Fields that are not supported: the values of them that ask for nothing (null does not either)."""
INSTEAD = {
    "n": "ask as often as you want answers",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "prompt": "give messages",
}
"""What to do without them, where it is not to leave them out."""


class Function(Loose):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Loose):
    type: str = "function"
    function: Function | None = None


class JsonSchema(Loose):
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class ResponseFormat(Loose):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Loose):
    include_usage: bool | None = None
    include_canvas: bool | None = None


class Body(Loose):
    """What is read of a body; the rest is kept beside it."""

    model_config = ConfigDict(extra="allow")

    messages: list[Message] = Field(min_length=1)
    model: str | None = None
    tools: list[Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    deadline_ms: float | None = Field(None, gt=0)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Any = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class DialogueTokenizer(Protocol):
    """The tokenizer of a model that has a form of its own for dialogues."""

    def encode(self, text: str) -> list[int]: ...
    def prompt_tokens(
        self, system: str, history: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec]
    ) -> int: ...


@dataclass(frozen=True)
class Asked:
    """One request. `parallel` False: of several calls only the first is wanted."""

    system: str
    history: Sequence[Mapping[str, Any]]
    tools: Sequence[Spec] = ()
    choice: ToolChoice = AUTO
    steering: Steering = FREE
    effort: Effort | None = None
    deadline_ms: float | None = None
    stops: tuple[str, ...] = ()
    parallel: bool = True
    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    include_canvas: bool = False

    def prompt_tokens(self, tokenizer: Tokenizer | DialogueTokenizer) -> int:
        """Tokens of all that the model reads before it writes."""
        if not isinstance(tokenizer, Tokenizer):
            return tokenizer.prompt_tokens(self.system, self.history, self.tools)
        schemas = {tool.name: tool.parameters for tool in self.tools}
        told = (s for message in self.history for s in message_segments(tokenizer, message, schemas))
        return sum(len(s.ids) for s in (system_segment(tokenizer, self.system, self.tools), *told))


def asked(body: bytes) -> Asked:
    """Read a body. Raises ApiError."""
    try:
        read = Body.model_validate_json(body)
    except ValidationError as error:
        raise _wrong(error) from None
    _refuse_unsupported(read.model_extra or {})
    system, history = dialogue(read.messages)
    tools = _tools(read.tools or ())
    tools, choice = _choice(read.tool_choice, tools)
    most = [n for n in (read.max_tokens, read.max_completion_tokens) if n is not None]
    options = read.stream_options or StreamOptions()
    return Asked(
        system,
        history,
        tools,
        choice,
        Steering(
            most_tokens=min(most, default=None),
            schema=_schema(read.response_format),
            temperature=read.temperature or 0.0,
            seed=_seed(read.seed, read.temperature),
        ),
        _effort(read.reasoning_effort),
        read.deadline_ms,
        _stops(read.stop),
        read.parallel_tool_calls is not False,
        read.model,
        bool(read.stream),
        bool(options.include_usage),
        bool(options.include_canvas),
    )


def _refuse_unsupported(fields: Mapping[str, Any]) -> None:
    for name, neutral in NEUTRAL.items():
        value = fields.get(name)
        if value is not None and value not in neutral:
            remedy = INSTEAD.get(name, "leave it out")
            raise ApiError(f"{name} is not supported: {remedy}", param=name, code="unsupported_parameter")


def _wrong(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(f"the body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    place = ".".join(str(step) for step in first["loc"])
    told = first["msg"].replace("Input should be", "it should be")
    return ApiError(f"{place or 'the body'}: {told}", param=place or None)


def _tools(tools: Sequence[Tool]) -> list[Spec]:
    specs: list[Spec] = []
    for number, tool in enumerate(tools):
        place = f"tools.{number}"
        if tool.type != "function" or tool.function is None:
            raise ApiError(f"{place} is no function: give {{'type': 'function', 'function': …}}", param=place)
        function = tool.function
        if not re.match(NAME, function.name):
            raise ApiError(
                f"{place}.function.name {function.name[:80]!r}: use 1 to 64 letters, digits, _ and -",
                param=f"{place}.function.name",
            )
        if any(spec.name == function.name for spec in specs):
            raise ApiError(f"two tools have the name {function.name}", param=f"{place}.function.name")
        parameters = NO_ARGUMENTS if function.parameters is None else function.parameters
        specs.append(Spec(function.name, function.description or "", parameters))
    return specs


def _choice(asked_for: Any, tools: list[Spec]) -> tuple[list[Spec], ToolChoice]:
    """The tools that are offered, and whether one must be called."""
    if asked_for in (None, "auto"):
        return tools, AUTO
    if asked_for == "none":
        return tools, ToolChoice("none")
    if asked_for == "required":
        if not tools:
            raise ApiError("tool_choice is required, but there are no tools", param="tool_choice")
        return tools, ToolChoice("required")
    if (name := _name(asked_for)) is not None:
        return tools, ToolChoice("required", frozenset((_known(name, tools),)))
    match asked_for:
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [_, *_] as named}}:
            names = frozenset(_known(_name(tool), tools) for tool in named)
            if mode == "auto":
                return [tool for tool in tools if tool.name in names], AUTO
            if mode == "required":
                return tools, ToolChoice("required", names)
    raise ApiError(
        "tool_choice is auto, none, required or {'type': 'function', 'function': {'name': …}}",
        param="tool_choice",
    )


def _name(tool: Any) -> Any:
    """What a function is called by a choice, in its nested or its flat form."""
    match tool:
        case {"type": "function", "function": {"name": name}} | {"type": "function", "name": name}:
            return name
    return None


def _known(name: Any, tools: Sequence[Spec]) -> str:
    for tool in tools:
        if tool.name == name:
            return tool.name
    raise ApiError(f"tool_choice names {str(name)[:80]!r}, which is none of the tools", param="tool_choice")


def _schema(form: ResponseFormat | None) -> Mapping[str, Any] | None:
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return FREE_OBJECT
    schema = form.json_schema.schema_ if form.json_schema is not None else None
    if schema is None:
        raise ApiError(
            "response_format json_schema needs {'json_schema': {'name': …, 'schema': …}}",
            param="response_format.json_schema.schema",
        )
    if schema.get("type") == "object" and len(schema) == 1:
        return FREE_OBJECT
    return schema


def _seed(seed: int | None, temperature: float | None) -> int:
    """Where tokens are drawn and no seed is given, every answer is another one."""
    if seed is None:
        return secrets.randbits(31) if temperature else 0
    return seed % 2**63


def _effort(name: str | None) -> Effort | None:
    if name is None:
        return None
    if name not in EFFORTS:
        raise ApiError(
            f"reasoning_effort {name[:40]!r} is not supported: use {', '.join(EFFORTS)}",
            param="reasoning_effort",
            code="unsupported_value",
        )
    return EFFORTS[name]


def _stops(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    stops = stop if isinstance(stop, list) else [stop]
    if len(stops) > MOST_STOPS or not all(isinstance(each, str) and each for each in stops):
        raise ApiError(f"stop is up to {MOST_STOPS} texts, none of them empty", param="stop")
    return tuple(stops)
