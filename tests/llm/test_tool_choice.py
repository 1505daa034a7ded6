"""A client that decides whether a tool is called: the embedded model follows, whatever it would do itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, get_args

import jsonschema
import pytest
from stretto.llm.language_model import AUTO, Draft, ToolChoice, last_draft
from stretto.llm.local import LocalModel, Sampler
from stretto.tools.tool import ToolSpec

BOOK = ToolSpec(
    "book_table",
    "Book a table.",
    {
        "type": "object",
        "properties": {
            "day": {"type": "string"},
            "people": {"type": "integer", "minimum": 1, "maximum": 20},
            "area": {"enum": ["inside", "terrace"]},
        },
        "required": ["day", "people"],
    },
)
CANCEL = ToolSpec(
    "book_table_cancel",
    "Cancel a table.",
    {
        "type": "object",
        "properties": {"code": {"type": "string", "minLength": 4, "maxLength": 8}},
        "required": ["code"],
    },
)
HANG_UP = ToolSpec("hang_up", "End the call.", {"type": "object", "properties": {}, "required": []})
TOOLS = [BOOK, CANCEL, HANG_UP]
OWN = frozenset({"book_table", "book_table_cancel"})
SAID = ["No, that is all, goodbye.", "I want a table for four on Monday.", "Thank you."]
"""To the first the model hangs up, to the others it answers in words."""


@pytest.fixture(scope="module")
def embedded() -> Iterator[LocalModel]:
    model = LocalModel()
    yield model
    model.close()


@pytest.fixture(params=get_args(Sampler))
def model(embedded: LocalModel, request: pytest.FixtureRequest) -> Iterator[LocalModel]:
    """The embedded weights, written with each way in turn."""
    one = LocalModel(model=embedded.transformer, tokenizer=embedded.tokenizer, sampler=request.param)
    yield one
    one.close()


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(work())


async def answers(model: LocalModel, choice: ToolChoice, tools: Any = TOOLS) -> list[Draft]:
    drafts = []
    for words in SAID:
        conversation = model.open("You answer the phone of a restaurant.", tools, choice)
        await conversation.say("Harbor Restaurant, how can I help you?")
        await conversation.hear(words)
        drafts.append(await last_draft(conversation, "low"))
        conversation.close()
    return drafts


def fit(draft: Draft) -> bool:
    for call in draft.calls:
        jsonschema.validate(call.arguments, next(t.parameters for t in TOOLS if t.name == call.name))
    return True


def test_a_required_call_is_always_made_and_fits_its_schema(model: LocalModel) -> None:
    async def work() -> None:
        hung_up, *others = await answers(model, AUTO)
        assert [call.name for call in hung_up.calls] == ["hang_up"] and not any(d.calls for d in others)
        for draft in await answers(model, ToolChoice("required")):
            assert draft.calls and not draft.text and fit(draft)
        for draft in await answers(model, ToolChoice("required", OWN)):
            assert draft.calls[0].name in OWN and fit(draft), "hanging up is not what was asked for"

    run(work)


@pytest.mark.parametrize("name", ["book_table", "book_table_cancel", "hang_up"])
def test_the_tool_that_is_named_is_called_once(model: LocalModel, name: str) -> None:
    async def work() -> None:
        for draft in await answers(model, ToolChoice("required", frozenset({name}))):
            assert [call.name for call in draft.calls] == [name] and not draft.text and fit(draft)

    run(work)


def test_where_no_call_is_wanted_the_model_speaks(model: LocalModel) -> None:
    async def work() -> None:
        for draft in await answers(model, ToolChoice("none")):
            assert draft.text and not draft.calls

    run(work)


def test_what_follows_a_result_is_free_until_the_caller_speaks_again(embedded: LocalModel) -> None:
    async def work() -> None:
        named = ToolChoice("required", frozenset({"book_table"}))
        conversation = embedded.open("You answer the phone of a restaurant.", TOOLS, named)
        await conversation.hear("I want a table for four on Monday.")
        first = await last_draft(conversation, "low")
        assert conversation.callable()[1]
        await conversation.commit(first)
        await conversation.tool_result(first.calls[0].id, '{"ok":true,"table":"window"}')
        assert conversation.callable() == (TOOLS, False)
        second = await last_draft(conversation, "low")
        assert second.text, "or it would book for ever"
        await conversation.commit(second)
        await conversation.hear("Thank you.")
        assert [call.name for call in (await last_draft(conversation, "low")).calls] == ["book_table"]
        await conversation.restore([{"role": "user", "content": "A table."}])
        assert conversation.callable() == ([BOOK], True)
        conversation.close()

    run(work)


def test_a_choice_that_no_tool_fits_is_refused(embedded: LocalModel) -> None:
    with pytest.raises(ValueError, match="no tool order_taxi"):
        embedded.open("", TOOLS, ToolChoice("required", frozenset({"order_taxi", "book_table"})))

    async def work() -> None:
        assert all(draft.text for draft in await answers(embedded, ToolChoice("required"), []))

    run(work)
