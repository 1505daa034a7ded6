"""The caller on the line, in virtual time: who speaks when, and what the caller goes by."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stretto.agent import events
from stretto.audio.pcm import FRAME, RATE, Frame
from stretto.demo.caller_voice import Pause, Spoken
from stretto.demo.spoken_caller import GAP_S, HOLD_S, SpokenCaller

OUT = 24_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when everybody waits, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.virtual = 0.0

    def time(self) -> float:
        return self.virtual

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.virtual = max(self.virtual, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


@dataclass
class Words:
    text: str
    hang_up: bool = False


@dataclass
class Mind:
    """Says its lines one after the other, and remembers what it heard before each."""

    lines: list[Words]
    heard: list[str] = field(default_factory=list)

    def open(self) -> Words:
        return self.lines.pop(0)

    def reply(self, agent_text: str) -> Words:
        self.heard.append(agent_text)
        return self.lines.pop(0)


class Voice:
    """A second of tone for everything, half a second of it a pause where the text says so."""

    async def speak(self, text: str, turn: int, paused: int) -> Spoken:
        pcm = np.full(RATE, 3000, np.int16)
        if "…" not in text:
            return Spoken(text, pcm)
        pcm[RATE // 4 : 3 * RATE // 4] = 0
        return Spoken(text, pcm, (Pause(250, 750, "a"),))

    def noise(self) -> np.ndarray:
        return np.full(RATE, 40, np.int16)


class Line:
    """Takes the frames and the hanging up."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.hung_up: float | None = None

    def hear(self, frame: Frame) -> None:
        self.frames.append(frame)

    async def hang_up(self) -> None:
        self.hung_up = asyncio.get_running_loop().time()


class Agent:
    """The other side, by hand: speaks at a time, for a time."""

    def __init__(self, caller: SpokenCaller) -> None:
        self.caller = caller
        self.happened: asyncio.Queue[events.Event] = asyncio.Queue(100)

    async def events(self) -> AsyncIterator[events.Event]:
        while True:
            yield await self.happened.get()

    async def say(self, text: str, seconds: float = 1.0, tell: bool = True) -> float:
        """Returns when the sound ended."""
        loop = asyncio.get_running_loop()
        self.happened.put_nowait(events.AgentSpeaking(at_ms=0, turn=0, text=text, canned=False))
        for _ in range(round(seconds * 50)):
            self.caller.hear_agent(np.full(OUT // 50, 5000, np.int16), loop.time(), OUT)
            await asyncio.sleep(0.02)
        if tell:
            self.happened.put_nowait(events.AgentHeard(at_ms=0, turn=0, text=text, complete=True))
        return loop.time()


Script = Callable[[Agent, SpokenCaller, Line], Coroutine[Any, Any, None]]


def hold(lines: list[Words], script: Script) -> tuple[SpokenCaller, Mind, Line]:
    """Run a call in virtual time, with the agent's side scripted."""
    mind, line = Mind(lines), Line()

    async def call() -> SpokenCaller:
        loop = asyncio.get_running_loop()
        caller = SpokenCaller(mind, Voice(), line, loop.time, rng=random.Random(1), sent=lambda pcm, at: None)  # type: ignore[arg-type]
        agent = Agent(caller)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(caller.send()), group.create_task(caller.listen(agent.events()))]
            talk = group.create_task(caller.converse())
            await script(agent, caller, line)
            await talk
            for task in tasks:
                task.cancel()
        return caller

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        caller = runner.run(call())
    return caller, caller._mind, line  # type: ignore[return-value]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_it_answers_after_a_human_gap_and_never_into_the_agents_words() -> None:
    ends: list[float] = []

    async def script(agent: Agent, caller: SpokenCaller, line: Line) -> None:
        for number in range(5):
            ends.append(await agent.say(f"question {number}", 1.7))
            await until(lambda: caller._speech is None and len(caller.turns) == len(ends))

    lines = [Words(f"answer {n}") for n in range(4)] + [Words("bye", hang_up=True)]
    caller, mind, line = hold(lines, script)
    assert mind.heard == [f"question {number}" for number in range(1, 5)]
    for end, turn in zip(ends, caller.turns, strict=True):
        assert GAP_S[0] - 1e-6 <= turn.start - end <= GAP_S[1] + 0.1
        assert turn.end - turn.start == 1.0
    assert line.hung_up is not None


def test_frames_are_real_time_with_noise_between_the_words() -> None:
    async def script(agent: Agent, caller: SpokenCaller, line: Line) -> None:
        await agent.say("hello")

    caller, _, line = hold([Words("bye", hang_up=True)], script)
    assert [round((b.at - a.at) * 1000) for a, b in zip(line.frames, line.frames[1:], strict=False)] == [
        20
    ] * (len(line.frames) - 1)
    (turn,) = caller.turns
    for frame in line.frames:
        level = 3040 if turn.start - 1e-6 <= frame.at < turn.end - 1e-6 else 40
        assert set(frame.pcm) == {level} and len(frame.pcm) == FRAME


def test_cut_in_on_it_talks_on_and_waits_for_the_answer_to_the_whole() -> None:
    async def script(agent: Agent, caller: SpokenCaller, line: Line) -> None:
        await agent.say("hello")
        await until(lambda: caller._position > RATE // 4)
        await agent.say("wrong", 0.2, tell=False)  # into the pause, then withdrawn
        await until(lambda: caller._speech is None and len(caller.turns) == 1)
        await asyncio.sleep(3)
        assert len(caller.turns) == 1
        await agent.say("right")

    caller, mind, _ = hold([Words("a … b"), Words("bye", hang_up=True)], script)
    assert mind.heard == ["right"] and caller.turns[0].end - caller.turns[0].start == 1.0


def test_told_to_hold_on_it_waits_for_what_follows() -> None:
    async def script(agent: Agent, caller: SpokenCaller, line: Line) -> None:
        await agent.say("hello")
        await until(lambda: caller._speech is None and len(caller.turns) == 1)
        await agent.say("One moment, please.")
        await asyncio.sleep(HOLD_S - 1)
        assert len(caller.turns) == 1
        await agent.say("Done.")

    _, mind, _ = hold([Words("hi"), Words("bye", hang_up=True)], script)
    assert mind.heard == ["One moment, please. Done."]


def test_it_goes_by_what_was_heard() -> None:
    async def script(agent: Agent, caller: SpokenCaller, line: Line) -> None:
        await agent.say("hello")
        await until(lambda: caller._speech is None and len(caller.turns) == 1)
        await agent.say("half of this sentence", tell=False)
        agent.happened.put_nowait(events.AgentHeard(at_ms=0, turn=1, text="half of", complete=False))

    _, mind, _ = hold([Words("hi"), Words("bye", hang_up=True)], script)
    assert mind.heard == ["half of"]


def test_on_a_dead_line_it_hangs_up() -> None:
    async def script(agent: Agent, caller: SpokenCaller, line: Line) -> None:
        return None

    caller, _, line = hold([Words("never said")], script)
    assert line.hung_up is not None and not caller.turns


def test_it_hangs_up_without_a_word() -> None:
    async def script(agent: Agent, caller: SpokenCaller, line: Line) -> None:
        await agent.say("goodbye")

    caller, _, line = hold([Words("", hang_up=True)], script)
    assert not caller.turns and line.hung_up is not None
