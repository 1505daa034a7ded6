"""One dialogue that a chat-completions server writes: requests of what was heard, drafts of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from stretto.llm.chat_conversation import ChatConversation, correction
from stretto.llm.chat_reply import ChatReply, ChatReplyError, joined
from stretto.llm.completion import Completion, RemoteError
from stretto.llm.constraints.call_text import compact_json
from stretto.llm.language_model import AUTO, Canvas, Draft, Effort, Settled, ToolChoice, ToolSpec

if TYPE_CHECKING:
    from stretto.llm.remote import RemoteModel, RemoteOptions

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


class RemoteConversation(ChatConversation):
    """A `Conversation` that a server writes; see the protocol for what the methods promise.

    The server keeps nothing: every draft sends the dialogue as it was really heard.
    """

    def __init__(
        self, model: RemoteModel, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO
    ) -> None:
        super().__init__(system, tools, choice, model.options.characters, model.options.exchanges)
        self.model = model
        self._tools: list[dict[str, Any]] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": dict(t.parameters)},
            }
            for t in tools
        ]

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
            messages, allowed, must_call = self._due()
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
                calls, errors = self._checked(reply.calls, allowed, must_call)
                if not errors:
                    break
                if corrected:
                    wrong = "; ".join(errors.values())
                    raise RemoteError(f"the model at {self.model.url} wrote a wrong call twice: {wrong}")
                first = reply.text
                messages = [*messages, *correction(reply.text, reply.calls, errors, bool(allowed))]
            text = joined(first, reply.text, bool(calls))
            if first and text != first:
                yield Settled(text)
            ms = (asyncio.get_running_loop().time() - began) * 1000
            yield Draft(text, tuple(calls), requests, self._revision, ms, tokens)

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
