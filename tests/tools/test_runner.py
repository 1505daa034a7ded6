"""ToolRunner: parallel, once each, never raising."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import Result, tool


@dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


def test_calls_run_in_parallel_and_results_keep_their_order() -> None:
    async def main() -> list[Result]:
        here = {"a": asyncio.Event(), "b": asyncio.Event()}

        @tool
        async def meet(me: str, other: str) -> str:
            here[me].set()
            await here[other].wait()
            return me

        calls = [Call("1", "meet", {"me": "a", "other": "b"}), Call("2", "meet", {"me": "b", "other": "a"})]
        return await ToolRunner([meet]).run_all(calls)

    assert [result.content for result in asyncio.run(main())] == ['"a"', '"b"']


def test_plain_functions_run_in_parallel_too() -> None:
    import threading

    barrier = threading.Barrier(2)

    @tool
    def meet() -> bool:
        barrier.wait(timeout=30)
        return True

    results = asyncio.run(ToolRunner([meet]).run_all([Call("1", "meet"), Call("2", "meet")]))
    assert [result.content for result in results] == ["true", "true"]


def test_every_failure_is_a_result() -> None:
    @tool
    async def raises() -> None:
        raise RuntimeError("no line")

    @tool(timeout_s=0.02)
    async def hangs() -> None:
        await asyncio.Event().wait()

    @tool
    async def megabyte() -> list[str]:
        return ["x" * 100] * 10_000

    @tool
    async def good(number: int) -> int:
        return number

    calls = [
        Call("1", "raises"),
        Call("2", "hangs"),
        Call("3", "megabyte"),
        Call("4", "nowhere"),
        Call("5", "good", {"number": "x"}),
        Call("6", "good", {"number": 6}),
    ]
    results = asyncio.run(ToolRunner([raises, hangs, megabyte, good]).run_all(calls))
    assert [result.error for result in results] == [
        "raises failed: no line.",
        "hangs did not answer within 0.02 seconds.",
        None,
        "There is no tool called nowhere.",
        "The argument 'number' of good is wrong: it must be a whole number, not 'x'.",
        None,
    ]
    assert len(results[2].text) <= 2000
    assert json.loads(results[5].text) == 6


def test_the_same_call_runs_once() -> None:
    ran: list[str] = []

    @tool
    async def book(table: str) -> int:
        await asyncio.sleep(0)
        ran.append(table)
        return len(ran)

    async def main() -> list[Result]:
        runner = ToolRunner([book])
        first = Call("1", "book", {"table": "a"})
        together = await runner.run_all([first, first])
        later = await runner.run_all(
            [first, Call("2", "book", {"table": "a"}), Call("1", "book", {"table": "b"})]
        )
        return [*together, *later]

    assert [result.content for result in asyncio.run(main())] == ["1", "1", "1", "2", "3"]
    assert ran == ["a", "a", "b"]


def test_cancelling_the_round_does_not_stop_a_call_that_has_begun() -> None:
    ran: list[int] = []

    async def main() -> Result:
        begun, go = asyncio.Event(), asyncio.Event()

        @tool
        async def book() -> int:
            begun.set()
            await go.wait()
            ran.append(1)
            return len(ran)

        runner = ToolRunner([book])
        waiting = asyncio.create_task(runner.run_all([Call("1", "book")]))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        return (await runner.run_all([Call("1", "book")]))[0]

    assert asyncio.run(main()).content == "1"
    assert ran == [1]


def test_close_ends_what_still_runs() -> None:
    async def main() -> bool:
        begun = asyncio.Event()
        ended: list[bool] = []

        @tool(timeout_s=3600)
        async def forever() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        runner = ToolRunner([forever])
        waiting = asyncio.create_task(runner.run(Call("1", "forever")))
        await begun.wait()
        await runner.aclose(grace_s=0.01)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)
        return bool(ended)

    assert asyncio.run(main())


def test_at_most_three_rounds_a_turn() -> None:
    @tool
    async def look() -> int:
        return 1

    async def main() -> list[bool]:
        runner = ToolRunner([look], max_rounds=3)
        runner.begin_turn()
        allowed = []
        for number in range(4):
            result = (await runner.run_all([Call(str(number), "look")]))[0]
            allowed.append(result.error is None)
        assert runner.rounds_left == 0
        runner.begin_turn()
        allowed.append((await runner.run_all([Call("9", "look")]))[0].error is None)
        return allowed

    assert asyncio.run(main()) == [True, True, True, False, True]


def test_two_tools_of_one_name_are_refused() -> None:
    one, two = tool(name="same")(lambda: 1), tool(name="same")(lambda: 2)
    with pytest.raises(ValueError, match="same"):
        ToolRunner([one, two])


def test_no_calls_no_round() -> None:
    runner = ToolRunner([])
    runner.begin_turn()
    assert asyncio.run(runner.run_all([])) == []
    assert runner.rounds_left == 3
