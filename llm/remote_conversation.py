"""One dialogue that a chat-completions server writes: requests of what was heard, drafts of its answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from stretto.llm.chat_history import ChatHistory, Message, call_message
from stretto.llm.chat_reply import CallError, CallSchemas, ChatReply, ChatReplyError, WrittenCall, joined
from stretto.llm.completion import Completion, RemoteError
from stretto.llm.constraints.call_text import compact_json
from stretto.llm.language_model import (
    AUTO,
    Call,
    Canvas,
    Draft,
    Effort,
    Settled,
    ToolChoice,
    ToolSpec,
    TurnSignal,
)

if TYPE_CHECKING:
    from stretto.llm.remote import RemoteModel, RemoteOptions

P_END = 0.35
"""What `hear` answers, for a server does not say whether the caller has finished: between `p_end_unfinished`
and `p_end_sure` of `TurnOptions`, so that a turn which the words do not decide counts as doubtful."""
LINGER_S = 0.1
"""Seconds that a finished answer may take to end, so that its connection can be used again."""


class _Times:
    """Until when one answer may take, on the event loop's clock (s)."""

    def __init__(self, options: RemoteOptions, began: float, deadline_ms: float | None) -> None:
        self._options, self._loop = options, asyncio.get_running_loop()
        self.hard = began + options.draft_s
        self.deadline = float("inf") if deadline_ms is None else began + deadline_ms / 1000
        self.first = self._loop.time() + options.first_chunk_s

    def until(self, reply: ChatReply, chunks: int) -> float:
        """How long to wait for the next chunk."""
        if reply.finished:
            return min(self.hard, self._loop.time() + LINGER_S)
        limit = self.hard if chunks else min(self.hard, self.first)
        return limit if reply.begun and not reply.sentence_over else min(limit, self.deadline)

    @property
    def late(self) -> bool:
        """Whether whoever asked wants no more than is there."""
        return self._loop.time() >= self.deadline

    @property
    def passed(self) -> float | None:
        """The server's own limit that has passed, in seconds; None if it was the deadline."""
        if (now := self._loop.time()) >= self.hard:
            return self._options.draft_s
        return None if now >= self.deadline else self._options.first_chunk_s


class RemoteConversation:
    """A `Conversation` that a server writes; see the protocol for what the methods promise.

    The server keeps nothing: every draft sends the dialogue as it was really heard.
    """

    def __init__(
        self, model: RemoteModel, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO
    ) -> None:
        self.model = model
        self._specs, self._choice = list(tools), choice
        self._schemas = CallSchemas(tools)
        self._tools: list[dict[str, Any]] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": dict(t.parameters)},
            }
            for t in tools
        ]
        self._history = ChatHistory(system, model.options.characters, model.options.exchanges)
        self._revision = 0
        self._busy = asyncio.Lock()
        self._closed = False

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        """Remember the caller's words so far. The signal is neutral: see `P_END`; no request is made."""
        async with self._busy:
            self._check_open()
            self._history.hear(f"{stable} {tentative}".strip())
            return TurnSignal(P_END, 0.5, 0.5)

    async def draft(
        self, effort: Effort = "medium", deadline_ms: float | None = None, revise: Draft | None = None
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        """Have the server write a turn; see `Conversation.draft`. `revise` changes nothing.

        An answer that has not begun by `deadline_ms` is given up; one that has is ended with the sentence
        that it is in, and a call is waited for. Raises RemoteError (RemoteUnavailable where it may work
        later), also for calls that are wrong a second time.
        """
        async with self._busy:
            self._check_open()
            began = asyncio.get_running_loop().time()
            self._revision += 1
            messages = self._history.messages()
            after_result = bool(messages) and messages[-1]["role"] == "tool"
            allowed = [tool.name for tool in self._choice.among(self._specs, after_result)]
            must_call = bool(allowed) and self._choice.forces(after_result)
            body = await self._body(effort, allowed, must_call)
            first, requests, tokens = "", 0, 0
            for corrected in (False, True):
                reply = ChatReply(self._schemas.names, self.model.options.diffusing)
                request = json.loads(compact_json({**body, "messages": messages}))
                times = _Times(self.model.options, began, deadline_ms)
                async with (
                    self._completion(request) as completion,
                    aclosing(self._answer(completion, reply, times)) as items,
                ):
                    async for item in items:
                        # What was settled before a correction stays, so the rest waits for the end.
                        if not first or isinstance(item, Canvas):
                            yield item
                requests, tokens = requests + completion.requests, tokens + reply.tokens
                calls, errors = self._checked(reply.calls, allowed)
                if must_call and not reply.calls:
                    errors = {0: f"no tool was called; call {' or '.join(allowed)} now"}
                if not errors:
                    break
                if corrected:
                    wrong = "; ".join(errors.values())
                    raise RemoteError(f"the model at {self.model.url} wrote a wrong call twice: {wrong}")
                first = reply.text
                messages = [*messages, *_correction(reply, errors, bool(allowed))]
            text = joined(first, reply.text, bool(calls))
            if first and text != first:
                yield Settled(text)
            ms = (asyncio.get_running_loop().time() - began) * 1000
            yield Draft(text, tuple(calls), requests, self._revision, ms, tokens)

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        """Put a draft into the history, or correct what it holds of it; see `Conversation.commit`."""
        async with self._busy:
            text = draft.text if heard is None else heard
            self._history.commit(draft.revision, text.strip(), draft.calls)

    async def say(self, text: str) -> None:
        """Words of the agent that the model did not write; see `Conversation.say`."""
        async with self._busy:
            self._history.say(text)

    async def tool_result(self, call_id: str, content: str) -> None:
        """A result of a committed call; see `Conversation.tool_result`. Raises KeyError."""
        async with self._busy:
            self._history.result(call_id, content)

    async def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Take these messages for the history; see `Conversation.restore`."""
        async with self._busy:
            self._history.restore(messages)

    def close(self) -> None:
        """Later drafts raise; one that runs is ended by whoever reads it."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the conversation is closed; open another one")

    # -- one draft ----------------------------------------------------------------------------------

    async def _body(self, effort: Effort, allowed: Collection[str], must_call: bool) -> dict[str, Any]:
        options = self.model.options
        body = {**options.extra, "model": await self.model.name(), "stream": True}
        if self._tools:
            body["tools"] = self._tools
            body |= self._chosen(allowed, must_call)
        if options.efforts is not None and effort in options.efforts:
            body["reasoning_effort"] = options.efforts[effort]
        if options.diffusing:
            body["diffusing"] = True
        return body

    def _chosen(self, allowed: Collection[str], must_call: bool) -> dict[str, Any]:
        """What a request says about the tools to call; nothing where the model decides."""
        if not must_call:
            return {} if allowed else {"tool_choice": "none"}
        if len(allowed) == 1:
            (name,) = allowed
            return {"tool_choice": {"type": "function", "function": {"name": name}}}
        # Few servers know a choice among some of the tools: the others are not offered for once.
        tools = [tool for tool in self._tools if tool["function"]["name"] in allowed]
        return {"tools": tools, "tool_choice": "required"}

    def _completion(self, body: Mapping[str, Any]) -> Completion:
        options = self.model.options
        return Completion(self.model.server, body, retries=options.retries, retry_s=options.retry_s)

    async def _answer(
        self, completion: Completion, reply: ChatReply, times: _Times
    ) -> AsyncGenerator[Canvas | Settled, None]:
        """Read one answer into `reply`. Raises RemoteError."""
        chunks, told = 0, ""
        while True:
            try:
                chunk = await completion.read(times.until(reply, chunks))
            except TimeoutError as error:
                if reply.finished or (times.late and reply.sentence_over):
                    break
                if (seconds := times.passed) is None:
                    raise self.model.server.unavailable("had said nothing by the deadline") from error
                what = "finish its answer" if chunks else "begin to answer"
                raise completion.failed(f"did not {what} within {seconds:g} s") from error
            if chunk is None:
                if not reply.finished:
                    raise completion.failed("broke off in the middle of its answer")
                break
            chunks += 1
            try:
                items = reply.feed(chunk)
            except ChatReplyError as error:
                completion.failed("sent no answer of a chat")
                raise RemoteError(f"{self.model.url} sent no answer of a chat: {error}") from error
            if times.late and not reply.finished and (end := reply.sentence_end(len(told))) is not None:
                reply.cut(end)
                break
            for item in items:
                told = item.text if isinstance(item, Settled) else told
                yield item
        completion.succeeded()
        reply.end()
        if reply.text != told:
            yield Settled(reply.text)

    def _checked(
        self, written: Sequence[WrittenCall], allowed: Collection[str]
    ) -> tuple[list[Call], dict[int, str]]:
        """The calls that can be run, and what is wrong with which of the others."""
        calls: list[Call] = []
        errors: dict[int, str] = {}
        for place, call in enumerate(written):
            try:
                arguments = self._schemas.arguments(call)
                if call.name not in allowed:
                    instead = f"call {' or '.join(allowed)}" if allowed else "answer in words"
                    raise CallError(f"{call.name} cannot be called now; {instead}")
            except CallError as error:
                errors[place] = str(error)
            else:
                # Not the server's id: some give the same ones in every answer.
                calls.append(Call(self._history.new_call_id(), call.name, arguments))
        return calls, errors


_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
"""What servers refuse in the name of a call."""


def _correction(reply: ChatReply, errors: Mapping[int, str], may_call: bool) -> list[Message]:
    """What tells the model that some calls of its answer are wrong: they, and errors for results."""
    if not reply.calls:  # one is missing
        said = [{"role": "assistant", "content": reply.text}] if reply.text else []
        return [*said, *({"role": "user", "content": error} for error in errors.values())]
    told: list[Message] = []
    calls: list[Message] = []
    for place, call in enumerate(reply.calls):
        call_id = f"wrong{place:04d}"
        # Text that is no JSON would break the templates of some servers.
        arguments = call.arguments if _is_object(call.arguments) else "{}"
        calls.append(call_message(call_id, _UNFIT.sub("_", call.name)[:64] or "unknown", arguments))
        error = errors.get(place, "not run, for another call was wrong: make this one again as well")
        if place in errors and may_call:
            error = f"{error}. You wrote {call.arguments[:300]!r}. Make the call again, correctly."
        told.append({"role": "tool", "tool_call_id": call_id, "content": compact_json({"error": error})})
    return [{"role": "assistant", "content": reply.text or None, "tool_calls": calls}, *told]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
