"""Scores of a model on dialogues: the truth scores full marks, nothing falls out of the count."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from stretto.llm.checkpoint import save
from stretto.llm.cli import register
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.evaluate import held_again, read, scores_of
from stretto.llm.format import dialogue_segments
from stretto.llm.language_model import Call, Draft, TurnSignal
from stretto.llm.local import LocalModel
from stretto.llm.tokenizer import CALL, SAY, embedded_tokenizer
from stretto.llm.transformer import Config, Transformer

Make = Callable[[int], dict[str, Any]]
TINY = Config(embedded_tokenizer().size, layers=2, width=32, heads=2, kv_heads=1, head_width=16, hidden=48)


class Oracle:
    """A model that answers as the dialogue goes on, or always with the same words."""

    def __init__(self, dialogue: dict[str, Any], words: str | None = None) -> None:
        self.tokenizer = embedded_tokenizer()
        self.words, self.committed = words, 0
        self.turns = [m for m in dialogue["messages"] if m["role"] == "assistant"]
        self.lengths: list[int] = []

    def open(self, system: str, tools: object) -> Oracle:
        return self

    async def hear(self, words: str) -> TurnSignal:
        self.lengths.append(len(words.split()))
        return TurnSignal(1.0 if len(words.split()) >= 3 else 0.0, 0.5, 0.5)

    async def draft(self, effort: str) -> AsyncIterator[Draft]:
        if self.words is not None:
            yield Draft(self.words, forwards=3, ms=5.0, segments=((SAY, 1),))
            return
        turn = self.turns[self.committed]
        calls = tuple(
            Call(f"c{i}", c["name"], c["arguments"]) for i, c in enumerate(turn.get("tool_calls") or [])
        )
        first = SAY if turn["content"] else CALL
        yield Draft(turn["content"] or "", calls, forwards=4, ms=9.0, segments=((first, 1),))

    async def commit(self, draft: Draft) -> None:
        self.committed += 1

    async def tool_result(self, call_id: str, content: str) -> None:
        assert call_id.startswith("true_")

    def close(self) -> None:
        pass


def scored(oracle: Oracle, dialogue: dict[str, Any]) -> dict[str, Any]:
    return scores_of(asyncio.run(held_again(cast(LocalModel, oracle), [dialogue])))


def test_the_truth_scores_full_marks(dialogue: Make) -> None:
    found = scored(Oracle(dialogue(3)), dialogue(3))
    assert found["calls"] == 1 and found["exact_match"] == found["name_accuracy"] == found["argument_f1"] == 1
    assert found["valid"] == 1 and found["chrf"] == pytest.approx(100) and found["length_ratio"] == 1
    assert found["forwards_per_call"]["p50"] == 4 and found["forwards_per_reply"]["p50"] == 4
    assert found["exact_match_macro"] == 1 and found["dialogues"] == 1


def test_a_model_that_never_calls_misses_every_call(dialogue: Make) -> None:
    found = scored(Oracle(dialogue(3), "I am sorry."), dialogue(3))
    assert found["calls"] == 1 and found["exact_match"] == found["argument_f1"] == 0
    assert found["valid"] is None and found["chrf"] < 40


def test_a_refused_schema_counts_its_calls_as_missed(dialogue: Make) -> None:
    class Refusing(Oracle):
        def open(self, system: str, tools: object) -> Oracle:
            raise UnsupportedSchema("$", "is odd", "make it plain")

    found = scored(Refusing(dialogue(3)), dialogue(3))
    assert found["refused"] == 1 and found["calls"] == 1 and found["exact_match"] == 0


def test_ends_are_told_from_cuts(dialogue: Make) -> None:
    one = dialogue(3)
    one["messages"][1]["content"] = "Book day, please!"
    assert scored(Oracle(one), one)["end_of_turn_auc"] is None  # three words: no place to cut
    one["messages"][1]["content"] = "Book that, day."
    one["messages"][1]["pauses"] = [["Book that.", "day."]]
    oracle = Oracle(one)
    found = scored(oracle, one)
    assert found["end_of_turn_auc"] is None and found["end_of_turn_auc_heard"] is None
    one["messages"][1]["content"] = "Book me that, day."
    found = scored(Oracle(one), one)
    assert found["end_of_turn_auc"] == found["end_of_turn_auc_heard"] == 1.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("weights")
    save(folder, TINY, Transformer(TINY).state_dict())
    return folder


@pytest.fixture
def local(weights: Path) -> Iterator[LocalModel]:
    model = LocalModel(weights)
    yield model
    model.close()


def test_the_true_history_stands_before_every_decision(
    local: LocalModel, dialogue: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model has read at its last decision is the dialogue up to there, token by token."""
    prompts: list[list[int]] = []
    writer = local.writer

    def noted(conversation: Any, *rest: Any) -> Any:
        prompts.append(conversation.prompt())
        return writer(conversation, *rest)

    monkeypatch.setattr(local, "writer", noted)
    asyncio.run(held_again(local, [dialogue(5)], "minimal"))
    segments = dialogue_segments(local.tokenizer, dialogue(5))
    assert prompts[-1] == [t for segment in segments[:-1] for t in segment.ids]
    assert prompts[0] == [t for segment in segments[:2] for t in segment.ids]


def test_a_sample_has_of_every_source(tmp_path: Path, dialogue: Make) -> None:
    path = tmp_path / "all.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for number in range(60):
            extra = (
                {"source": "sgd", "unseen_services": ["x"] if number % 3 else []}
                if number > 9
                else {"source": "star"}
            )
            file.write(
                json.dumps({**dialogue(number), **(extra if number > 9 else {"source": "star"})}) + "\n"
            )
    sample = read([path], limit=12, seed=1)
    assert len(sample) == 12 and read([path], limit=12, seed=1) == sample != read([path], limit=12, seed=2)
    assert {(d["source"], bool(d.get("unseen_services"))) for d in sample} == {
        ("star", False), ("sgd", False), ("sgd", True),
    }  # fmt: skip
    assert len(read([path])) == 60


def test_the_command(
    tmp_path: Path, weights: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    register(parser.add_subparsers())
    flags = ["--model", str(weights), "--effort", "minimal", "--limit", "3"]
    args = parser.parse_args(["--json", "--quiet", "llm", "eval", files[1], *flags, "--mode", "causal"])
    assert args.run(args) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dialogues"] == found["calls"] == 3 and found["valid"] in (None, 1.0)
    args = parser.parse_args(["llm", "eval", str(tmp_path / "no.gz"), *flags])
    assert args.run(args) == 2 and "there is no file" in capsys.readouterr().err
    args = parser.parse_args(["llm", "eval", files[1], "--model", str(tmp_path)])
    assert args.run(args) == 2 and "no model in" in capsys.readouterr().err
