"""Self-distillation: the model's own words beside the true ones, and canvases that learn them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from stretto.llm.format import dialogue_segments
from stretto.llm.local import LocalModel
from stretto.llm.tokenizer import END, embedded_tokenizer
from stretto.llm.train.canvases import make_batch
from stretto.llm.train.distil import in_own_words
from stretto.llm.train.renaming import names_of, rename

Make = Callable[[int], dict[str, Any]]


@pytest.fixture(scope="module")
def model() -> Any:
    local = LocalModel()
    yield local
    local.close()


def test_every_turn_is_written_once_more_behind_the_true_ones(model: LocalModel, dialogue: Make) -> None:
    true = dialogue(3)
    own = asyncio.run(in_own_words(model, true))
    assert own is not None
    for before, message in zip(true["messages"], own["messages"], strict=True):
        written = message.get("own")
        assert {k: v for k, v in message.items() if k != "own"} == before
        assert (written is not None) == (message["role"] == "assistant")
        assert written is None or written["content"] or written["tool_calls"]


def test_the_same_head_is_needed(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    one = dialogue(3)
    call, reply = (m for m in one["messages"] if m["role"] == "assistant")
    call["own"] = {"content": None, "tool_calls": [{"name": "book", "arguments": {"day": "never"}}]}
    reply["own"] = {"content": "All done.", "tool_calls": []}
    *_, said = dialogue_segments(tokenizer, one)
    booked = next(s for s in dialogue_segments(tokenizer, one) if s.kind == "call")
    assert said.own == (*tokenizer.encode(" All done."), END)
    assert tokenizer.decode(list(booked.own or ())[:-1]) == '{"day":" never"}'
    call["own"] = {"content": "I cannot.", "tool_calls": []}
    assert all(s.own is None for s in dialogue_segments(tokenizer, one) if s.kind == "call")


def test_canvases_hold_the_own_words_and_the_stream_the_true_ones(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    one = dialogue(3)
    reply = one["messages"][-1]
    reply["own"] = {"content": reply["content"] + " Anything else?", "tool_calls": []}
    *_, said = dialogue_segments(tokenizer, one)
    assert said.own is not None and said.own != said.body
    longer = 0
    for seed in range(30):
        batch = make_batch([[said]], tokenizer.size, random.Random(seed))
        assert batch.clean[0].tolist() == list(said.ids)
        first = int(batch.positions[0][0]) - 1
        target = [token for token in batch.target[0].tolist() if token in said.own]
        assert said.body[:first] == said.own[:first]  # what stands before the canvas is in both
        assert target[: len(said.own) - first] == list(said.own[first : first + len(target)])
        longer += len(target) + first > len(said.body)
    assert longer > 20


def test_names_change_in_the_own_words_too() -> None:
    call = {"name": "reserve_lion", "arguments": {"hotel": "Blue Lion"}}
    one = {
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": "the Blue Lion"},
            {"role": "assistant", "content": None, "tool_calls": [call], "own": {"tool_calls": [call]}},
        ]
    }
    renamed = rename(one, names_of(one), ["kiwi", "mango"], ["s"], random.Random(1))["messages"]
    assert renamed[2]["own"]["tool_calls"] == renamed[2]["tool_calls"] != [call]
    assert renamed[2]["own"]["tool_calls"][0]["name"] == "reserve_lion"
