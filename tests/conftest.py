"""What tests of several rooms share: real ears, a real voice, a model that says what a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import soxr
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Synthesiser
from stretto.llm.language_model import AUTO, Call, Canvas, Draft, Settled, ToolChoice, TurnSignal
from stretto.llm.local import LocalModel


@dataclass
class Brain:
    """Every conversation answers by `policy(heard, results)`: words, a call, or a Draft."""

    policy: Callable[[Any], Any] = lambda thought: f"You said {thought.words}"
    conversations: list[Any] = field(default_factory=list)

    def open(self, system: str, tools: Any, choice: ToolChoice = AUTO) -> Thought:
        self.conversations.append(Thought(self, system, [tool.name for tool in tools], choice))
        return self.conversations[-1]

    @property
    def last(self) -> Any:
        return self.conversations[-1]


class Thought:
    """Remembers what it is told as messages, and writes on a canvas in six passes."""

    def __init__(self, brain: Brain, system: str, tools: list[str], choice: ToolChoice = AUTO) -> None:
        self.brain, self.system, self.tools, self.choice = brain, system, tools, choice
        self.messages: list[tuple[str, str]] = []
        self.pending = ""
        self._revision = 0
        self._held: dict[int, int] = {}

    @property
    def words(self) -> str:
        return self.pending or next((text for role, text in reversed(self.messages) if role == "user"), "")

    @property
    def results(self) -> list[str]:
        """What came of tools since the caller last spoke."""
        last = max((n for n, (role, _) in enumerate(self.messages) if role == "user"), default=0)
        return [text for role, text in self.messages[last:] if role == "tool"] if not self.pending else []

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        self.pending = " ".join(f"{stable} {tentative}".split())
        return TurnSignal(0.9, 0.5, 0.5)

    async def draft(
        self, effort: str = "medium", deadline_ms: float | None = None, revise: Draft | None = None
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        made = self.brain.policy(self)
        if isinstance(made, str):
            made = Draft(made)
        elif isinstance(made, Call):
            made = Draft("", (made,))
        text = made.text or f"{made.calls[0].name} {json.dumps(made.calls[0].arguments)}"
        tokens = [f" {word}" if n else word for n, word in enumerate(text.split()[:24])] + ["<end>", "<pad0>"]
        order = np.random.default_rng(7).permutation(len(tokens))
        for forward in range(1, 7):
            await asyncio.sleep(0.015)
            settled = set(order[: len(tokens) * forward // 6])
            yield Canvas(tuple(t if n in settled else None for n, t in enumerate(tokens)), forward)
        self._revision += 1
        yield Draft(made.text, made.calls, 6, self._revision)

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        if self.pending:
            self.messages.append(("user", self.pending))
            self.pending = ""
        text = draft.text if heard is None else heard
        entry = ("assistant", " ".join([text, *(f"{c.name}({c.arguments})" for c in draft.calls)]).strip())
        if draft.revision in self._held:
            self.messages[self._held[draft.revision]] = entry
        elif entry[1]:
            self._held[draft.revision] = len(self.messages)
            self.messages.append(entry)

    async def say(self, text: str) -> None:
        self.messages.append(("assistant", text))

    async def tool_result(self, call_id: str, content: str) -> None:
        self.messages.append(("tool", content))

    async def restore(self, messages: Any) -> None:
        self._held.clear()
        self.messages = [(m["role"], m["content"]) for m in messages]

    def close(self) -> None:
        return None


@pytest.fixture(scope="session")
def ears() -> Iterator[Recogniser]:
    recogniser = Recogniser()
    yield recogniser
    recogniser.close()


@pytest.fixture(scope="session")
def throat() -> Iterator[Synthesiser]:
    synthesiser = Synthesiser()
    synthesiser.warm()
    yield synthesiser
    synthesiser.close()


@pytest.fixture(scope="session")
def embedded() -> Iterator[LocalModel]:
    """The model that comes with the install."""
    model = LocalModel()
    yield model
    model.close()


@pytest.fixture(scope="session")
def says() -> Iterator[Callable[..., np.ndarray]]:
    """`says(text, rate)`: a caller who says it in the same way every time, and is silent then; int16."""
    voice = Synthesiser(speed=1.05, pitch=1.1, deterministic=True)

    def said(text: str, rate: int, silence_s: float = 2.0) -> np.ndarray:
        pcm = soxr.resample(np.concatenate([chunk.pcm for chunk in voice.synthesise(text)]), voice.rate, rate)
        return np.concatenate([pcm, np.zeros(round(silence_s * rate), np.int16)])

    yield said
    voice.close()


@pytest.fixture
def brain() -> Brain:
    return Brain()
