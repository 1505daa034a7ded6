"""Many requests on one model: each gets what it would get alone, whoever comes and goes beside it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any, ClassVar

import pytest
import torch
from stretto.llm.engine import Engine, Forward, Job, Limits, Priority, Scores
from stretto.llm.language_model import Busy, Draft
from stretto.llm.local import LocalModel, Sampler
from stretto.llm.tokenizer import MASK, embedded_tokenizer
from stretto.llm.transformer import Config, Transformer
from stretto.tools.tool import ToolSpec, tool


@tool
async def book(day: str, people: int = 2) -> str:
    """Book a table."""
    return ""


TOOLS: list[ToolSpec] = [book.spec]
SAMPLERS: tuple[Sampler, ...] = ("verified", "threshold", "entropy", "remasking", "fixed", "causal")


def tiny(seed: int = 0, **options: Any) -> Transformer:
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "layers": 2,
        "width": 32,
        "heads": 2,
        "kv_heads": 1,
        "head_width": 16,
        "hidden": 48,
    }
    config = Config(embedded_tokenizer().size, **{**shape, **options})
    return Transformer(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def transformer() -> Transformer:
    return tiny()


@pytest.fixture
def engine(transformer: Transformer) -> Iterator[Engine]:
    engine = Engine(transformer, MASK, Limits(requests=8, prefill=16))
    yield engine
    engine.close()


def reading(engine: Engine, ids: list[int], count: int = 1) -> Job[torch.Tensor]:
    scores = yield Forward(engine.model.new_cache(400, at_once=False), ids, count)
    return scores.read


@dataclass
class Gate:
    """A job that holds the engine's thread between two passes."""

    opened: threading.Event
    entered: threading.Event

    def job(self) -> Job[None]:
        self.entered.set()
        assert self.opened.wait(10)
        return
        yield


@pytest.fixture
def gate() -> Gate:
    return Gate(threading.Event(), threading.Event())


# -- one conversation's requests ---------------------------------------------------------------------


async def talk(model: LocalModel, number: int) -> list[Draft]:
    """Two turns of a caller who is like no other."""
    conversation = model.open("Be brief.", TOOLS if number % 2 else [])
    drafts = []
    try:
        for turn in range(2):
            await conversation.hear(f"Table {number} for {turn + number}, " + "please " * (number % 7))
            items = [item async for item in conversation.draft("low")]
            assert isinstance(items[-1], Draft)
            drafts.append(items[-1])
            await conversation.commit(items[-1])
            for call in items[-1].calls:
                await conversation.tool_result(call.id, "{}")
    finally:
        conversation.close()
    return drafts


def told(drafts: list[Draft]) -> list[Any]:
    return [draft.segments for draft in drafts]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_beside_others_every_request_ends_as_it_would_alone(
    transformer: Transformer, sampler: Sampler
) -> None:
    model = LocalModel(model=transformer, context=256, sampler=sampler, limits=Limits(prefill=24))

    async def work() -> tuple[list[list[Draft]], list[list[Draft]]]:
        alone = [await talk(model, number) for number in range(6)]
        before = model.engine.counts.passes
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(talk(model, number)) for number in range(6)]
        assert model.engine.counts.passes - before < before, "passes were shared"
        return alone, [task.result() for task in tasks]

    alone, together = asyncio.run(work())
    assert [told(drafts) for drafts in together] == [told(drafts) for drafts in alone]
    model.close()


def test_many_requests_of_which_some_are_given_up(transformer: Transformer) -> None:
    """Sixty-four at a time, random ones are cancelled: the others do not notice, nothing is left."""
    model = LocalModel(model=transformer, context=256, limits=Limits(prefill=32))
    chance = random.Random(1)
    memory: list[int] = []

    async def given_up(number: int) -> None:
        task = asyncio.ensure_future(talk(model, number))
        await asyncio.sleep(chance.uniform(0, 0.3))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def round_() -> list[list[Draft]]:
        async with asyncio.TaskGroup() as group:
            whole = [group.create_task(talk(model, number)) for number in range(8)]
            for number in range(8, 64):
                group.create_task(given_up(number))
        return [task.result() for task in whole]

    async def work() -> None:
        alone = [told(await talk(model, number)) for number in range(8)]
        for _ in range(10):
            assert [told(drafts) for drafts in await round_()] == alone
            for _ in range(1000):
                await asyncio.sleep(0.01 if model.engine.alive else 0)
            assert model.engine.alive == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}
            gc.collect()
            memory.append(in_use())
        assert await model.engine.call(lambda: model.engine.pool.allocated) == 0, "every cache was freed"

    asyncio.run(work())
    settled = memory[2:]  # the first rounds fill the stores of oneDNN and of Python
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(settled), 2)]
    assert median(slopes) < 1 << 17, memory
    model.close()


class Mallinfo2(ctypes.Structure):
    """What glibc's `mallinfo2` returns."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    ]


def in_use() -> int:
    """Bytes that this process holds: pages that the allocator keeps for later come and go by chance."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    heap = mallinfo2()
    # Python's own small objects lie elsewhere, in blocks of 512 bytes at most.
    return int(heap.uordblks) + int(heap.hblkhd) + 512 * sys.getallocatedblocks()


# -- the scheduler -------------------------------------------------------------------------------------


def test_a_long_prefill_is_read_in_pieces_and_others_go_between_them(engine: Engine, gate: Gate) -> None:
    long, short = list(range(40, 240)), [30, 31]
    expected = engine.submit(reading(engine, long)).future.result(30)
    passes = engine.counts.passes
    assert passes == 1, "alone it is read at once"
    order: list[str] = []
    held = engine.submit(gate.job())
    assert gate.entered.wait(10)
    slow, quick = engine.submit(reading(engine, long)), engine.submit(reading(engine, short))
    slow.future.add_done_callback(lambda _: order.append("long"))
    quick.future.add_done_callback(lambda _: order.append("short"))
    gate.opened.set()
    torch.testing.assert_close(slow.future.result(30), expected, rtol=1e-4, atol=1e-4)
    assert held.future.done() and order == ["short", "long"] and engine.counts.passes > passes + 1


def test_what_is_due_goes_first_and_nothing_waits_for_ever(transformer: Transformer, gate: Gate) -> None:
    engine = Engine(transformer, MASK, Limits(patience_s=0.2))
    seen: list[str] = []

    def steps(name: str, count: int) -> Job[None]:
        cache = engine.model.new_cache(100, at_once=False)
        for n in range(count):
            yield Forward(cache, list(range(30, 31 + n)))
            seen.append(name)

    engine.submit(gate.job())
    assert gate.entered.wait(10)
    ahead = engine.submit(steps("ahead", 2), Priority.AHEAD)
    guess = engine.submit(steps("guess", 2), Priority.SPECULATION)
    due = engine.submit(steps("due", 3))
    gate.opened.set()
    for request in (due, guess, ahead):
        request.future.result(30)
    assert seen[:3] == ["due"] * 3 and seen[3:5] == ["guess"] * 2
    seen.clear()
    patient = engine.submit(steps("patient", 1), Priority.AHEAD)

    def endless() -> Job[None]:
        cache = engine.model.new_cache(100, at_once=False)
        while not patient.future.done():
            yield Forward(cache, [30, 31])

    engine.submit(endless()).future.result(30)
    assert seen == ["patient"]
    hurried = engine.submit(steps("hurried", 1), Priority.AHEAD)
    hurried.priority = Priority.DUE
    hurried.future.result(30)
    engine.close()


def test_a_full_queue_says_that_it_is_busy(engine: Engine, gate: Gate) -> None:
    engine.submit(gate.job())
    assert gate.entered.wait(10)
    waiting = [engine.submit(reading(engine, [30 + n])) for n in range(7)]
    with pytest.raises(Busy, match="try again soon"):
        engine.submit(reading(engine, [30]))
    assert engine.counts.busy == 1 and engine.alive == 8
    gate.opened.set()
    for request in waiting:
        request.future.result(30)
    engine.submit(reading(engine, [30])).future.result(30)


def test_what_is_given_up_takes_part_in_no_further_pass(engine: Engine) -> None:
    started, closed = threading.Event(), threading.Event()

    def endless() -> Job[None]:
        cache = engine.model.new_cache(100, at_once=False)
        try:
            while True:
                yield Forward(cache, [30, 31])
                started.set()
        finally:
            closed.set()

    request = engine.submit(endless())
    assert started.wait(10)
    request.future.cancel()
    assert closed.wait(10)
    passes = engine.submit(_passes(engine)).future.result(10)
    assert engine.submit(_passes(engine)).future.result(10) == passes and engine.alive <= 1


def _passes(engine: Engine) -> Job[int]:
    return engine.counts.passes
    yield


def test_one_that_fails_leaves_the_others_alone(engine: Engine, gate: Gate) -> None:
    def wrong() -> Job[None]:
        yield Forward(engine.model.new_cache(10, at_once=False), [1] * 30)

    def broken() -> Job[None]:
        yield Forward(engine.model.new_cache(10, at_once=False), [30])
        raise RuntimeError("a bug of its own")

    def poisoned() -> Job[None]:  # fails within the pass that it shares
        yield Forward(engine.model.new_cache(10, at_once=False), [10**9])

    good = engine.submit(reading(engine, [30, 31])).future.result(30)
    engine.submit(gate.job())
    assert gate.entered.wait(10)
    bad = [engine.submit(job()) for job in (wrong, broken, poisoned)]
    fine = engine.submit(reading(engine, [30, 31]))
    gate.opened.set()
    torch.testing.assert_close(fine.future.result(30), good)
    errors = [request.future.exception(30) for request in bad]
    assert "do not fit" in str(errors[0]) and "a bug of its own" in str(errors[1]) and errors[2] is not None


def test_a_dialogue_that_gave_way_is_read_again(transformer: Transformer) -> None:
    model = LocalModel(model=transformer, context=256, limits=Limits(cached_tokens=380))

    async def work() -> None:
        first, second = model.open("Be brief.", []), model.open("Be long.", [])
        signal = await first.hear("A table for four")
        await second.hear("word " * 200)
        assert model.engine.pool.evictions and first.cache.length == 0
        again = await first.hear("A table for four please")
        assert first.cache.length > 0 and 0 <= again.p_end <= 1
        back = await first.hear("A table for four")
        assert back.p_end == pytest.approx(signal.p_end, rel=1e-3)

    asyncio.run(work())
    model.close()


def test_a_closed_engine_gives_up_what_waits_and_says_so(transformer: Transformer, gate: Gate) -> None:
    engine = Engine(transformer, MASK)
    engine.submit(gate.job())
    assert gate.entered.wait(10)
    waiting = engine.submit(reading(engine, [30]))
    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.opened.set()
    closing.join(10)
    assert waiting.future.done() and not closing.is_alive()
    with pytest.raises(RuntimeError, match="open another"):
        engine.submit(reading(engine, [30]))
    engine.close()


def test_a_model_takes_in_what_the_pass_before_believed() -> None:
    conditioned = tiny(1, self_conditioning=True)
    torch.nn.init.normal_(conditioned.condition.weight, std=1.0)
    engine = Engine(conditioned, MASK)

    def twice(with_belief: bool) -> Job[Scores]:
        cache = conditioned.new_cache(50, at_once=False)
        canvas = [MASK] * 4
        first = yield Forward(cache, [30, 31], 1, canvas)
        return (yield Forward(cache, [30, 31], 0, canvas, None, first.canvas if with_belief else None))

    plain, believed = (engine.submit(twice(on)).future.result(30).canvas for on in (False, True))
    assert not torch.allclose(plain, believed, atol=1e-3)
    engine.close()


def test_what_was_said_is_read_while_nobody_waits(transformer: Transformer) -> None:
    model = LocalModel(model=transformer, context=256)

    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        await conversation.say("Good morning, this is the restaurant, what can I do for you today? " * 3)
        await model.engine.call(lambda: None)
        assert conversation._ahead is not None
        await asyncio.wrap_future(conversation._ahead.future)
        assert conversation.cache.ids == conversation.prompt() and model.engine.counts.passes > 1
        before = model.engine.counts.tokens
        await conversation.hear("A table")
        assert model.engine.counts.tokens - before < 20
        conversation.close()

    asyncio.run(work())
    model.close()


def test_the_oldest_turns_go_at_once_so_that_reading_again_is_rare(transformer: Transformer) -> None:
    model = LocalModel(model=transformer, context=400)

    async def work() -> None:
        conversation = model.open("Be brief.", [])
        again = 0
        for number in range(40):
            before = conversation.prompt()
            await conversation.hear(f"This is what I said in turn {number}, and it is not short at all.")
            await conversation.say("Okay.")
            again += conversation.prompt()[: len(before)] != before
            assert len(conversation.prompt()) <= conversation._context
        assert 1 <= again <= 8, again
        conversation.close()

    asyncio.run(work())
    model.close()


def test_a_fork_goes_its_own_way(transformer: Transformer) -> None:
    model = LocalModel(model=transformer, context=256)

    async def work() -> None:
        first = model.open("Be brief.", TOOLS)
        await first.hear("A table for four")
        second = await first.fork()
        one = await first.hear("A table for four on Monday")
        other = await second.hear("A table for four on Tuesday")
        assert (await first.hear("A table for four on Monday")).p_end == pytest.approx(one.p_end, rel=1e-3)
        plain = model.open("Be brief.", TOOLS)
        signal = await plain.hear("A table for four on Tuesday")
        assert signal.p_end == pytest.approx(other.p_end, rel=1e-3)
        await second.say("On Tuesday.")
        assert first.prompt() != second.prompt()
        for conversation in (first, second, plain):
            conversation.close()

    asyncio.run(work())
    model.close()
