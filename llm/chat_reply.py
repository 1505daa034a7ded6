"""An answer of a chat-completions server as it comes: chunks in, words, canvases and calls out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from stretto.llm.constraints.call_text import compact_json
from stretto.llm.language_model import Canvas, Settled, ToolSpec

LONGEST_ANSWER = 20_000
"""Characters of words and arguments; what is longer is no turn of a spoken dialogue."""
_THOUGHTS = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
"""What a model thinks aloud where its server does not keep that apart."""
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|\Z)")


class ChatReplyError(ValueError):
    """What the server sent is no answer of a chat."""


class CallError(ValueError):
    """A call names no tool or its arguments do not fit; the message is for the model."""


@dataclass
class WrittenCall:
    """A call as it was sent: `arguments` is text that should be JSON."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class ChatReply:
    """Put together from chunks (`chat.completion.chunk` as plain JSON values).

    Content is added to what was there, or with `diffusing` takes its place: every chunk is a canvas then, and
    nothing is settled before the end. `tools`: the names that a call may have.
    """

    def __init__(self, tools: Collection[str] = (), diffusing: bool = False) -> None:
        self._tools, self._diffusing = tools, diffusing
        self._raw = ""
        self._settled = ""
        self._canvases = 0
        self._places: dict[int, WrittenCall] = {}
        self.calls: list[WrittenCall] = []
        self.finished = False
        """The server said that this is all."""
        self.tokens = 0
        """Written by the model, where the server counts them."""

    @property
    def text(self) -> str:
        """The words: all of them once it is finished, before that those that do not change any more."""
        return self._words(whole=True) if self.finished else self._settled

    def sentence_end(self, after: int) -> int | None:
        """Where in the settled words, at `after` or behind it, a sentence ends; None if a call was begun."""
        ends = (match.end() for match in _SENTENCE_END.finditer(self._settled))
        return None if self.calls else next((end for end in ends if end >= after), None)

    @property
    def sentence_over(self) -> bool:
        """Whether the settled words end a sentence and nothing else was begun."""
        return self.sentence_end(len(self._settled)) is not None

    def cut(self, end: int) -> None:
        """Keep only so many characters of the settled words."""
        self._settled = self._settled[:end]

    @property
    def begun(self) -> bool:
        """Whether there are words or calls, also unsettled ones."""
        return bool(self.calls or self._raw.strip())

    def feed(self, chunk: object) -> list[Canvas | Settled]:
        """Take the next chunk. Raises ChatReplyError."""
        if not isinstance(chunk, Mapping):
            raise ChatReplyError(f"a chunk is no object: {str(chunk)[:80]!r}")
        usage = chunk.get("usage")
        if isinstance(usage, Mapping) and isinstance(usage.get("completion_tokens"), int):
            self.tokens = usage["completion_tokens"]
        choice = next(iter(_objects(chunk.get("choices"))), {})
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            delta = {}
        for call in _objects(delta.get("tool_calls")):
            self._add_call(call)
        found = self._add_content(delta.get("content"), chunk.get("diffusion_meta"))
        self.finished = self.finished or bool(choice.get("finish_reason"))
        if len(self._raw) + sum(len(call.arguments) for call in self.calls) > LONGEST_ANSWER:
            raise ChatReplyError(f"it is longer than {LONGEST_ANSWER} characters")
        return found

    def end(self) -> list[Canvas | Settled]:
        """The words that the end of the answer settles."""
        fresh = self.text != self._settled
        self._settled = self.text
        return [Settled(self._settled)] if fresh else []

    def _add_content(self, content: object, meta: object) -> list[Canvas | Settled]:
        if not isinstance(content, str) or not content:
            return []
        # Mercury marks the chunks that replace; one that it does not mark is added, as everywhere.
        marked = meta.get("diffusion_content", True) if isinstance(meta, Mapping) else True
        if self._diffusing and marked:
            self._raw = content
            self._canvases += 1
            return [Canvas(tuple(re.findall(r"\s*\S+", _well_formed(content))), self._canvases)]
        self._raw += content
        words = self._words(whole=self._raw[-1].isspace())
        if self._diffusing or words == self._settled:
            return []
        self._settled = words
        return [Settled(words)]

    def _words(self, whole: bool) -> str:
        """The words without thoughts; the last one only if it is `whole`."""
        words = _THOUGHTS.sub("", _well_formed(self._raw)).split()
        return " ".join(words if whole else words[:-1])

    def _add_call(self, delta: Mapping[str, Any]) -> None:
        index, call_id = delta.get("index"), delta.get("id")
        place = index if isinstance(index, int) else max(self._places, default=0)
        held = self._places.get(place)
        # Some servers number every call 0 and tell them apart by their ids alone.
        if held is None or (isinstance(call_id, str) and call_id and held.id and call_id != held.id):
            held = self._places[place] = WrittenCall()
            self.calls.append(held)
        if isinstance(call_id, str):
            held.id = call_id or held.id
        function = delta.get("function")
        if not isinstance(function, Mapping):
            return
        name, arguments = function.get("name"), function.get("arguments")
        # Some servers repeat the name with every piece of the arguments.
        if isinstance(name, str) and not (name == held.name and name in self._tools):
            held.name += name
        if isinstance(arguments, Mapping):
            arguments = compact_json(arguments)
        if isinstance(arguments, str):
            held.arguments += arguments


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects of what should be a list of them."""
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())


def _well_formed(text: str) -> str:
    # Half a character (a lone surrogate) has no UTF-8 form; its halves may come in two chunks.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class CallSchemas:
    """The tools of a conversation, whose JSON schemas its calls must fit. Raises ValueError for a bad one."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self._validators: dict[str, Draft202012Validator] = {}
        for tool in tools:
            try:
                Draft202012Validator.check_schema(dict(tool.parameters))
            except SchemaError as error:
                raise ValueError(
                    f"the parameters of the tool {tool.name} are no JSON schema: {error.message}"
                ) from error
            # An empty registry: nothing that a schema refers to is fetched.
            self._validators[tool.name] = Draft202012Validator(dict(tool.parameters), registry=Registry())

    @property
    def names(self) -> list[str]:
        return list(self._validators)

    def arguments(self, call: WrittenCall) -> dict[str, Any]:
        """The arguments of a call, checked. Raises CallError."""
        validator = self._validators.get(call.name)
        if validator is None:
            raise CallError(
                f"there is no tool {call.name!r}, only {', '.join(self.names) or 'no tools at all'}"
            )
        try:
            # No text at all is how some servers call a tool without arguments.
            written = json.loads(call.arguments.strip() or "{}", parse_constant=_no_number)
            # Once around: an escape may hide half a character, 1e999 is no number of JSON.
            arguments = {} if written is None else json.loads(compact_json(written))
            error = best_match(validator.iter_errors(arguments))
        except (ValueError, RecursionError) as failure:
            raise CallError(f"the arguments of {call.name} are no JSON: {failure}") from failure
        except Unresolvable as failure:
            raise CallError(f"the schema of {call.name} cannot be followed: {failure}") from failure
        if error is not None:
            where = "".join(f"/{step}" for step in error.absolute_path)
            raise CallError(
                f"the arguments of {call.name} do not fit{where and f' at {where}'}: {error.message}"
            )
        if not isinstance(arguments, dict):
            raise CallError(f"the arguments of {call.name} are no JSON object")
        return arguments


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def joined(first: str, second: str, more: bool) -> str:
    """The words of an answer that was corrected: the first ones stay. `more`: calls follow the second."""
    if not first or second == first or second.startswith(f"{first} "):
        return second
    return first if more else f"{first} {second}".strip()
