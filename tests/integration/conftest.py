"""Real ears and a real voice for the whole module; a language model that says what a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from stretto.agent.ways_in.speech import Speech
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Synthesiser
from stretto.llm.checkpoint import save
from stretto.llm.language_model import AUTO, Call, Canvas, Draft, Settled, ToolChoice, ToolSpec, TurnSignal
from stretto.llm.tokenizer import embedded_tokenizer
from stretto.llm.transformer import Config, Transformer

PASSES = 3
Policy = Callable[["ScriptedConversation"], tuple[str, Sequence[Call]]]


class ScriptedConversation:
    """Writes what the policy says, in three passes; `results` are those of the tools that ran so far."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.caller = ""
        self.results: list[dict[str, Any]] = []
        self.said: list[str] = []

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        self.caller = stable + tentative
        return TurnSignal(0.9, 0.5, 0.5)

    async def draft(
        self, effort: str = "medium", deadline_ms: float | None = None, revise: Draft | None = None
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        text, calls = self.policy(self)
        words = text.split() or ["call"]
        for number in range(1, PASSES + 1):
            await asyncio.sleep(0.01)
            known = len(words) * number // PASSES
            yield Canvas(tuple(w if i < known else None for i, w in enumerate(words)), number)
        yield Draft(text, tuple(calls), PASSES)

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        self.said.append(draft.text if heard is None else heard)

    async def say(self, text: str) -> None:
        self.said.append(text)

    async def tool_result(self, call_id: str, content: str) -> None:
        self.results.append(json.loads(content))

    async def restore(self, messages: Sequence[Any]) -> None:
        self.said = [m["content"] for m in messages if m["role"] == "assistant"]

    def close(self) -> None:
        return None


class ScriptedModel:
    """One conversation at a time, kept to be looked at."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.conversation: ScriptedConversation | None = None

    def open(self, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO) -> ScriptedConversation:
        self.conversation = ScriptedConversation(self.policy)
        return self.conversation


@pytest.fixture(scope="session")
def speech() -> Iterator[Speech]:
    speech = Speech(Recogniser(), Synthesiser())
    speech.synthesiser.warm()
    yield speech
    speech.close()


@pytest.fixture
def scripted() -> Callable[[Policy], ScriptedModel]:
    return ScriptedModel


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of the real format, in a folder."""
    folder = tmp_path_factory.mktemp("tiny")
    config = Config(
        embedded_tokenizer().size, layers=1, width=32, heads=2, kv_heads=1, head_width=16, hidden=64
    )
    save(folder, config, Transformer(config).state_dict())
    return folder


@pytest.fixture
def command() -> Callable[..., int]:
    """Run one command of Stretto as the command line does; the exit code comes back."""
    import argparse
    import sys

    from stretto.agent.cli import UsageError, add_common

    def run(register: Callable[[Any], None], *argv: str) -> int:
        parser = argparse.ArgumentParser(prog="stretto")
        commands = parser.add_subparsers(dest="command", required=True)
        register(commands)
        for leaf in commands.choices.values():
            add_common(leaf)
        args = parser.parse_args(argv)
        try:
            return int(args.run(args))
        except UsageError as error:
            print(error, file=sys.stderr)
            return 2

    return run
