"""One streamed answer of a chat-completions server: time-outs, second tries, and what a failure means."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI, AsyncStream
from stretto.llm.breaker import Breaker, RequestEvent

PATH = "/chat/completions"


class RemoteError(RuntimeError):
    """The model server gave no answer that can be used; the message says what to do."""


class RemoteUnavailable(RemoteError):
    """The model server cannot be reached, is overloaded, fails or is too slow; it may work again later."""


class Server:
    """Where requests go: one HTTP client, and the breaker that all conversations share.

    `address` is for messages. `clock`: seconds, for the breaker.
    """

    def __init__(
        self, address: str, client: Callable[[], AsyncOpenAI], breaker: Breaker, clock: Callable[[], float]
    ) -> None:
        self.address, self.client = address, client
        self._breaker, self._clock = breaker, clock

    def tell(self, event: RequestEvent) -> bool:
        """Give the breaker an event; for `ASKED`: whether the request may go."""
        return self._breaker.feed(event, self._clock())

    def unavailable(self, what: str) -> RemoteUnavailable:
        return RemoteUnavailable(f"the model server at {self.address} {what}")

    def left_alone(self) -> RemoteUnavailable:
        """Why no request goes now."""
        wait = self._breaker.wait_s(self._clock())
        when = f"it is tried again in {wait:.1f} s" if wait else "another request tries it just now"
        return self.unavailable(f"failed several times in a row and is left alone: {when}")

    def explain(self, error: Exception) -> RemoteError:
        """What an error of the HTTP client means to whoever runs the agent."""
        where = f"the model server at {self.address}"
        if not isinstance(error, APIStatusError):
            if isinstance(error, APIConnectionError):
                cause = str(error.__cause__ or "") or error.message
                return self.unavailable(f"cannot be reached: is it running, is the URL right? ({cause})")
            if isinstance(error, APIError):
                return RemoteError(f"{where} reports an error: {error.message[:200]}")
            return RemoteError(f"{where} sent an answer that cannot be read: {str(error)[:200]}")
        status, told = error.status_code, _told(error)
        match status:
            case 401:
                return RemoteError(f"{where} refused the key (401): set STRETTO_MODEL_KEY")
            case 403:
                return RemoteError(f"{where} does not let this key use the model (403): {told}")
            case 404:
                return RemoteError(
                    f"{where} has no such address or model (404): check the URL, and the model's name "
                    f"behind #: {told}"
                )
            case 429:
                return self.unavailable(f"is asked too much (429): try later, or raise its limits: {told}")
            case _ if status >= 500:
                return self.unavailable(f"failed ({status}): {told}")
            case _:
                return RemoteError(f"{where} refused the request ({status}): {told}")


def _told(error: APIStatusError) -> str:
    """What the server itself says, short."""
    body = error.body
    if isinstance(body, Mapping):
        body = body.get("message") or body
    return " ".join(str(body or error.message).split())[:200]


def transient(error: Exception) -> bool:
    """Whether the same request may work if it is made again."""
    if isinstance(error, APIStatusError):
        return error.status_code == 429 or error.status_code >= 500
    return isinstance(error, APIConnectionError)


def _delay_s(error: Exception, attempt: int, first_s: float) -> float:
    """Seconds before the next try: what the server asks for, else twice as long each time, with jitter."""
    if isinstance(error, APIStatusError):
        try:
            asked: str = error.response.headers.get("retry-after", "")
            return max(0.0, float(asked))
        except ValueError:
            pass  # none, or a date
    return first_s * float(2**attempt) * random.uniform(0.5, 1.5)


class Completion:
    """An async context around one answer; leaving it closes the HTTP stream at once.

    Args:
        body: the request's JSON object.
        retries: second tries after errors that may pass, only before the first chunk.
        retry_s: seconds before the first of them, about.

    Entering it raises RemoteUnavailable while the breaker is open.
    """

    def __init__(self, server: Server, body: Mapping[str, Any], *, retries: int, retry_s: float) -> None:
        self._server, self._body = server, body
        self._retries, self._retry_s = retries, retry_s
        self._stream: AsyncStream[object] | None = None
        self._outcome: RequestEvent | None = None
        self.requests = 0
        """Made so far."""

    async def __aenter__(self) -> Completion:
        self._ask()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outcome is None:
            self._settle(RequestEvent.LEFT)
        if self._stream is not None:
            await self._stream.close()

    def succeeded(self) -> None:
        """The answer is whole."""
        self._settle(RequestEvent.SUCCEEDED)

    def failed(self, what: str) -> RemoteUnavailable:
        """The error to raise for an answer that the server did not bring to its end."""
        self._settle(RequestEvent.FAILED)
        return self._server.unavailable(what)

    async def read(self, until: float) -> object | None:
        """The next chunk (any JSON value), None after the last.

        `until`: the event loop's time at which this is given up with TimeoutError. Raises RemoteError.
        """
        async with asyncio.timeout_at(until):
            if self._stream is None:
                return await self._first(until)
            try:
                return await anext(self._stream, None)
            except APIConnectionError as error:
                raise self.failed("broke off in the middle of its answer") from error
            except (APIError, ValueError) as error:
                self._settle(RequestEvent.LEFT if _is_refusal(error) else RequestEvent.FAILED)
                raise self._server.explain(error) from error

    async def _first(self, until: float) -> object | None:
        loop = asyncio.get_running_loop()
        for attempt in itertools.count():
            try:
                return await self._post()
            except (APIError, ValueError) as error:
                passing = transient(error)
                refused = isinstance(error, APIStatusError) or _is_refusal(error)
                self._settle(RequestEvent.LEFT if refused and not passing else RequestEvent.FAILED)
                delay = _delay_s(error, attempt, self._retry_s)
                if not passing or attempt >= self._retries or loop.time() + delay >= until:
                    raise self._server.explain(error) from error
                await asyncio.sleep(delay)
                if not self._server.tell(RequestEvent.ASKED):
                    raise self._server.explain(error) from error
                self._outcome = None
        raise AssertionError

    async def _post(self) -> object | None:
        self.requests += 1
        # Plain JSON values, not the client's models: servers differ in what they leave out and add.
        self._stream = await self._server.client().post(
            PATH, body=self._body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
        )
        return await anext(self._stream, None)

    def _ask(self) -> None:
        if not self._server.tell(RequestEvent.ASKED):
            self._outcome = RequestEvent.LEFT
            raise self._server.left_alone()

    def _settle(self, outcome: RequestEvent) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._server.tell(outcome)


def _is_refusal(error: Exception) -> bool:
    """Whether an error that came as a chunk is about the request, not about the server."""
    return isinstance(error, APIError) and str(error.code or "").startswith("4")
