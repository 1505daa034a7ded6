"""A draft for an earlier version of the caller's words is revised: the same reply in fewer passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch
from stretto.llm.checkpoint import EMBEDDED, load
from stretto.llm.conversation import LocalConversation
from stretto.llm.denoise import Pass, write_words
from stretto.llm.format import say_segment
from stretto.llm.language_model import Draft, Steering, last_draft
from stretto.llm.local import SAMPLERS, LocalModel, Sampler
from stretto.llm.samplers import CANVAS_SAMPLERS, EFFORT, CanvasSampler
from stretto.llm.tokenizer import END, PADS, embedded_tokenizer
from stretto.llm.transformer import Config, Transformer
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


def tiny(sampler: Sampler) -> LocalModel:
    torch.manual_seed(0)
    config = Config(
        embedded_tokenizer().size, layers=2, width=32, heads=2, kv_heads=1, head_width=16, hidden=48
    )
    model = Transformer(config).eval().requires_grad_(False)
    model.embed_tokens.weight.mul_(12.0)
    return LocalModel(model=model, context=256, sampler=sampler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_was_spoken_of_a_draft_stays(sampler: Sampler) -> None:
    model = tiny(sampler)

    async def work() -> None:
        conversation = model.open("Be brief.", [])
        text, spoken = "Your table is booked for nine in the evening.", "Your table"
        old = Draft(text, segments=(say_segment(model.tokenizer, text).ids,))
        await conversation.hear("Something else entirely, if you please")
        items = [i async for i in conversation.draft("medium", revise=old, pinned=spoken)]
        assert isinstance(items[-1], Draft) and items[-1].text.startswith(spoken)
        fresh = await last_draft(conversation, "medium")
        assert not fresh.text.startswith(spoken), "or nothing was pinned"
        with pytest.raises(ValueError, match="not how the draft begins"):
            _ = [i async for i in conversation.draft(revise=old, pinned="Nothing of the kind.")]
        with pytest.raises(ValueError, match="steer"):
            never = Steering(never=("a",))
            _ = [i async for i in conversation.draft(revise=old, pinned=spoken, steering=never)]

    asyncio.run(work())
    model.close()


@pytest.mark.parametrize("sampler", ["threshold", "entropy", "remasking", "fixed"])
def test_a_canvas_that_is_still_right_takes_one_pass_and_one_that_is_not_is_denoised(
    sampler: CanvasSampler,
) -> None:
    reply, size, vocab = [30, 31, 32, 33, 34, END], 16, 60
    right = [*reply, *(PADS[n % len(PADS)] for n in range(size - len(reply)))]
    scores = torch.full((size, vocab), -10.0)
    scores[range(size), right] = 10.0

    def written(old: list[int], pinned: int = 0) -> tuple[Pass, int]:
        steps = write_words(size, CANVAS_SAMPLERS[sampler](EFFORT["medium"]), old=old, pinned=pinned)
        next(steps)
        for count in range(1, 20):
            try:
                steps.send(scores.clone())
            except StopIteration as end:
                return end.value, count
        raise AssertionError("it goes on and on")

    for old, pinned, expected in (
        (reply, 0, reply),
        ([30, 31, 50, 33, 34, END], 0, reply),
        ([50, END], 0, reply),
        ([50, 51, 52, 53], 2, [50, 51, *reply[2:]]),
    ):
        step, count = written(old, pinned)
        assert list(step.canvas[: step.length]) == expected
        assert (count == 1) == (old == reply)
