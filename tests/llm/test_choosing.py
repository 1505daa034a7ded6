"""Choices in one forward, and replies with gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import torch
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.infill import Gap
from stretto.llm.local import LocalModel
from stretto.llm.tokenizer import CALL, END, SAY, embedded_tokenizer
from stretto.llm.transformer import Config, Transformer
from stretto.tools.tool import ToolSpec, tool

T = TypeVar("T")


@tool
async def book(day: str) -> str:
    """Book a table."""
    return ""


@tool
async def book_taxi(place: str) -> str:
    """Book a taxi."""
    return ""


TOOLS: list[ToolSpec] = [book.spec, book_taxi.spec]


@pytest.fixture(scope="module", params=[False, True])
def model(request: pytest.FixtureRequest) -> Iterator[LocalModel]:
    torch.manual_seed(0)
    config = Config(
        embedded_tokenizer().size, layers=2, width=32, heads=2, kv_heads=1, head_width=16, hidden=48,
        shifted=request.param,
    )  # fmt: skip
    transformer = Transformer(config).eval().requires_grad_(False)
    transformer.embed_tokens.weight.mul_(5.0)
    model = LocalModel(model=transformer, context=256)
    yield model
    model.close()


@pytest.fixture(scope="module")
def house() -> Iterator[LocalModel]:
    model = LocalModel()
    yield model
    model.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_a_choice_is_as_likely_as_its_tokens_one_by_one_and_takes_one_forward(model: LocalModel) -> None:
    options = ["Yes.", "Yes, please do.", "No."]

    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        await conversation.hear("A table")
        base, passes = conversation.prompt(), model.engine.counts.passes
        shares = await conversation.choose(options)
        assert model.engine.counts.passes == passes + 1 and sum(shares) == pytest.approx(1)
        assert conversation.cache.ids == [*base, SAY], "nothing of the options stays"
        logs = []
        for text in options:
            ids = [SAY, *model.tokenizer.encode(f" {text}"), END]
            rows = await model.engine.run(conversation.read(base + ids, len(ids)))
            steps = torch.log_softmax(rows[:-1], -1)
            logs.append(sum(float(steps[n, token]) for n, token in enumerate(ids[1:])))
        expected = torch.tensor(logs).softmax(0).tolist()
        assert shares == pytest.approx(expected, abs=1e-4)
        begun = await conversation.choose(["Monday", "Friday"], begun="It is on", whole=False)
        assert sum(begun) == pytest.approx(1)

    run(work())


def test_which_tool_of_those_that_are_there(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        await conversation.hear("A table")
        base = conversation.prompt()
        shares = await conversation.choose(["book", "book_taxi"], mark="call")
        brace = model.tokenizer.encode('{"')[0]
        logs = []
        for name in ("book", "book_taxi"):
            ids = [CALL, *model.tokenizer.encode(name), brace]
            rows = await model.engine.run(conversation.read(base + ids, len(ids)))
            steps = torch.log_softmax(rows[:-1], -1)
            logs.append(sum(float(steps[n, token]) for n, token in enumerate(ids[1:])))
        assert shares == pytest.approx(torch.tensor(logs).softmax(0).tolist(), abs=1e-4)

    run(work())


@pytest.mark.parametrize("options", [[], ["yes"], ["yes", " yes "], ["yes", ""]])
def test_what_is_no_choice_is_refused(model: LocalModel, options: list[str]) -> None:
    conversation = model.open("Be brief.", [])
    with pytest.raises(ValueError, match="option"):
        run(conversation.choose(options, whole=False))


def test_the_house_model_knows_which_tool_is_meant(house: LocalModel) -> None:
    async def work() -> None:
        conversation = house.open("You are a concierge.", TOOLS)
        await conversation.hear("I need a taxi to the station.")
        taxi = await conversation.choose(["book", "book_taxi"], mark="call")
        assert taxi[1] > 0.5

    run(work())


def test_gaps_are_filled_and_the_rest_stays(model: LocalModel) -> None:
    people, time = Gap("people", ("two", "four", "twenty")), Gap("time")
    template = ["Your table for ", people, " is booked at ", time, "."]

    async def work() -> None:
        conversation = model.open("Be brief.", [])
        await conversation.hear("A table")
        for effort in ("minimal", "high"):
            filled = await conversation.infill(template, effort)  # type: ignore[arg-type]
            for_whom, when = filled.values["people"], filled.values["time"]
            assert filled.text == f"Your table for {for_whom} is booked at {when}."
            assert for_whom in people.options and when.strip() == when and filled.forwards >= 1
        before = conversation.prompt()
        await conversation.hear("A table")
        assert conversation.prompt() == before

    run(work())


def test_a_template_that_cannot_be_filled_says_why(model: LocalModel) -> None:
    conversation = model.open("Be brief.", [])
    for template in (["Nothing open."], [Gap("a"), Gap("b")], [Gap("a"), " and ", Gap("a")]):
        with pytest.raises(ValueError, match="gap"):
            run(conversation.infill(template))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedSchema, match="at most 128"):
        run(conversation.infill(["word " * 300, Gap("a")]))


def test_the_house_model_fills_in_what_was_said(house: LocalModel) -> None:
    async def work() -> None:
        conversation = house.open("You are a concierge.", TOOLS)
        await conversation.hear("I would like a table for four on Friday.")
        people = Gap("people", ("two", "three", "four", "five", "six"))
        filled = await conversation.infill(["A table for ", people, ", is that right?"])
        assert filled.values == {"people": "four"}

    run(work())
