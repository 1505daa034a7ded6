"""A draft for an earlier version of the caller's words is revised: the same reply in fewer passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch
from stretto.llm.checkpoint import EMBEDDED, load
from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import Draft, last_draft
from stretto.llm.local import LocalModel
from stretto.tools.tool import ToolSpec, tool


@tool
async def find_tables(people: int, day: str) -> str:
    """Find free tables in a restaurant."""
    return ""


@tool
async def book_taxi(place: str, time: str) -> str:
    """Book a taxi."""
    return ""


TOOLS: list[ToolSpec] = [find_tables.spec, book_taxi.spec]
SYSTEM = "You are the concierge of Harbor City. Plain spoken English, short."
VERSIONS = (
    ("I would like to book", "I would like to book a table for two."),
    ("I would like to book a table for two", "I would like to book a table for two tomorrow."),
    ("Find a table for two on Friday", "Find a table for four on Friday."),
    ("Book a taxi to the station", "Book a taxi to the station at nine in the morning."),
    ("Thank you", "Thank you, that is all, goodbye."),
)


@pytest.fixture(scope="module")
def exact() -> Iterator[LocalModel]:
    """The embedded weights in float32, where passes of other shapes break no ties."""
    model = LocalModel(model=load(EMBEDDED, dtype=torch.float32))
    yield model
    model.close()


async def written(model: LocalModel, words: str, old: Draft | None = None) -> Draft:
    conversation: LocalConversation = model.open(SYSTEM, TOOLS)
    try:
        await conversation.hear(words)
        if old is None:
            return await last_draft(conversation, "medium")
        async for item in conversation.draft("medium", revise=old):
            if isinstance(item, Draft):
                return item
    finally:
        conversation.close()
    raise AssertionError("no draft")


def same(one: Draft, other: Draft) -> bool:
    calls = [[(call.name, call.arguments) for call in draft.calls] for draft in (one, other)]
    return one.text == other.text and calls[0] == calls[1]


def test_the_words_are_those_of_a_draft_from_nothing_in_fewer_passes(exact: LocalModel) -> None:
    async def work() -> None:
        saved = 0
        for before, after in VERSIONS:
            old, fresh = await written(exact, before), await written(exact, after)
            revised = await written(exact, after, old)
            assert same(revised, fresh), (before, after)
            assert revised.forwards <= fresh.forwards
            saved += fresh.forwards - revised.forwards
            again = await written(exact, after, fresh)
            assert same(again, fresh) and again.forwards == 1
        assert saved > 0

    asyncio.run(work())


def test_a_draft_that_has_nothing_to_do_with_it_changes_nothing(exact: LocalModel) -> None:
    async def work() -> None:
        fresh = await written(exact, "Book a taxi to the station at nine.")
        rng = torch.Generator().manual_seed(3)
        for length in (1, 5, 40, 400):
            ids = torch.randint(20, 9000, (length,), generator=rng).tolist()
            for head in (fresh.segments[0][:1], ()):
                odd = Draft("?", segments=((*head, *ids),))
                revised = await written(exact, "Book a taxi to the station at nine.", odd)
                assert same(revised, fresh)
                assert revised.forwards <= fresh.forwards + 1

    asyncio.run(work())
