"""Whole histories sent again and again: what was read stays read, drafts are revised or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from stretto.demo.chat_requests import ChatRequests
from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import Busy
from stretto.llm.local import LocalModel
from stretto.llm.serve.error import ApiError

SYSTEM = {"role": "system", "content": "You are the concierge of Harbor City. Plain spoken English, short."}
HELLO = {"role": "user", "content": "Hello."}
TABLE = {
    "type": "function",
    "function": {
        "name": "find_restaurants",
        "description": "Look for restaurants.",
        "parameters": {"type": "object", "properties": {"food": {"type": "string"}}},
    },
}


def said(*turns: str) -> dict[str, Any]:
    """A request after these words: the caller's, the agent's, the caller's, …"""
    roles = ("user", "assistant")
    told = [{"role": roles[i % 2], "content": words} for i, words in enumerate(turns)]
    return {"messages": [SYSTEM, *told]}


async def answered(requests: ChatRequests, request: dict[str, Any]) -> tuple[str, Any]:
    async with requests.answering(request) as answer:
        return "".join([text async for text in answer]), answer


def run(embedded: LocalModel, work: Callable[[ChatRequests], Coroutine[Any, Any, Any]]) -> Any:
    async def within() -> Any:
        requests = ChatRequests(embedded)
        try:
            return await asyncio.wait_for(work(requests), 100)
        finally:
            await requests.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(within())


def test_only_what_is_new_is_read(embedded: LocalModel) -> None:
    async def work(requests: ChatRequests) -> None:
        reply, first = await answered(requests, said("Good morning!"))
        assert first.cached_tokens == 0 and first.reply.usage()["completion_tokens"] > 0
        _, second = await answered(requests, said("Good morning!", reply, "I need a hotel."))
        # All of the first prompt and most of the reply: its last tokens may be told in other tokens.
        assert second.cached_tokens >= first.reply.prompt_tokens
        # The caller cut in: only what was heard of it is told.
        _, third = await answered(requests, said("Good morning!", reply.split()[0], "No, wait."))
        assert third.cached_tokens >= first.reply.prompt_tokens

    run(embedded, work)


def test_dialogues_do_not_take_each_others_conversation(embedded: LocalModel) -> None:
    async def work(requests: ChatRequests) -> None:
        one, other = ["Good morning!"], ["Is there a taxi?"]
        read = {}
        for turn in range(4):
            for dialogue in (one, other):
                reply, answer = await answered(requests, said(*dialogue))
                if turn > 1:
                    assert answer.cached_tokens >= read[dialogue[0]]
                read[dialogue[0]] = answer.reply.prompt_tokens
                dialogue += [reply, "And then?"]

    run(embedded, work)


def test_another_system_text_or_other_tools_are_another_conversation(embedded: LocalModel) -> None:
    async def work(requests: ChatRequests) -> None:
        await answered(requests, said("Good morning!"))
        request = said("Good morning!") | {"tools": [TABLE]}
        _, answer = await answered(requests, request)
        assert answer.cached_tokens == 0
        _, answer = await answered(requests, request | {"tool_choice": "required"})
        assert [call.name for call in answer.reply.calls] == ["find_restaurants"]

    run(embedded, work)


def test_the_text_comes_as_it_settles(embedded: LocalModel) -> None:
    async def work(requests: ChatRequests) -> None:
        async with requests.answering(said("Good morning!")) as answer:
            pieces = [text async for text in answer]
        assert len(pieces) > 1 and "".join(pieces) == answer.reply.text

    run(embedded, work)


def test_an_early_draft_saves_passes_and_changes_no_word(embedded: LocalModel) -> None:
    """For the words it was made for, and for others; it is written while nobody waits."""

    async def work(requests: ChatRequests) -> None:
        for heard, wanted in (
            ("I would like a hotel", "I would like a hotel."),
            ("A taxi", "A taxi, please."),
        ):
            fresh, alone = await answered(ChatRequests(embedded), said(wanted))
            requests.expect(said(heard))
            requests.expect(said(heard))  # again: it follows the first
            assert requests._early is not None
            await requests._early
            reply, answer = await answered(requests, said(wanted))
            assert reply == fresh
            assert answer.reply.forwards <= alone.reply.forwards
            assert answer.cached_tokens > alone.cached_tokens
        requests.expect(said(wanted))
        await requests._early
        _, answer = await answered(requests, said(wanted))
        assert answer.reply.forwards < alone.reply.forwards / 2

    run(embedded, work)


def test_a_finished_draft_outlives_one_that_is_given_up(
    embedded: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    revised: list[Any] = []
    real = LocalConversation.draft

    def draft(self: LocalConversation, effort: Any, deadline: Any, revise: Any, steering: Any) -> Any:
        revised.append(revise)
        return real(self, effort, deadline, revise, steering)

    monkeypatch.setattr(LocalConversation, "draft", draft)

    async def work(requests: ChatRequests) -> None:
        await answered(requests, said("I would like a hotel"))
        async with requests.answering(said("I would like a hotel in")) as answer:
            async for _ in answer:
                break
        await answered(requests, said("I would like a hotel in the north."))
        first, second, third = revised
        assert first is None and second is not None and third is not None

    run(embedded, work)


def test_an_early_draft_in_the_making_gives_way(embedded: LocalModel) -> None:
    async def work(requests: ChatRequests) -> None:
        requests.expect(said("I would like"))
        for _ in range(5):
            await asyncio.sleep(0)
        reply, _ = await answered(requests, said("Good morning!"))
        assert reply
        assert len(requests._waiting) == 1, "the conversation that had begun to read was used"
        requests.expect({"messages": "nonsense"})  # a guess that cannot be answered troubles nobody
        assert (await answered(requests, said("Good morning!")))[0] == reply

    run(embedded, work)


async def passes(model: LocalModel, work: Coroutine[Any, Any, Any]) -> int:
    """How many the model makes for some work, until nothing is left to do."""
    before = model.engine.counts.passes
    await asyncio.wait([asyncio.create_task(work)])
    async with asyncio.timeout(30):
        while model.engine.alive:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return model.engine.counts.passes - before


def test_what_is_left_early_is_written_no_further(embedded: LocalModel) -> None:
    """Left by who reads it, or cancelled; the conversation is as good as before."""

    async def work(requests: ChatRequests) -> None:
        async def left(how: str) -> None:
            async with requests.answering(said("Good morning!")) as answer:
                async for _ in answer:
                    if how == "cancelled":
                        raise asyncio.CancelledError
                    break

        other = ChatRequests(embedded)
        whole = await passes(embedded, answered(other, said("Good morning!")))
        fresh, _ = await answered(other, said("Good morning!"))
        await other.aclose()
        assert await passes(embedded, left("read")) < whole
        assert await passes(embedded, left("cancelled")) < whole
        reply, answer = await answered(requests, said("Good morning!"))
        assert reply == fresh and answer.cached_tokens > 20

    run(embedded, work)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"messages": []}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "image_url is not supported",
        ),
        (said("Hello") | {"tool_choice": "required"}, "no tools"),
        (said("Hello") | {"tools": [{"type": "web_search"}]}, "no function"),
    ],
)
def test_what_cannot_be_answered_is_told(embedded: LocalModel, request_: dict[str, Any], told: str) -> None:
    async def work(requests: ChatRequests) -> None:
        with pytest.raises(ApiError, match=told):
            await answered(requests, request_)
        assert (await answered(requests, said("Good morning!")))[0]

    run(embedded, work)


def test_a_busy_model_says_so(embedded: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise Busy("too many")

    async def work(requests: ChatRequests) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(embedded.engine, "submit", full)
            with pytest.raises(ApiError) as told:
                await answered(requests, said("Good morning!"))
        assert told.value.status == 503
        assert (await answered(requests, said("Good morning!")))[0]

    run(embedded, work)


def test_only_so_many_conversations_are_kept(embedded: LocalModel) -> None:
    async def work(requests: ChatRequests) -> None:
        for number in range(6):
            await answered(requests, {"messages": [{"role": "system", "content": str(number)}, HELLO]})
        assert len(requests._waiting) == 4
        held = [each.conversation for each in requests._waiting]
        await requests.aclose()
        for conversation in held:
            with pytest.raises(RuntimeError, match="closed"):
                await conversation.hear("Hello")

    run(embedded, work)
