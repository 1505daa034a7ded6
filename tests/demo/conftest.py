"""A finished call made by hand, without a model; and drafts that stop half-way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from stretto.agent import events
from stretto.agent.timeline import CallRecord, ToolRecord, TurnRecord
from stretto.demo.caller_voice import Pause
from stretto.demo.spoken_call import SpokenCall
from stretto.demo.spoken_caller import CallerTurn
from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import Settled
from stretto.tools.concierge.success import Outcome

RATE = 24_000
HOSTILE = '</script><img src=x onerror=alert(1)> & "quotes" {braces}'


class Stuck:
    """Every draft stops behind its first settled words, until it is given up."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.reached, self.given_up = asyncio.Event(), asyncio.Event()
        real, stuck = LocalConversation.draft, self

        async def draft(self: LocalConversation, *args: Any) -> AsyncIterator[Any]:
            try:
                async with aclosing(real(self, *args)) as items:
                    async for item in items:
                        yield item
                        if isinstance(item, Settled) and len(item.text.split()) > 1:
                            stuck.reached.set()
                            await asyncio.Event().wait()
            finally:
                stuck.given_up.set()

        patch.setattr(LocalConversation, "draft", draft)


@pytest.fixture
def stuck_drafts() -> type[Stuck]:
    return Stuck


@pytest.fixture
def call() -> SpokenCall:
    """Greeting; a turn with a pause that was cut in on and a tool; a turn of hostile words; the goodbye."""
    rng = np.random.default_rng(1)
    stereo = rng.integers(-40, 40, (20 * RATE, 2)).astype(np.int16)

    def sound(channel: int, start: float, end: float) -> None:
        stereo[int(start * RATE) : int(end * RATE), channel] = 5000

    sound(1, 0.0, 1.5)
    sound(0, 2.0, 3.0)
    sound(0, 3.6, 5.0)
    sound(1, 5.61, 7.5)
    sound(0, 8.2, 9.4)
    sound(1, 10.2, 12.0)
    sound(0, 13.0, 13.8)
    sound(1, 14.3, 15.5)
    booked = ToolRecord("book_table", {"name": HOSTILE, "people": 4}, 5500, 5504, '{"booked": true}')
    failed = ToolRecord("find", {}, 5505, 5600, None, f"nothing like {HOSTILE}")
    turns = [
        TurnRecord(0, agent="Hello?", heard="Hello?", canned=True, first_audio_ms=0, heard_until_ms=1500),
        TurnRecord(
            1, revision=2, caller="a table for four", agent="Done. Anything else?", heard="Done.",
            speech_start_ms=2000, speech_end_ms=5010, soft_end_ms=5160, transcript_ms=5200,
            passes_ms=[5250, 5300], draft_ms=5300, committed_ms=5500, first_audio_ms=5610,
            heard_until_ms=7500, tools=[booked, failed],
            forwards=5, speculation="hit", interrupted=True, cut_in=1,
        ),
        TurnRecord(
            2, revision=1, caller=HOSTILE, agent=HOSTILE, heard=HOSTILE, speech_start_ms=8200,
            speech_end_ms=9400,
            soft_end_ms=9550, transcript_ms=9600, committed_ms=9900, first_audio_ms=10200,
            heard_until_ms=12000,
            failures=[HOSTILE], forwards=3,
        ),
        TurnRecord(
            3, revision=1, caller="bye", agent="Goodbye.", heard="Goodbye.", speech_start_ms=13000,
            speech_end_ms=13800, soft_end_ms=13950, transcript_ms=14000, committed_ms=14280,
            first_audio_ms=14300,
            heard_until_ms=15500, forwards=2,
        ),
    ]  # fmt: skip
    key = {"turn": 1, "revision": 1}
    happened: list[events.Event] = [
        events.SessionStarted(at_ms=0),
        events.AgentSpeaking(at_ms=0, turn=0, text="Hello?", canned=True),
        events.SoftEnd(at_ms=3150, speech_end_ms=3000, **key),
        events.CallerFinal(at_ms=3200, text="a table", confidence=0.9, **key),
        events.DenoisingPass(at_ms=3250, forward=1, tokens=("For", None, "<pad0>"), **key),
        events.Committed(at_ms=3500, text="a table", speculation="hit", **key),
        events.AgentSpeaking(at_ms=3600, turn=1, text="For", canned=False),
        events.BargeIn(at_ms=3700, turn=1),
        events.DraftDropped(at_ms=3700, **key),
        events.SoftEnd(at_ms=5160, turn=1, revision=2, speech_end_ms=5010),
        events.CallerFinal(at_ms=5200, turn=1, revision=2, text="a table for four", confidence=0.9),
        events.DenoisingPass(at_ms=5250, turn=1, revision=2, forward=1, tokens=("Do", None)),
        events.DenoisingPass(at_ms=5300, turn=1, revision=2, forward=2, tokens=("Do", "ne")),
        events.DraftReady(at_ms=5300, turn=1, revision=2, text="", calls=("book_table",), forwards=2, ms=100),
        events.Committed(at_ms=5500, turn=1, revision=2, text="a table for four", speculation="hit"),
        events.AgentSpeaking(at_ms=5610, turn=1, text="Done. Anything else?", canned=False),
        events.SoftEnd(at_ms=9550, turn=2, revision=1, speech_end_ms=9400),
        events.DenoisingPass(at_ms=9700, turn=2, revision=1, forward=1, tokens=(HOSTILE,)),
        events.Committed(at_ms=9900, turn=2, revision=1, text=HOSTILE, speculation="off"),
        events.AgentSpeaking(at_ms=10200, turn=2, text=HOSTILE, canned=False),
        events.SoftEnd(at_ms=13950, turn=3, revision=1, speech_end_ms=13800),
        events.Committed(at_ms=14280, turn=3, revision=1, text="bye", speculation="off"),
        events.AgentSpeaking(at_ms=14300, turn=3, text="Goodbye.", canned=False),
        events.HangUp(at_ms=15600, reason="hang_up"),
    ]
    started = 50.0
    pause = Pause(1000, 1600, "a table")
    return SpokenCall(
        seed=5,
        goal=f"a table {HOSTILE}",
        record=CallRecord(turns=turns, ended="hang_up", seconds=15.6),
        outcome=Outcome(
            False, f"expected {HOSTILE}", [{"table": "t", "change": "insert", "row": {"a": HOSTILE}}]
        ),
        started=started,
        stereo=stereo,
        rate=RATE,
        turns=[
            CallerTurn("a table for four", started + 2.0, started + 5.0, (pause,)),
            CallerTurn(HOSTILE, started + 8.2, started + 9.4, ()),
            CallerTurn("bye", started + 13.0, started + 13.8, ()),
        ],
        events=happened,
    )
