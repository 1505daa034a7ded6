"""The support line in calls: a real voice, a language model that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import numpy as np
import pytest
from stretto.agent import AgentCall, events
from stretto.agent.caller_id import CallInformation
from stretto.demo.call_center.desk import CallCenter
from stretto.demo.call_center.shop import Shop
from stretto.llm.language_model import Call

ANNA = CallInformation("test", "call-1", caller="+15550100")
PATIENCE_S = 60


def silent(conversation: Any) -> Any:
    return "I see.", ()


@pytest.fixture
def shop() -> Shop:
    return Shop.seeded(date.today())


Line = Callable[..., Any]


@pytest.fixture
def line(shop: Shop, speech: Any, scripted: Any) -> Line:
    """A call to the line, that has been greeted; and what the agent says in it."""

    @asynccontextmanager
    async def calling(policy: Any = silent) -> AsyncIterator[tuple[AgentCall, list[str]]]:
        said: list[str] = []
        greeted = asyncio.Event()

        def happened(event: events.Event) -> None:
            if isinstance(event, events.AgentHeard):
                said.append(event.text)
                greeted.set()

        parts = {"recogniser": speech.recogniser, "voice": speech.synthesiser}
        async with (
            asyncio.timeout(PATIENCE_S),
            CallCenter(shop) as center,
            center.agent(model=scripted(policy), **parts) as agent,
            agent.call(lambda pcm, at: None, information=ANNA) as call,
        ):
            call.session.watch(happened)
            silence = asyncio.create_task(_silent(call))
            await greeted.wait()
            yield call, said
            silence.cancel()

    return calling


async def _silent(call: AgentCall) -> None:
    while True:
        call.hear(np.zeros(320, np.int16))
        await asyncio.sleep(0.02)


async def until(told: Callable[[], Any]) -> None:
    while not told():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def test_the_status_of_an_order_by_keys_alone(line: Line) -> None:
    async def held() -> None:
        async with line() as (call, said):
            for entry in ("5#", "1#", "4210#", "2#"):
                before = len(said)
                for key in entry:
                    call.press(key)
                await until(lambda before=before: len(said) > before)
            menu, asked, status, hours = said[-4:]
            assert "press one" in menu and "four digits" in asked
            assert "4 2 1 0" in status and "desk lamp" in status and "shipped" in status
            assert "nine to six" in hours

    asyncio.run(held())


def test_zero_hands_over_with_a_summary(line: Line, shop: Shop) -> None:
    asked = Call("c1", "order_status", {"order": "4371"})

    def policy(conversation: Any) -> Any:
        return ("It was delivered.", ()) if conversation.results else ("", (asked,))

    async def held() -> None:
        async with line(policy) as (call, said):
            call.write("My chair is broken.")
            await until(lambda: "delivered" in said[-1])
            call.press("0")
            call.press("#")
            await until(lambda: call.over)
        assert call.record.ended == "transfer"

    asyncio.run(held())
    ((caller, told),) = shop.handovers()
    assert caller == ANNA.caller
    lines = told.split("\n")
    assert lines[:2] == ["Caller: Anna Weiss (+15550100)", "Wanted: My chair is broken."]
    assert any(line.startswith("Done: order_status(order 4371): ") for line in lines)


@pytest.mark.parametrize(("answer", "paid"), [("Yes, please.", [("4371", 18900, "broken")]), ("No.", [])])
def test_money_goes_back_after_a_yes(line: Line, shop: Shop, answer: str, paid: Any) -> None:
    asked = Call("c1", "refund_order", {"order": "4371", "reason": "broken"})

    def policy(conversation: Any) -> Any:
        return ("All done.", ()) if conversation.results else ("", (asked,))

    async def held() -> None:
        async with line(policy) as (call, said):
            call.write("I want my money back for order 4371, it is broken.")
            before = len(said)
            await until(lambda: len(said) > before)
            assert said[-1].endswith("?") and shop.refunds() == []
            call.write(answer)
            await until(lambda: len(said) > before + 1)
            await asyncio.sleep(0)

    asyncio.run(held())
    assert shop.refunds() == paid
