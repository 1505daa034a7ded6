"""What goes wrong while a reply is written: full, broken, slow, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from typing import Any

import openai
import pytest
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.language_model import Busy, Call, Canvas, Draft, Settled, Steering
from stretto.llm.serve.completions import Limits

PATIENCE_S = 30.0
CALLS = (Call("c1", "book", {"day": "Monday"}), Call("c2", "book", {"day": "Friday"}))
BOOK: Any = [{"type": "function", "function": {"name": "book"}}]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def patient() -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await work

    return asyncio.run(patient())


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def says(*words: str, **fields: Any) -> Any:
    """Settles the words one by one."""
    texts = [" ".join(words[: n + 1]) for n in range(len(words))]
    items = [item for n, text in enumerate(texts) for item in (Canvas((text, None), n + 1), Settled(text))]
    return lambda conversation: [*items, Draft(" ".join(words), forwards=len(words), **fields)]


def test_a_model_is_asked_as_the_request_says(serving: Any) -> None:
    async def work() -> None:
        async with serving(says("Yes.")) as place:
            schema = {"type": "object", "properties": {"a": {"type": "string"}}}
            await place.ask(
                messages=[
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "One"},
                    {"role": "assistant", "content": "Two"},
                    {"role": "user", "content": "Three"},
                ],
                tools=BOOK,
                tool_choice="required",
                max_tokens=9,
                temperature=0.5,
                seed=3,
                reasoning_effort="high",
                response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
            )
            asked = place.model.last
            assert asked.system == "Be brief."
            assert [message["content"] for message in asked.messages] == ["One", "Two", "Three"]
            assert (asked.choice.mode, asked.effort, asked.closed) == ("required", "high", True)
            assert asked.steering == Steering(most_tokens=9, schema=schema, temperature=0.5, seed=3)

    run(work())


def test_calls_come_together_or_one_at_a_time(serving: Any) -> None:
    async def work() -> None:
        async with serving(lambda _: [Settled("One moment."), Draft("One moment.", CALLS)]) as place:
            both = (await place.ask(tools=BOOK)).choices[0].message
            assert [json.loads(call.function.arguments)["day"] for call in both.tool_calls] == [
                "Monday",
                "Friday",
            ]
            assert both.content == "One moment."
            one = (await place.ask(tools=BOOK, parallel_tool_calls=False)).choices[0].message
            assert [call.id for call in one.tool_calls] == ["c1"]
            async with place.client.chat.completions.stream(
                model="house", messages=[{"role": "user", "content": "Hello."}], tools=BOOK
            ) as events:
                streamed = (await events.get_final_completion()).choices[0]
            assert [call.id for call in streamed.message.tool_calls] == ["c1", "c2"]
            assert (streamed.message.content, streamed.finish_reason) == ("One moment.", "tool_calls")

    run(work())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code", "outcome"),
    [
        (Busy("the queue is full: try again soon"), 503, "server_busy", "busy"),
        (RuntimeError("it broke"), 500, "model_failed", "failed"),
        (
            UnsupportedSchema("/properties/a", "it cannot be", "leave it out"),
            400,
            "unsupported_schema",
            "refused",
        ),
    ],
)
def test_a_failure_has_a_status_and_the_server_goes_on(
    serving: Any, error: Exception, status: int, code: str, outcome: str, stream: bool
) -> None:
    steps: list[Any] = [[error], [Draft("Fine.", forwards=1)]]

    async def work() -> None:
        async with serving(lambda _: steps.pop(0)) as place:
            with pytest.raises(openai.APIStatusError) as caught:
                await place.ask(stream=stream)
            assert (caught.value.status_code, caught.value.code) == (status, code)
            assert "it broke" not in str(caught.value)
            assert ("retry-after" in caught.value.response.headers) == (status == 503)
            assert place.model.last.closed
            assert (await place.ask()).choices[0].message.content == "Fine."
            assert (place.counted(outcome), place.counted("ok")) == (1, 1)

    run(work())


def test_the_client_tries_again_where_the_model_is_busy(serving: Any) -> None:
    steps: list[Any] = [[Busy("full")], [Draft("Fine.")]]

    async def work() -> None:
        async with serving(lambda _: steps.pop(0), retries=2) as place:
            assert (await place.ask()).choices[0].message.content == "Fine."

    run(work())


def test_a_failure_in_a_stream_is_its_last_event(serving: Any) -> None:
    async def work() -> None:
        async with serving(lambda _: [Settled("One"), RuntimeError("it broke")]) as place:
            words = []
            with pytest.raises(openai.APIError, match="the model failed"):
                async for chunk in await place.ask(stream=True):
                    words.append(chunk.choices[0].delta.content)
            assert words == ["", "One"]
            assert (place.counted("failed"), place.model.last.closed) == (1, True)

    run(work())


def test_a_draft_without_an_end_is_a_failure(serving: Any) -> None:
    async def work() -> None:
        async with serving(lambda _: [Settled("One")]) as place:
            with pytest.raises(openai.InternalServerError):
                await place.ask()

    run(work())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("settled", [0, 2])
def test_who_leaves_is_not_written_for(serving: Any, stream: bool, settled: int) -> None:
    async def work() -> None:
        never = asyncio.Event()
        async with serving(lambda _: [*[Settled("One")] * settled, never.wait()]) as place:
            asking = asyncio.create_task(read(place, stream))
            await until(lambda: place.model.conversations and place.model.last.began)
            asking.cancel()
            await asyncio.wait([asking])
            await until(lambda: place.counted("left"))
            assert place.model.last.left
            assert place.model.last.closed
            assert place.metrics.registry.get_sample_value("stretto_llm_live") == 0

    run(work())


async def read(place: Any, stream: bool) -> None:
    answer = await place.ask(stream=stream)
    if stream:
        async for _ in answer:
            pass


def test_who_stops_reading_a_stream_is_not_written_for(serving: Any) -> None:
    async def work() -> None:
        never = asyncio.Event()
        async with serving(lambda _: [Settled("One"), never.wait()]) as place:
            stream = await place.ask(stream=True)
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
            await stream.close()
            await until(lambda: place.counted("left"))
            assert place.model.last.left

    run(work())


def test_who_leaves_while_waiting_gives_the_place_in_the_queue_back(serving: Any) -> None:
    async def work() -> None:
        gate = asyncio.Event()
        async with serving(
            lambda _: [gate.wait(), Draft("Fine.")], limits=Limits(live=1, waiting=1)
        ) as place:
            sample = place.metrics.registry.get_sample_value
            first, second = asyncio.create_task(place.ask()), asyncio.create_task(place.ask())
            await until(lambda: sample("stretto_llm_live") == sample("stretto_llm_waiting") == 1)
            with pytest.raises(openai.InternalServerError) as caught:
                await place.ask()
            assert caught.value.status_code == 503
            assert caught.value.response.headers["retry-after"] == "1"
            second.cancel()
            await until(lambda: place.counted("left"))
            third = asyncio.create_task(place.ask())
            await until(lambda: sample("stretto_llm_waiting") == 1)
            gate.set()
            assert (await first).choices[0].message.content == "Fine."
            assert (await third).choices[0].message.content == "Fine."
            assert len(place.model.conversations) == 2

    run(work())


def test_nobody_waits_for_a_place_for_ever(serving: Any) -> None:
    async def work() -> None:
        gate = asyncio.Event()
        limits = Limits(live=1, wait_s=0.05)
        async with serving(lambda _: [gate.wait(), Draft("Fine.")], limits=limits) as place:
            first = asyncio.create_task(place.ask())
            await until(lambda: place.model.conversations)
            with pytest.raises(openai.InternalServerError, match=r"no place came free in 0\.05 s"):
                await place.ask()
            gate.set()
            assert (await first).choices[0].message.content == "Fine."

    run(work())


def test_nobody_waits_for_a_reply_for_ever(serving: Any) -> None:
    async def work() -> None:
        never = asyncio.Event()
        async with serving(lambda _: [never.wait()], limits=Limits(request_s=0.3)) as place:
            with pytest.raises(openai.APIStatusError, match=r"more than 0\.3 s") as caught:
                await place.ask()
            assert caught.value.status_code == 504
            assert place.model.last.left
            assert place.model.last.closed
            assert place.counted("late") == 1

    run(work())


def test_a_quiet_stream_is_kept_alive(serving: Any) -> None:
    async def work() -> None:
        gate = asyncio.Event()
        async with serving(
            lambda _: [Settled("One"), gate.wait(), Draft("One")], limits=Limits(keep_alive_s=0.01)
        ) as place:
            create = place.client.chat.completions.with_streaming_response.create
            lines = []
            async with create(
                model="house", messages=[{"role": "user", "content": "Hello."}], stream=True
            ) as response:
                async for line in response.iter_lines():
                    lines.append(line)
                    if line.startswith(": "):
                        gate.set()
            assert ": still here" in lines
            assert [line for line in lines if line][-1] == "data: [DONE]"

    run(work())


def test_one_who_left_while_tools_were_read_leaves_no_conversation_open(serving: Any) -> None:
    async def work() -> None:
        async with serving(says("Yes.")) as place:
            opening, go_on = threading.Event(), threading.Event()
            made = place.model.open

            def slow(*of: Any) -> Any:
                opening.set()
                assert go_on.wait(PATIENCE_S)
                return made(*of)

            place.model.open = slow
            asking = asyncio.create_task(place.ask())
            await until(opening.is_set)
            asking.cancel()
            await asyncio.wait([asking])
            await until(lambda: place.counted("left"))
            go_on.set()
            await until(lambda: place.model.conversations and place.model.last.closed)

    run(work())


def test_what_happened_is_counted(serving: Any) -> None:
    async def work() -> None:
        async with serving(says("One", "two.", tokens=4)) as place:
            await place.ask()
            await place.ask(stream=True)
            with pytest.raises(openai.BadRequestError):
                await place.ask(n=2)
            await until(lambda: place.counted("ok") == 2)
            page = place.metrics.page().decode().splitlines()
            assert 'stretto_llm_requests_total{outcome="refused"} 1.0' in page
            assert "stretto_llm_forwards_total 4.0" in page
            assert 'stretto_llm_tokens_total{kind="completion"} 8.0' in page
            assert "stretto_llm_first_text_seconds_count 2.0" in page
            assert "stretto_llm_reply_seconds_count 2.0" in page

    run(work())
