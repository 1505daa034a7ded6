"""The server on a real port: with the embedded model, or one that does what a test wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from stretto.llm.language_model import AUTO, FREE, Canvas, Draft, Settled, Steering, ToolChoice, TurnSignal
from stretto.llm.local import LocalModel
from stretto.llm.serve.app import serve_app
from stretto.llm.serve.completions import Limits, Served
from stretto.llm.serve.doors import Doors
from stretto.llm.serve.listening import listening
from stretto.llm.tokenizer import embedded_tokenizer

NAME = "house"
Item = Canvas | Settled | Draft


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


# ------------------------------------------------------------------ a model that is told what to do


@dataclass
class Scripted:
    """Conversations write what `play` gives for them; a step of it that is no item is waited for."""

    play: Callable[[Any], Any]
    conversations: list[Any] = field(default_factory=list)

    def open(self, system: str, tools: Any, choice: ToolChoice = AUTO) -> Conversation:
        self.conversations.append(Conversation(self, system, list(tools), choice))
        return self.conversations[-1]  # type: ignore[no-any-return]

    @property
    def last(self) -> Any:
        return self.conversations[-1]


class Conversation:
    def __init__(self, model: Scripted, system: str, tools: Any, choice: ToolChoice) -> None:
        self.model, self.system, self.tools, self.choice = model, system, tools, choice
        self.messages: list[Any] = []
        self.steering, self.effort = FREE, ""
        self.began = self.left = self.closed = False

    async def restore(self, messages: Any) -> None:
        self.messages = list(messages)

    async def draft(
        self, effort: str, deadline_ms: float | None = None, revise: Any = None, steering: Steering = FREE
    ) -> AsyncIterator[Item]:
        self.effort, self.steering, self.deadline_ms, self.began = effort, steering, deadline_ms, True
        try:
            for step in self.model.play(self):
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, Awaitable):
                    await step
                else:
                    yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.left = True
            raise

    def close(self) -> None:
        self.closed = True

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        raise NotImplementedError

    commit = say = tool_result = hear  # type: ignore[assignment]


@dataclass
class Place:
    """A running server and the official client of it."""

    url: str
    client: AsyncOpenAI
    model: Any
    metrics: Any

    async def ask(self, text: str = "Hello.", **fields: Any) -> Any:
        messages = fields.pop("messages", [{"role": "user", "content": text}])
        return await self.client.chat.completions.create(model=NAME, messages=messages, **fields)

    def counted(self, outcome: str) -> float:
        """Requests that ended so."""
        return float(
            self.metrics.registry.get_sample_value("stretto_llm_requests_total", {"outcome": outcome})
        )


@asynccontextmanager
async def _serving(
    model: Any,
    limits: Limits | None = None,
    keys: tuple[str, ...] = (),
    retries: int = 0,
    context: int = 1024,
) -> AsyncIterator[Place]:
    app = serve_app(Served(model, NAME, embedded_tokenizer(), context), Doors(keys), limits)
    before = asyncio.all_tasks()
    async with listening(app) as url:
        key = keys[0] if keys else "none"
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, timeout=60) as client:
            yield Place(url, client, model, app.state.metrics)
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert not left, left


@pytest.fixture
def serving() -> Callable[..., Any]:
    """`serving(play)`: a context with a server of a scripted model; other arguments as the server's."""

    def made(play: Callable[[Any], Any], **options: Any) -> Any:
        return _serving(Scripted(play), **options)

    return made


# ------------------------------------------------------------------ the embedded one


@pytest.fixture(scope="package")
def embedded_model() -> Iterator[LocalModel]:
    model = LocalModel()
    yield model
    model.close()


@dataclass
class House:
    """The embedded model's server, which runs in a thread of its own, and the official client of it."""

    url: str
    client: OpenAI

    def ask(self, text: str = "", **fields: Any) -> Any:
        messages = fields.pop("messages", [{"role": "user", "content": text}])
        return self.client.chat.completions.create(model=NAME, messages=messages, **fields)


@pytest.fixture(scope="package")
def house(embedded_model: LocalModel) -> Iterator[House]:
    ready, urls = threading.Event(), []
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with listening(serve_app(Served(embedded_model, NAME, embedded_model.tokenizer, 1024))) as url:
            urls.append(url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    with OpenAI(base_url=f"{urls[0]}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield House(urls[0], client)
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()
