"""One spoken call between the simulated caller and the agent, in real time, and all that is known of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stretto.agent.call_page.turn_view import PausedWord
from stretto.agent.canned import CONCIERGE
from stretto.agent.events import Event
from stretto.agent.session import Session, SessionOptions
from stretto.agent.simulate import BENCH_NOW, staged
from stretto.agent.timeline import CallRecord, TurnRecord, summary
from stretto.agent.ways_in.bias import names_in
from stretto.agent.ways_in.speech import Speech
from stretto.agent.ways_in.stereo import RATE_OUT, StereoRecorder
from stretto.audio.pcm import Int16
from stretto.demo.caller_voice import CallerVoice
from stretto.demo.spoken_caller import CallerTurn, SpokenCaller
from stretto.demo.voice_to_voice import answers_ms
from stretto.llm.language_model import Effort, LanguageModel
from stretto.tools.concierge.caller import TextCaller
from stretto.tools.concierge.goals import describe
from stretto.tools.concierge.success import Outcome, check
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.concierge.wording import Style

SAME_END_MS = 400.0
"""The session's estimate of an end of speech belongs to an end that is no further away."""


@dataclass
class SpokenCall:
    """What a call was: the session's record and events, the caller's turns, the stereo recording.

    `started`: the pick-up on the session's clock, s; all times in milliseconds count from it. `stereo`: int16
    of shape (n, 2) at `rate`, caller left, agent right. `completed`: somebody hung up.
    """

    seed: int
    goal: str
    record: CallRecord
    outcome: Outcome
    started: float
    stereo: Int16
    rate: int
    turns: list[CallerTurn]
    events: list[Event] = field(default_factory=list)
    underruns: int = 0
    interrupted: bool = False
    error: str | None = None
    """What broke the call off, if anything did."""

    @property
    def completed(self) -> bool:
        return (
            not self.interrupted
            and self.error is None
            and self.record.ended in ("hang_up", "transfer", "caller")
        )

    def ms(self, at: float) -> float:
        return (at - self.started) * 1000


async def spoken_call(
    model: LanguageModel,
    speech: Speech,
    voice: CallerVoice,
    seed: int,
    *,
    effort: Effort = "medium",
    watch: Sequence[Callable[[Event], None]] = (),
    said: Callable[[CallerTurn], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SpokenCall:
    """Run the call of a seed to its end. Cancelled or broken off, it returns what there is, marked so."""
    now = BENCH_NOW
    database, goal, rng = staged(seed, now)
    before = database.snapshot()
    mind = TextCaller(goal, Style.draw(rng, held_out=True), rng)
    recorder = StereoRecorder(RATE_OUT, clock)
    caller: SpokenCaller

    def sink(pcm: Int16, at: float) -> None:
        caller.hear_agent(pcm, recorder.agent(pcm, at), RATE_OUT)

    session = Session(
        recogniser=speech.recogniser,
        synthesiser=speech.synthesiser,
        model=model,
        sink=sink,
        tools=concierge(database, lambda: now),
        options=SessionOptions(system=system_text(now), effort=effort, rate=RATE_OUT, canned=CONCIERGE),
        clock=clock,
        bias=names_in(database),
    )
    caller = SpokenCaller(
        mind, voice, session, clock, rng=random.Random(f"gaps/{seed}"), sent=recorder.caller, said=said
    )
    seen: list[Event] = []
    interrupted, broken = False, None
    try:
        await _hold(session, caller, seen, watch)
    except asyncio.CancelledError:
        interrupted = True
    except Exception as error:  # whatever it is: what was recorded so far must not be lost with it
        broken = _causes(error)
    stereo = recorder.stereo(session.started or clock())
    return SpokenCall(
        seed=seed,
        goal=describe(goal),
        record=session.record,
        outcome=check(database, before, goal),
        started=session.started,
        stereo=stereo,
        rate=RATE_OUT,
        turns=caller.turns,
        events=seen,
        underruns=recorder.underruns,
        interrupted=interrupted,
        error=broken,
    )


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_causes(part) for part in error.exceptions)
    return f"{type(error).__name__}: {error}"


async def _hold(
    session: Session, caller: SpokenCaller, seen: list[Event], watch: Sequence[Callable[[Event], None]]
) -> None:
    """The session and its caller together, until the session is over."""

    async def see() -> None:
        async for event in happened:
            seen.append(event)
            for show in watch:
                show(event)

    happened, heard = session.events(), session.events()
    async with asyncio.TaskGroup() as group:
        seeing = group.create_task(see())
        tasks = [group.create_task(work) for work in (caller.send(), caller.listen(heard), caller.converse())]
        await session.run()
        await seeing
        for task in tasks:
            task.cancel()


# ---------------------------------------------------------------------- what it means


def answered(call: SpokenCall) -> list[TurnRecord | None]:
    """For every caller turn the session's turn that answered its end; None where there is none."""
    result: list[TurnRecord | None] = []
    for said in call.turns:
        end = call.ms(said.end)
        near = [
            turn
            for turn in call.record.turns
            if turn.speech_end_ms is not None and abs(turn.speech_end_ms - end) <= SAME_END_MS
        ]
        result.append(min(near, key=lambda turn: abs((turn.speech_end_ms or 0.0) - end)) if near else None)
    return result


def pauses(call: SpokenCall) -> list[PausedWord]:
    """Every pause of the caller and whether the agent took the floor in it."""

    def times(*kinds: str) -> list[float]:
        return [event.at_ms for event in call.events if type(event).__name__ in kinds]

    taken, committed = times("AgentSpeaking", "ToolStarted"), times("Committed")
    result = []
    for number, said in enumerate(call.turns, 1):
        start = call.ms(said.start)
        for pause in said.pauses:
            begin, end = start + pause.start_ms, start + pause.end_ms
            # Up to where the agent can have noticed that the caller went on.
            cut, over = (any(begin < at < end + 150 for at in happened) for happened in (taken, committed))
            result.append(PausedWord(number, begin, end, pause.after, cut, over))
    return result


def facts(call: SpokenCall, recording: Path, weights: str) -> dict[str, Any]:
    """The fields of `call.json`."""
    ends = [call.ms(said.end) for said in call.turns]
    starts = [call.ms(said.start) for said in call.turns]
    agent = call.stereo[:, 1] if len(call.stereo) else np.zeros(0, np.int16)
    from_file = answers_ms(agent, call.rate, ends, starts)
    turns = answered(call)
    side_by_side = [
        _measured(turn, end, measured) for turn, end, measured in zip(turns, ends, from_file, strict=True)
    ]
    paused = pauses(call)
    return {
        **call.record.to_json(),
        "recording": recording.name,
        "rate": call.rate,
        "seed": call.seed,
        "goal": call.goal,
        "goal_met": call.outcome.met,
        "why": call.outcome.why,
        "database_changes": call.outcome.changes,
        "completed": call.completed,
        "error": call.error,
        "weights": weights,
        "caller_turns": [
            {
                "text": said.text,
                "start_ms": round(start, 1),
                "end_ms": round(end, 1),
                "turn": turn.turn if turn is not None else None,
            }
            for said, start, end, turn in zip(call.turns, starts, ends, turns, strict=True)
        ],
        "pauses": {
            "total": len(paused),
            "cut_in": sum(pause.cut_in for pause in paused),
            "committed": sum(pause.committed for pause in paused),
            "turns_with_pause": sum(bool(said.pauses) for said in call.turns),
            "list": [pause.to_json() for pause in paused],
        },
        "measured": {
            "turns": side_by_side,
            "timeline_ms": summary(_numbers(side_by_side, "timeline_ms")),
            "file_ms": summary(_numbers(side_by_side, "file_ms")),
            "file_without_tools_ms": summary(_numbers(side_by_side, "file_ms", tools=False)),
            "file_with_tools_ms": summary(_numbers(side_by_side, "file_ms", tools=True)),
            "apart_ms": summary(_numbers(side_by_side, "apart_ms")),
        },
        "underruns": call.underruns,
    }


def _measured(turn: TurnRecord | None, end_ms: float, file_ms: float | None) -> dict[str, Any]:
    """One turn's time, measured twice: by the session as it went, and in the recording from the true end.

    `end_apart_ms`: how much later the session took the caller's end to be.
    """
    timeline = turn.voice_to_voice_ms if turn is not None else None
    detected = turn.speech_end_ms if turn is not None else None
    apart = None if timeline is None or file_ms is None else abs(timeline - file_ms)
    return {
        "turn": turn.turn if turn is not None else None,
        "caller_end_ms": round(end_ms, 1),
        "timeline_ms": _rounded(timeline),
        "file_ms": _rounded(file_ms),
        "apart_ms": _rounded(apart),
        "end_apart_ms": None if detected is None else round(detected - end_ms, 1),
        "tools": bool(turn is not None and turn.tools),
    }


def _numbers(rows: Sequence[dict[str, Any]], key: str, tools: bool | None = None) -> list[float]:
    return [row[key] for row in rows if row[key] is not None and (tools is None or row["tools"] == tools)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
