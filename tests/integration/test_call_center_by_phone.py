"""The support line by telephone, with the embedded models: spoken, confirmed, done once, kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from stretto.agent import events
from stretto.agent.session import Session
from stretto.demo.call_center.desk import CallCenter
from stretto.demo.call_center.shop import Shop
from stretto.demo.phone import Phone, twilio_phone

PATIENCE_S = 60


class Desk:
    """What a caller goes by: the agent's words since the caller's last, and how many answers are over."""

    def __init__(self) -> None:
        self.answers = 0
        self.heard: list[str] = []
        self.asked: list[str] = []

    def observe(self, session: Session) -> None:
        session.watch(self._happened)

    def _happened(self, event: events.Event) -> None:
        match event:
            case events.AgentHeard():
                self.heard.append(event.text)
            case events.Answered():
                self.answers += 1
            case events.ConfirmationAsked():
                self.asked.append(event.text)

    async def until(self, there: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not there():  # noqa: ASYNC110
                await asyncio.sleep(0.05)


Held = Callable[[Phone, Desk], Awaitable[None]]


@pytest.fixture
def shop() -> Shop:
    return Shop.seeded(date.today())


@pytest.fixture
def held(shop: Shop, speech: Any, embedded: Any, tmp_path: Path) -> Callable[[Held], list[dict[str, Any]]]:
    """Hold a call of the line over Twilio's protocol; its transcript."""

    async def calling(talk: Held) -> None:
        desk = Desk()
        parts = {"model": embedded, "recogniser": speech.recogniser, "voice": speech.synthesiser}
        async with CallCenter(shop) as center, center.agent(**parts) as agent:
            agent.options.observers = (*agent.options.observers, desk.observe)
            async with agent.serving(port=0, record=str(tmp_path)) as url:
                door = url.replace("http", "ws") + "/twilio"
                async with twilio_phone(door, parameters={"from": "+15550101"}) as phone:
                    await desk.until(lambda: desk.heard)
                    await talk(phone, desk)

    def call(talk: Held) -> list[dict[str, Any]]:
        asyncio.run(asyncio.wait_for(calling(talk), 4 * PATIENCE_S))
        (path,) = tmp_path.glob("*.jsonl")
        assert path.with_suffix(".wav").stat().st_size > 8000
        return [json.loads(line) for line in path.read_text().splitlines()]

    return call


@pytest.mark.timeout(300)
def test_an_order_is_looked_up_and_cancelled_after_a_yes_and_a_person_takes_over(
    held: Any, shop: Shop, says: Callable[..., Any]
) -> None:
    async def talk(phone: Phone, desk: Desk) -> None:
        async def say(text: str) -> str:
            """The agent's answer to it."""
            before = desk.answers
            desk.heard.clear()
            await phone.say(says(text, 8000, 0.0))
            await desk.until(lambda: desk.answers > before)
            return " ".join(desk.heard)

        assert "shipped" in await say("Where is my order? The number is four two one zero.")
        assert (await say("Please cancel my order, number five one two eight.")).endswith("?")
        assert shop.order("5128").status == "processing"
        assert "cancelled" in await say("Yes, please.")
        assert len(desk.asked) == 1  # once, by the model's own words or by the agent's
        await phone.press("0#")
        async with asyncio.timeout(PATIENCE_S):
            await phone.over.wait()

    kept = held(talk)
    assert shop.order("5128").status == "cancelled"
    made = [call["name"] for message in kept for call in message.get("tool_calls", [])]
    assert made == ["order_status", "cancel_order"]  # asked for once, made once
    ((caller, told),) = shop.handovers()
    assert caller == "+15550101" and told.startswith("Caller: Ben Carter")
    assert "Done: cancel_order(order 5128)" in told
