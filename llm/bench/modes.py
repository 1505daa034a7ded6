"""The same weights, canvas against causal: to the first clause and to the whole reply, batch by batch.

Both ways share weights, precision, engine, caches and conversations, and have read all that was said. A reply
is timed from the moment when it is asked for, with routing, constraints and verification; of conversations
that are written at the same time, each from the same moment. Tokens count up to the end mark.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

from stretto.llm.bench.measure import Setup, rounded
from stretto.llm.bench.situations import SITUATIONS, Kind, Situation
from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import Draft, Settled
from stretto.llm.local import LocalModel, Sampler

NAME = "modes"
CANVAS: tuple[Sampler, ...] = ("verified", "threshold")
"""The way that ships, and the best that never asks the causal mode (tests/bench/results/house_model.json)."""
CLAUSE_WORDS = 4
PATIENCE_S = 900.0
"""A group of replies that takes longer has stuck."""


@dataclass(frozen=True)
class ModesRow:
    """Medians over conversations and runs, of one kind of turn. `forwards`: of the canvas, a turn."""

    name: str
    kind: Kind
    sampler: Sampler
    batch: int
    canvas_ms: float
    causal_ms: float
    ratio: float
    canvas_first_ms: float | None
    causal_first_ms: float | None
    first_ratio: float | None
    forwards: float
    causal_forwards: float
    tokens: float


@dataclass(frozen=True)
class CrossoverRow:
    """The first batch at which causal writing is done sooner: with the whole turn, with its first clause.

    None: at none of those measured.
    """

    name: str
    kind: Kind
    sampler: Sampler
    crossover_batch: int | None
    first_clause_crossover_batch: int | None


@dataclass(frozen=True)
class Turn:
    """One turn that was written; ms from when it was asked for. `first_ms`: to its first clause."""

    first_ms: float
    ms: float
    forwards: int
    tokens: int


def begins_speech(text: str) -> bool:
    """Whether a reply's settled words are enough to begin to speak."""
    return text.endswith((".", "?", "!", ",", ";", ":")) or len(text.split()) >= CLAUSE_WORDS


async def written(conversation: LocalConversation, began: float) -> Turn:
    """Have a turn written that was asked for at `began` (perf_counter)."""
    first: float | None = None
    async for item in conversation.draft():
        now = (time.perf_counter() - began) * 1000
        if first is None and isinstance(item, Settled) and begins_speech(item.text):
            first = now
        if isinstance(item, Draft):
            return Turn(now if first is None else first, now, item.forwards, item.tokens)
    raise RuntimeError("the model ended without a draft")


async def written_at_once(conversations: Sequence[LocalConversation]) -> list[Turn]:
    """Have the turns of all of them written at the same time, after each has read what was said."""
    async with asyncio.timeout(PATIENCE_S):
        for one in conversations:
            await one.model.engine.run(one.read(one.prompt()))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(written(one, began)) for one in conversations]
    return [task.result() for task in tasks]


async def opened(
    model: LocalModel, situations: Sequence[Situation], batch: int
) -> list[list[LocalConversation]]:
    """Groups of `batch` conversations, in which every situation comes up; to be closed."""
    told = [await situation.open(model) for situation in situations]
    count = math.ceil(len(told) / batch) * batch
    more = [await one.fork() for one in islice(cycle(told), count - len(told))]
    every = [*told, *more]
    return [every[begin : begin + batch] for begin in range(0, count, batch)]


async def batch_rows(setup: Setup, model: LocalModel, kind: Kind, batch: int) -> list[ModesRow]:
    """A row for every way to write a canvas, all ways in turns."""
    groups = await opened(model, [one for one in SITUATIONS if one.kind == kind], batch)
    ways: list[Sampler] = [*CANVAS, "causal"]
    turns: dict[Sampler, list[Turn]] = {way: [] for way in ways}
    try:
        for run in range(setup.runs + 1):
            for way in ways if run % 2 else reversed(ways):
                model.sampler = way
                for group in groups:
                    done = await written_at_once(group)
                    turns[way] += done if run else []  # the first run builds automata and grows caches
    finally:
        for one in (one for group in groups for one in group):
            one.close()
    return [row(kind, way, batch, turns[way], turns["causal"]) for way in CANVAS]


def row(kind: Kind, sampler: Sampler, batch: int, canvas: Sequence[Turn], causal: Sequence[Turn]) -> ModesRow:
    """Medians of both ways; only words have a first clause."""
    ms, causal_ms = median(t.ms for t in canvas), median(t.ms for t in causal)
    first, causal_first = median(t.first_ms for t in canvas), median(t.first_ms for t in causal)
    spoken = kind == "reply"
    return ModesRow(
        NAME, kind, sampler, batch, rounded(ms), rounded(causal_ms), rounded(ms / causal_ms),
        rounded(first) if spoken else None,
        rounded(causal_first) if spoken else None,
        rounded(first / causal_first) if spoken else None,
        median(t.forwards for t in canvas), median(t.forwards for t in causal),
        median(t.tokens for t in canvas),
    )  # fmt: skip


def crossovers(rows: Sequence[ModesRow]) -> list[CrossoverRow]:
    """For every kind of turn and sampler the first batch at which causal writing is faster."""
    found = []
    for kind, sampler in dict.fromkeys((row.kind, row.sampler) for row in rows):
        mine = sorted((r for r in rows if (r.kind, r.sampler) == (kind, sampler)), key=lambda r: r.batch)
        whole = next((r.batch for r in mine if r.ratio > 1), None)
        first = next((r.batch for r in mine if r.first_ratio is not None and r.first_ratio > 1), None)
        found.append(CrossoverRow("crossover", kind, sampler, whole, first))
    return found


def compare(setup: Setup) -> list[ModesRow | CrossoverRow]:
    """Rows by kind of turn, batch and sampler, then the crossover batches."""

    async def measured(model: LocalModel) -> list[ModesRow]:
        rows = []
        kinds: tuple[Kind, ...] = ("reply", "call")
        for kind in kinds:
            for batch in setup.batches:
                setup.say(f"modes: {kind}, {batch} at once")
                rows += await batch_rows(setup, model, kind, batch)
        return rows

    model = LocalModel(
        model=setup.model, tokenizer=setup.tokenizer, device=setup.device.type, threads=setup.threads
    )
    try:
        rows = asyncio.run(measured(model))
    finally:
        model.close()
    return [*rows, *crossovers(rows)]
