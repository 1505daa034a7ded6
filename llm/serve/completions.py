"""`/v1/chat/completions`: one request from its first byte to its last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send
from stretto.llm.cache import ContextOverflow
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.language_model import FREE, Busy, Canvas, Conversation, Draft, Effort, LanguageModel, Settled
from stretto.llm.serve.admission import Admission
from stretto.llm.serve.doors import Doors
from stretto.llm.serve.error import ApiError, Json, busy, json_text
from stretto.llm.serve.metrics import Metrics
from stretto.llm.serve.reply import Reply
from stretto.llm.serve.request import Asked, DialogueTokenizer, asked
from stretto.llm.tokenizer import Tokenizer

log = logging.getLogger("stretto.llm.serve")

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": still here\n\n"
"""A comment of a stream of events: proxies drop connections on which nothing comes."""

Item = Canvas | Settled | Draft


@dataclass(frozen=True)
class Limits:
    """Of one request and of all of them. Bytes and seconds.

    `live` requests are answered at once, `waiting` more may wait, each at most `wait_s`. A body comes within
    `body_s`, all of a request is over within `request_s`. Nothing sent for `keep_alive_s`: a comment is.
    """

    body: int = 1024 * 1024
    live: int = 8
    waiting: int = 32
    body_s: float = 20.0
    wait_s: float = 20.0
    request_s: float = 120.0
    keep_alive_s: float = 10.0


@dataclass(frozen=True)
class Served:
    """A model and what clients are told of it. `context`: tokens of the longest prompt."""

    model: LanguageModel
    name: str
    tokenizer: Tokenizer | DialogueTokenizer
    context: int
    effort: Effort = "medium"


class ClientGone(Exception):
    """The client has closed the connection."""


class Completions:
    """An ASGI application."""

    def __init__(self, served: Served, doors: Doors, limits: Limits, metrics: Metrics) -> None:
        self._served, self._doors, self._limits, self._metrics = served, doors, limits, metrics
        self._admission = Admission(limits.live, limits.waiting, limits.wait_s, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say what is wrong with it; whatever happens in it, the server goes on."""
        began = time.monotonic()
        exchange = _Exchange(scope, receive, send)
        outcome = "failed"
        try:
            request = Request(scope, receive)
            self._doors.check(request.headers)
            body = await self._body(request)
            async with while_connected(receive, self._limits.request_s):
                wanted, prompt_tokens = await asyncio.to_thread(self._read, body)
                async with self._admission.place():
                    await self._answer(exchange, wanted, prompt_tokens, began)
            outcome = "ok"
        except (ClientGone, ClientDisconnect):
            outcome = "left"
        except asyncio.CancelledError:
            outcome = "left"  # the server ends
            raise
        except Exception as error:
            outcome, told = _told(error, self._limits.request_s)
            await exchange.fail(told)
        finally:
            self._metrics.requests.labels(outcome).inc()

    async def _body(self, request: Request) -> bytes:
        """Raises ApiError for one that is too long or too slow, ClientDisconnect."""
        most, parts, size = self._limits.body, [], 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise ApiError(f"a body has at most {most} bytes", status=413, code="body_too_long")
                    parts.append(part)
        except TimeoutError:
            raise ApiError(
                f"the body did not come within {self._limits.body_s:g} s", status=408, code="timeout"
            ) from None
        return b"".join(parts)

    def _read(self, body: bytes) -> tuple[Asked, int]:
        """What is asked, and the tokens of its prompt. Raises ApiError."""
        served = self._served
        try:
            wanted = asked(body)
            if wanted.model not in (None, served.name):
                raise ApiError(
                    f"there is no model {str(wanted.model)[:80]!r} here: ask for {served.name}",
                    status=404,
                    param="model",
                    code="model_not_found",
                )
            return wanted, checked_prompt(wanted, served.tokenizer, served.context)
        except RecursionError:
            raise ApiError("what is asked is nested too deeply: flatten it") from None

    async def _answer(self, exchange: _Exchange, wanted: Asked, prompt_tokens: int, began: float) -> None:
        served, metrics = self._served, self._metrics
        reply = Reply(wanted, prompt_tokens, served.name, lambda text: len(served.tokenizer.encode(text)))
        first = True
        async with opened(served.model, wanted) as conversation:
            await conversation.restore(wanted.history)
            async with (
                exchange.kept_alive(self._limits.keep_alive_s),
                aclosing(drafted(conversation, wanted, served.effort)) as items,
            ):
                async for item in items:
                    added = reply.feed(item)
                    if added and first:
                        metrics.first_text.observe(time.monotonic() - began)
                        first = False
                    if wanted.stream:
                        await exchange.stream(reply, item, added)
                    if reply.finish_reason is not None:
                        break
        if reply.finish_reason is None:
            raise RuntimeError("the model ended without a draft")
        metrics.forwards.inc(reply.forwards)
        metrics.tokens.labels("prompt").inc(prompt_tokens)
        metrics.tokens.labels("completion").inc(reply.tokens)
        metrics.reply.observe(time.monotonic() - began)
        await exchange.finish(reply)


def _told(error: Exception, limit_s: float) -> tuple[str, ApiError]:
    """How a request ended by an error, and what its client is told."""
    match error:
        case ApiError():
            return "busy" if error.status == 503 else "refused", error
        case Busy():
            return "busy", busy(str(error))
        case ContextOverflow():
            return "refused", ApiError(str(error), param="messages", code="context_length_exceeded")
        case UnsupportedSchema():
            return "refused", ApiError(str(error), param="response_format", code="unsupported_schema")
        case TimeoutError():
            told = f"the answer took more than {limit_s:g} s"
            return "late", ApiError(told, status=504, kind="server_error", code="timeout")
    log.error("a request failed", exc_info=error)
    told = "the model failed: the server's log says why"
    return "failed", ApiError(told, status=500, kind="server_error", code="model_failed")


def checked_prompt(wanted: Asked, tokenizer: Tokenizer | DialogueTokenizer, context: int) -> int:
    """Tokens of the prompt. Raises ApiError where they are more than the context: nothing is left out."""
    tokens = wanted.prompt_tokens(tokenizer)
    if tokens > context:
        raise ApiError(
            f"this model reads at most {context} tokens, and messages and tools have {tokens}: "
            "leave out the oldest messages, or tools that are not needed",
            param="messages",
            code="context_length_exceeded",
        )
    return tokens


@asynccontextmanager
async def while_connected(receive: Receive, limit_s: float) -> AsyncIterator[None]:
    """Break the block off once the client is gone, or after some seconds. After the body was read.

    Raises ClientGone or TimeoutError.
    """
    gone = False
    try:
        async with asyncio.timeout(limit_s) as limit:

            async def watch() -> None:
                nonlocal gone
                while (await receive())["type"] != "http.disconnect":
                    pass
                gone = True
                with contextlib.suppress(RuntimeError):  # the time is over at this very moment
                    limit.reschedule(asyncio.get_running_loop().time())

            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.wait([watching])
    except TimeoutError:
        if gone:
            raise ClientGone from None
        raise


@asynccontextmanager
async def opened(model: LanguageModel, wanted: Asked) -> AsyncIterator[Conversation]:
    """A conversation while the block runs. Raises ApiError for tools that cannot be offered."""
    # A tool's grammar may take a while to build.
    opening = asyncio.create_task(
        asyncio.to_thread(model.open, wanted.system, wanted.tools, wanted.choice), name="open"
    )
    try:
        conversation = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_opened)
        raise
    except ValueError as error:
        raise ApiError(
            f"a tool cannot be offered: {error}", param="tools", code="unsupported_schema"
        ) from None
    try:
        yield conversation
    finally:
        conversation.close()


def _close_opened(opening: asyncio.Task[Conversation]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def drafted(conversation: Conversation, wanted: Asked, effort: Effort) -> AsyncGenerator[Item, None]:
    """The items of the draft that is asked for."""
    steering: dict[str, Any] = {} if wanted.steering == FREE else {"steering": wanted.steering}
    items = conversation.draft(wanted.effort or effort, wanted.deadline_ms, **steering)
    return cast(AsyncGenerator[Item, None], items)


class _Exchange:
    """The answer's way to the client: whole, or as a stream of events."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._streaming = False

    @asynccontextmanager
    async def kept_alive(self, every_s: float) -> AsyncIterator[None]:
        """While the block runs, a begun stream gets a comment now and then."""

        async def remind() -> None:
            while True:
                await asyncio.sleep(every_s)
                if self._streaming:
                    await self._event(KEEP_ALIVE)

        reminding = asyncio.create_task(remind())
        try:
            yield
        finally:
            reminding.cancel()
            await asyncio.wait([reminding])

    async def stream(self, reply: Reply, item: Item, added: str) -> None:
        """Send what an item brings. The first one begins the stream: until then errors have a status."""
        if not self._streaming:
            self._streaming = True
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            headers.append((b"x-accel-buffering", b"no"))
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._chunk(reply.chunk(role="assistant", content=""))
        if isinstance(item, Canvas) and reply.asked.include_canvas:
            await self._chunk(reply.canvas(item))
        if added:
            await self._chunk(reply.chunk(content=added))

    async def finish(self, reply: Reply) -> None:
        """Send the rest."""
        if not self._streaming:
            await Json(reply.completion())(self._scope, self._receive, self._send)
            return
        for chunk in reply.last_chunks():
            await self._chunk(chunk)
        await self._event(DONE, more=False)

    async def fail(self, error: ApiError) -> None:
        """Say what is wrong; in a stream as its last event."""
        if not self._streaming:
            await error.response()(self._scope, self._receive, self._send)
            return
        await self._event(b"data: %s\n\n" % json_text(error.body()).encode(), more=False)

    async def _chunk(self, chunk: dict[str, Any]) -> None:
        await self._event(b"data: %s\n\n" % json_text(chunk).encode())

    async def _event(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
