"""A draft revised after the caller's last words changed, against a fresh one for the same words."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from statistics import median

from stretto.llm.bench.measure import Setup, rounded
from stretto.llm.bench.situations import VERSIONS, Heard, Kind
from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import Draft
from stretto.llm.local import LocalModel

NAME = "revise"
PATIENCE_S = 300.0


@dataclass(frozen=True)
class ReviseRow:
    """`change`: between what seemed to be said and what was. `stale`: the old draft no longer holds. `same`:
    both ways gave the same words and calls."""

    name: str
    kind: Kind
    change: str
    revised_ms: float
    fresh_ms: float
    ratio: float
    forwards: int
    fresh_forwards: int
    stale: bool
    same: bool


async def drafted(conversation: LocalConversation, old: Draft | None) -> tuple[Draft, float]:
    """A draft and its ms, where what was said has been read."""
    async with asyncio.timeout(PATIENCE_S):
        await conversation.model.engine.run(conversation.read(conversation.prompt()))
        began = time.perf_counter()
        async for item in conversation.draft(revise=old):
            if isinstance(item, Draft):
                return item, (time.perf_counter() - began) * 1000
    raise RuntimeError("the model ended without a draft")


def _what(draft: Draft) -> tuple[str, list[tuple[str, object]]]:
    return draft.text, [(call.name, call.arguments) for call in draft.calls]


async def version_row(setup: Setup, model: LocalModel, heard: Heard) -> ReviseRow:
    """One pair of versions, both ways in turns."""
    conversation = await replace(heard.situation, heard=heard.before).open(model)
    try:
        old, _ = await drafted(conversation, None)
        await conversation.hear(heard.situation.heard)
        times: dict[bool, list[float]] = {True: [], False: []}
        last: dict[bool, Draft] = {}
        for run in range(setup.runs + 1):
            for revises in (True, False) if run % 2 else (False, True):
                last[revises], ms = await drafted(conversation, old if revises else None)
                times[revises] += [ms] if run else []
    finally:
        conversation.close()
    revised, fresh = median(times[True]), median(times[False])
    return ReviseRow(
        NAME, heard.situation.kind, heard.change, rounded(revised), rounded(fresh), rounded(revised / fresh),
        last[True].forwards, last[False].forwards, _what(old) != _what(last[False]),
        _what(last[True]) == _what(last[False]),
    )  # fmt: skip


def compare(setup: Setup) -> list[ReviseRow]:
    """A row for each pair of versions."""

    async def measured(model: LocalModel) -> list[ReviseRow]:
        rows = []
        for heard in VERSIONS:
            setup.say(f"revise: {heard.change}")
            rows.append(await version_row(setup, model, heard))
        return rows

    model = LocalModel(
        model=setup.model, tokenizer=setup.tokenizer, device=setup.device.type, threads=setup.threads
    )
    try:
        return asyncio.run(measured(model))
    finally:
        model.close()
