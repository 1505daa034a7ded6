"""Dialogues as the text that a family was trained on: turns in its marks, tools and calls in the Hermes form.

The wording of the tool block is Qwen2.5's and Hermes 2 Pro's: it is part of the format that models know.
A checkpoint's own template (`chat_template`) goes before these where it has one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.language_model import ToolSpec

Message = Mapping[str, Any]
Tool = Mapping[str, Any]
"""A tool as chat completions describe it (`described`)."""
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Chat:
    """How a family writes a dialogue. `turn(role, text)` is one turn, `answer` opens the model's next one."""

    turn: Callable[[str, str], str]
    answer: str
    opening: str = ""
    stops: tuple[str, ...] = ()
    """Marks that end a turn, by their text."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the checkpoint's own template is told besides the dialogue."""


def _chatml(role: str, text: str) -> str:
    wrapped = f"<tool_response>\n{text}\n</tool_response>" if role == "tool" else text
    return f"<|im_start|>{'user' if role == 'tool' else role}\n{wrapped}<|im_end|>\n"


def _llama3(role: str, text: str) -> str:
    wrapped = f"<tool_response>\n{text}\n</tool_response>" if role == "tool" else text
    name = "user" if role == "tool" else role
    return f"<|start_header_id|>{name}<|end_header_id|>\n\n{wrapped}<|eot_id|>"


def _ling(role: str, text: str) -> str:
    names = {"system": "SYSTEM", "user": "HUMAN", "assistant": "ASSISTANT", "tool": "OBSERVATION"}
    if role == "system":
        text = f"{text}\ndetailed thinking off".lstrip("\n")
    if role == "tool":
        text = f"\n<tool_response>\n{text}\n</tool_response>"
    return f"<role>{names[role]}</role>{text}<|role_end|>"


CHATML = Chat(_chatml, "<|im_start|>assistant\n", stops=("<|im_end|>", "<|endoftext|>"))
LLAMA3 = Chat(
    _llama3,
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    opening="<|startoftext|>",
    stops=("<|eot_id|>", "<|endoftext|>"),
)
LING = Chat(_ling, "<role>ASSISTANT</role>", stops=("<|role_end|>", "<|endoftext|>"))


def render(chat: Chat, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
    """The dialogue up to where the model answers. Raises ValueError for a role that there is not."""
    plain = lowered(messages, tools)
    if plain[0]["role"] != "system":
        plain = [{"role": "system", "content": "You are a helpful assistant."}, *plain]
    turns = (chat.turn(message["role"], message["content"]) for message in plain)
    return chat.opening + "".join(turns) + chat.answer


def lowered(messages: Sequence[Message], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The same dialogue in words only: tools in the system text, calls in the assistant's (Hermes form)."""
    plain = [{"role": _role(m), "content": _words_and_calls(m)} for m in messages]
    if tools:
        if not plain or plain[0]["role"] != "system":
            plain.insert(0, {"role": "system", "content": ""})
        plain[0]["content"] = f"{plain[0]['content']}\n\n{_tool_block(tools)}".lstrip("\n")
    return plain or [{"role": "system", "content": ""}]


def calls_of(message: Message) -> list[tuple[str, Any]]:
    """Names and arguments of a message's calls, flat or as `function` with JSON text (chat completions)."""
    found = []
    for call in message.get("tool_calls") or ():
        inner = call.get("function", call)
        arguments = inner["arguments"]
        found.append((inner["name"], json.loads(arguments) if isinstance(arguments, str) else arguments))
    return found


def described(tool: ToolSpec) -> dict[str, Any]:
    """A tool as chat completions describe it."""
    parameters = dict(tool.parameters)
    inner = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": inner}


def _role(message: Message) -> str:
    if (role := message["role"]) not in ROLES:
        raise ValueError(f"a message of role {role!r}: it must be one of {', '.join(ROLES)}")
    return str(role)


def _words_and_calls(message: Message) -> str:
    parts = [message.get("content") or ""]
    for name, arguments in calls_of(message):
        text = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        parts.append(f"<tool_call>\n{text}\n</tool_call>")
    return "\n".join(part for part in parts if part)


def _tool_block(tools: Sequence[Tool]) -> str:
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        f"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{lines}\n"
        "</tools>\n\nFor each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": '
        "<args-json-object>}\n</tool_call>"
    )


def own_template(folder: Path) -> str | None:
    """The chat template that a checkpoint brings (`chat_template.jinja`, or in tokenizer_config.json).

    Raises CheckpointError for a file that cannot be read.
    """
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("chat_template") if path.is_file() else None
        if isinstance(found, list):  # several, by name
            named = {one["name"]: one["template"] for one in found}
            found = named.get("tool_use") or named.get("default")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); copy it again") from error
    return found if isinstance(found, str) else None


def render_own(template: str, chat: Chat, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
    """The dialogue by the checkpoint's own template, in a sandbox: it is code from elsewhere.

    A template that knows no tools gets them in words. Raises CheckpointError for one that fails.
    """
    plain: Sequence[Message] = lowered(messages, tools)
    if "tools" in template:
        plain = [{**m, "role": _role(m), "content": m.get("content") or "", **_calls(m)} for m in messages]
    try:
        return _compiled(template).render(
            messages=plain,
            tools=list(tools) or None,
            add_generation_prompt=True,
            bos_token=chat.opening,
            **chat.options,
        )
    except (jinja2.TemplateError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"the checkpoint's chat template fails on this dialogue ({error}); delete it from the folder to "
            "use the one that Stretto has for the family"
        ) from error


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = _as_json
    sandbox.globals["raise_exception"] = _refuse
    return sandbox.from_string(template)


def _calls(message: Message) -> dict[str, Any]:
    calls = [
        {"type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in calls_of(message)
    ]
    return {"tool_calls": calls} if calls else {}


def _as_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
