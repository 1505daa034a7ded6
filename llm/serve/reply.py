"""A draft as a client gets it: a completion, or the chunks of one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stretto.llm.constraints.call_text import compact_json
from stretto.llm.language_model import Call, Canvas, Draft, Settled
from stretto.llm.serve.request import Asked


def before_stop(text: str, stops: Sequence[str]) -> str | None:
    """The text before the stop string in it that is complete first; None if there is none."""
    found = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(found)[1]] if found else None


def held_back(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text may turn out to begin a stop string."""
    longest = max(map(len, stops), default=0) - 1
    for count in range(min(longest, len(text)), 0, -1):
        if any(len(stop) > count and text.endswith(stop[:count]) for stop in stops):
            return count
    return 0


@dataclass
class Reply:
    """What is written so far. `count`: tokens of a text, for one that is cut."""

    asked: Asked
    prompt_tokens: int
    model: str
    count: Callable[[str], int]
    text: str = ""
    """What may be sent: no later pass changes it, and it holds no beginning of a stop string."""
    calls: tuple[Call, ...] = ()
    forwards: int = 0
    tokens: int = 0
    ms: float = 0.0
    finish_reason: str | None = None
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def feed(self, item: Canvas | Settled | Draft) -> str:
        """Take an item of a draft; the text that it adds. With a `finish_reason` nothing more is wanted."""
        match item:
            case Canvas(forward=forward):
                self.forwards = forward
                return ""
            case Settled(text=text):
                # Half of a character: the next token changes it.
                return self._add(text.rstrip("\N{REPLACEMENT CHARACTER}"), whole=False)
        added = self._add(item.text, whole=True)
        self.forwards = item.forwards
        if self.finish_reason is None:
            # The marks around a reply are none of the tokens that a client limits.
            self.tokens = min(item.tokens, self.asked.steering.most_tokens or item.tokens)
            self.calls = item.calls if self.asked.parallel else item.calls[:1]
            self.finish_reason = "tool_calls" if self.calls else "length" if item.cut else "stop"
        return added

    def _add(self, text: str, whole: bool) -> str:
        stops = self.asked.stops
        cut = before_stop(text, stops)
        if cut is not None:
            self.finish_reason, self.tokens = "stop", self.count(text)
        elif not whole:
            cut = text[: len(text) - held_back(text, stops)]
        else:
            cut = text
        if not cut.startswith(self.text):
            return ""
        added, self.text = cut[len(self.text) :], cut
        return added

    # ------------------------------------------------------------------ as JSON

    def completion(self) -> dict[str, Any]:
        """The whole answer."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self.calls:
            message["tool_calls"] = self._calls()
        else:
            message["content"] = self.text
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return self._head("chat.completion") | {"choices": [choice], "usage": self.usage()}

    def chunk(self, finish_reason: str | None = None, /, **delta: Any) -> dict[str, Any]:
        """A piece of the answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        made = self._head("chat.completion.chunk") | {"choices": [choice]}
        return made | {"usage": None} if self.asked.include_usage else made

    def last_chunks(self) -> list[dict[str, Any]]:
        """The calls, why it ends, and what it took."""
        calls = [self.chunk(tool_calls=[{"index": n, **call}]) for n, call in enumerate(self._calls())]
        chunks = [*calls, self.chunk(self.finish_reason)]
        if self.asked.include_usage:
            chunks.append(self._head("chat.completion.chunk") | {"choices": [], "usage": self.usage()})
        return chunks

    def canvas(self, canvas: Canvas) -> dict[str, Any]:
        """The canvas after a pass, in a chunk that adds nothing to the answer."""
        return self.chunk() | {"canvas": {"forward": canvas.forward, "tokens": canvas.tokens}}

    def usage(self) -> dict[str, Any]:
        """Tokens read and written, and the passes that it took."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
            "completion_tokens_details": {"reasoning_tokens": 0, "forwards": self.forwards},
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": compact_json(call.arguments)},
            }
            for call in self.calls
        ]
