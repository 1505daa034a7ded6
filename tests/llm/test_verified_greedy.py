"""Draft and verify writes what greedy left-to-right writing does: 200 prompts, token by token, in float32.

A difference is allowed only where the two likeliest tokens are within 1e-4 of each other; those are counted.
"""

from __future__ import annotations

import asyncio
import random

import pytest
import torch
from stretto.llm.checkpoint import EMBEDDED, load
from stretto.llm.language_model import Draft, Steering
from stretto.llm.local import LocalModel
from stretto.llm.tokenizer import embedded_tokenizer
from stretto.llm.transformer import Config, Transformer
from stretto.tools.tool import tool

PROMPTS = 200
WORDS = (
    "I would like to book a table for two please on Friday at eight in the evening what time do you open can "
    "you find me a taxi hotel cheap north room tomorrow no thank you goodbye yes that is right my name is Ann"
).split()


@tool
async def book(day: str, people: int = 2) -> str:
    """Book a table."""
    return ""


@tool
async def find_taxi(place: str) -> str:
    """Find a taxi."""
    return ""


def prompts() -> list[str]:
    chance = random.Random(7)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 12))) for _ in range(PROMPTS)]


async def ids(model: LocalModel, words: str, steering: Steering) -> list[int]:
    conversation = model.open("You are a concierge.", [book.spec, find_taxi.spec])
    try:
        await conversation.hear(words)
        draft: Draft | None = None
        async for item in conversation.draft("medium", steering=steering):
            if isinstance(item, Draft):
                draft = item
        assert draft is not None
        return [token for segment in draft.segments for token in segment]
    finally:
        conversation.close()


async def tied(model: LocalModel, words: str, same: list[int]) -> bool:
    """Whether the two likeliest tokens behind these are as good as the same."""
    conversation = model.open("You are a concierge.", [book.spec, find_taxi.spec])
    await conversation.hear(words)
    rows = await model.engine.run(conversation.read(conversation.prompt() + same))
    best = rows[-1].topk(2).values
    conversation.close()
    return float(best[0] - best[1]) < 1e-4


def compared(transformer: Transformer, said: list[str], steering: Steering) -> int:
    """How many prompts are answered otherwise, by a tie; any other difference fails."""
    verified, causal = (
        LocalModel(model=transformer, context=256, sampler=sampler) for sampler in ("verified", "causal")
    )

    async def work() -> int:
        ties = 0
        for words in said:
            one, other = await ids(verified, words, steering), await ids(causal, words, steering)
            if one != other:
                same = next(n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
                assert await tied(causal, words, one[:same]), words
                ties += 1
        return ties

    ties = asyncio.run(work())
    verified.close()
    causal.close()
    return ties


@pytest.mark.parametrize("shifted", [False, True])
def test_random_weights(shifted: bool) -> None:
    torch.manual_seed(1)
    config = Config(
        embedded_tokenizer().size, layers=2, width=32, heads=2, kv_heads=1, head_width=16, hidden=48,
        shifted=shifted,
    )  # fmt: skip
    transformer = Transformer(config).eval().requires_grad_(False)
    half = prompts()[shifted::2]
    assert compared(transformer, half, Steering(most_tokens=16)) <= 2


@pytest.mark.bars
@pytest.mark.timeout(1800)
def test_the_embedded_weights() -> None:
    ties = compared(load(EMBEDDED, dtype=torch.float32), prompts(), Steering())
    print(f"{ties} of {PROMPTS} by a tie")
    assert ties <= 2
