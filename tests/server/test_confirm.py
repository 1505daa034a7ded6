"""Server tools that need the caller's yes, over the realtime protocol, with the official client."""

from __future__ import annotations

import asyncio
import json

import pytest
from stretto.llm.language_model import Call
from stretto.tools.tool import tool

WRITTEN = {"type": "realtime", "output_modalities": ["text"]}
BOOK = Call("id1", "book", {"people": 2})


@pytest.mark.parametrize(
    ("reply", "made", "told"),
    [("Yes, please.", [2], {"confirmed": True, "booked": 2}), ("No, leave it.", [], None)],
)
def test_the_client_is_asked_and_its_answer_decides(house, tmp_path, reply, made, told):
    booked = []

    @tool(confirm=True)
    async def book(people: int) -> dict[str, int]:
        """Book a table."""
        booked.append(people)
        return {"booked": people}

    house.tools, house.record = (book,), tmp_path
    house.brain.policy = lambda t: f"Done: {t.results[-1]}" if t.results else BOOK

    async def said(talk, text):
        content = [{"type": "input_text", "text": text}]
        await talk.connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": content}
        )
        await talk.connection.response.create()
        response = (await talk.until("response.done")).response
        assert response.status == "completed"
        return response.output[-1].content[0].text

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session=WRITTEN)
            await talk.until("session.updated")
            assert await said(talk, "A table for two.") == "Shall I book a table: people 2?"
            assert booked == []
            answer = await said(talk, reply)
            assert booked == made and answer.startswith("Done: ")
            result = json.loads(answer.removeprefix("Done: "))
            assert result == told if told else "declined" in result

    asyncio.run(asyncio.wait_for(work(), 110))
    kept = [
        json.loads(line) for path in tmp_path.glob("*.tools.jsonl") for line in path.read_text().splitlines()
    ]
    assert [line["name"] for line in kept if "call" in line] == ["book"] * len(made)
