"""Chat requests answered in process, for frameworks that send the whole history every time.

A request (fields of OpenAI's chat completions) goes to the conversation that has read most of its history:
only what is new is read. Where only the caller's last words are other ones, the draft for the earlier ones is
revised, not made anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import Busy, Canvas, Draft, Effort, Settled
from stretto.llm.local import LocalModel
from stretto.llm.serve.error import ApiError, busy
from stretto.llm.serve.reply import Reply
from stretto.llm.serve.request import Asked, asked

log = logging.getLogger("stretto.demo")

Message = Mapping[str, Any]
Request = Mapping[str, Any]
"""The fields of a chat completion: messages, tools, …"""
Items = AsyncGenerator[Canvas | Settled | Draft, None]


@dataclass
class _Held:
    """A conversation that waits for the next request; `draft`: the last finished one, for `answered`."""

    conversation: LocalConversation
    setting: tuple[Any, ...]
    history: list[Message] = field(default_factory=list)
    answered: list[Message] = field(default_factory=list)
    draft: Draft | None = None

    def shared(self, history: list[Message]) -> int:
        """Messages at the beginning that this history and the one held have in common."""
        count = 0
        for count, (old, new) in enumerate(zip(self.history, history, strict=False), 1):
            if old != new:
                return count - 1
        return count

    def revisable(self, history: list[Message]) -> Draft | None:
        """The draft, if it answers these messages but for the caller's last words."""
        same = len(history) == len(self.answered) and history[:-1] == self.answered[:-1]
        return self.draft if same and history and history[-1]["role"] == "user" else None


@dataclass
class Answer:
    """Iterate over it for the reply's text as it settles; then `calls` and `usage` are there."""

    reply: Reply
    cached_tokens: int
    """Tokens of the prompt that were read before."""
    _items: Items
    _held: _Held

    async def __aiter__(self) -> AsyncIterator[str]:
        async for item in self._items:
            if isinstance(item, Draft):
                self._held.draft, self._held.answered = item, self._held.history
            if added := self.reply.feed(item):
                yield added
            if self.reply.finish_reason is not None:
                return
        raise RuntimeError("the model ended without a draft")


class ChatRequests:
    """Conversations of one model, one dialogue's requests one after the other.

    `most`: conversations that are kept for a next request; the oldest are closed.
    """

    def __init__(self, model: LocalModel, effort: Effort = "medium", most: int = 4) -> None:
        self._model, self._effort, self._most = model, effort, most
        self._waiting: list[_Held] = []
        self._due = 0
        self._expected: Request | None = None
        self._early: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def answering(self, request: Request) -> AsyncIterator[Answer]:
        """The answer while the block runs; a draft that is left early takes part in no further pass.

        Raises ApiError for what cannot be answered, and where the model is busy.
        """
        self._due += 1
        try:
            await self._stop_early()
            async with self._answering(request, due=True) as answer:
                yield answer
        finally:
            self._due -= 1

    def expect(self, request: Request) -> None:
        """This may be asked for next: draft for it, after an earlier such draft, while nobody waits.

        An answer to this request, or to one with other last words, begins from that draft.
        """
        if self._due:
            return
        self._expected = request
        if self._early is None or self._early.done():
            self._early = asyncio.create_task(self._draft_early(), name="early draft")

    async def aclose(self) -> None:
        """Close what waits; the model stays open."""
        await self._stop_early()
        self._most = 0
        while self._waiting:
            self._waiting.pop().conversation.close()

    async def _draft_early(self) -> None:
        while (request := self._expected) is not None:
            self._expected = None
            try:
                async with self._answering(request, due=False) as answer:
                    async for _ in answer:
                        pass
            except Exception as error:  # it was a guess; the request itself will tell
                log.debug("no early draft: %s", error)

    async def _stop_early(self) -> None:
        self._expected = None
        if (early := self._early) is not None:
            early.cancel()
            await asyncio.wait([early])

    @asynccontextmanager
    async def _answering(self, request: Request, due: bool) -> AsyncIterator[Answer]:
        wanted = await asyncio.to_thread(asked, json.dumps(request).encode())
        history = list(wanted.history)
        try:
            held = self._take(wanted, history) or await self._open(wanted)
            try:
                conversation, revise = held.conversation, held.revisable(history)
                held.history = history
                read = list(conversation.cache.ids)
                await conversation.restore(history)
                conversation.prioritise(due)
                prompt = conversation.prompt()
                reply = Reply(wanted, len(prompt), "stretto", self._count)
                async with aclosing(self._drafting(conversation, wanted, revise)) as items:
                    yield Answer(reply, _in_common(read, prompt), items, held)
            finally:
                self._keep(held)
        except Busy as error:
            raise busy(str(error)) from error
        except ValueError as error:  # a schema that no grammar covers, more than the context holds
            raise ApiError(str(error)) from error

    def _drafting(self, conversation: LocalConversation, wanted: Asked, revise: Draft | None) -> Items:
        effort, steering = wanted.effort or self._effort, wanted.steering
        return cast(Items, conversation.draft(effort, wanted.deadline_ms, revise, steering))

    def _count(self, text: str) -> int:
        return len(self._model.tokenizer.encode(text))

    def _take(self, wanted: Asked, history: list[Message]) -> _Held | None:
        """The one that shares most. Where there is but one turn: any, for its words may have changed."""
        setting = _setting(wanted)
        fitting = [held for held in self._waiting if held.setting == setting]
        usable = [each for each in fitting if each.shared(history) or len(each.history) == len(history) == 1]
        if not usable:
            return None
        held = max(usable, key=lambda each: each.shared(history))
        self._waiting.remove(held)
        return held

    async def _open(self, wanted: Asked) -> _Held:
        # A tool's grammar may take a while to build.
        opened = await asyncio.to_thread(self._model.open, wanted.system, wanted.tools, wanted.choice)
        return _Held(opened, _setting(wanted))

    def _keep(self, held: _Held) -> None:
        self._waiting.append(held)
        while len(self._waiting) > self._most:
            self._waiting.pop(0).conversation.close()


def _setting(wanted: Asked) -> tuple[Any, ...]:
    """What is fixed when a conversation is opened."""
    return wanted.system, list(wanted.tools), wanted.choice


def _in_common(read: list[int], prompt: list[int]) -> int:
    pairs = enumerate(zip(read, prompt, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(read), len(prompt)))
