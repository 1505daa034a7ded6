"""Calls in text between a goal-driven caller and the agent, on a fresh concierge database each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from stretto.agent.answer import answer
from stretto.agent.builtin import BUILT_IN
from stretto.agent.canned import CONCIERGE
from stretto.llm.language_model import Effort, LanguageModel
from stretto.llm.train.augment import damage
from stretto.tools.concierge.caller import TextCaller
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.goals import Goal, describe, draw
from stretto.tools.concierge.success import check
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.concierge.wording import Style
from stretto.tools.runner import ToolRunner

MOST_TURNS = 20
BENCH_NOW = datetime(2026, 11, 23, 10, 0)
"""The session clock of simulated calls, so that a seed means the same call on every day."""


@dataclass
class TextCall:
    """One simulated call; `turns` are (caller, agent, tools)."""

    seed: int
    goal: str
    kind: str = ""
    met: bool = False
    why: str = ""
    turns: list[dict[str, Any]] = field(default_factory=list)
    forwards: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)


def staged(seed: int, now: datetime = BENCH_NOW) -> tuple[Database, Goal, random.Random]:
    """Database (names kept out of training), goal that changes it, and the caller's randomness."""
    rng = random.Random(f"call/{seed}")
    database = Database.seed(seed, now.date(), held_out=True)
    return database, draw(database, now, rng, changes=True), rng


Noise = Literal["none", "some", "full"]


def line_of(noise: Noise, style: Style, rng: random.Random) -> Callable[[str], str]:
    """What the line does to the caller's words; sets the style's rate of misheard values, too.

    none: they arrive as written. some: names are misspelt and values misheard now and then. full: case,
    punctuation, fillers, repeated and similar-sounding words besides, as in training.
    """
    if noise == "none":
        style.misspelling = style.slips = 0.0
    return (lambda words: damage(words, rng)) if noise == "full" else (lambda words: words)


async def text_call(
    model: LanguageModel,
    seed: int,
    effort: Effort = "medium",
    now: datetime = BENCH_NOW,
    noise: Noise = "some",
) -> TextCall:
    """Run one call to its end; the caller reads only the agent's words.

    The model gets the caller's words as a recogniser would write them ("the 27th", "7:30").
    """
    database, goal, rng = staged(seed, now)
    before = database.snapshot()
    tools = concierge(database, lambda: now)
    conversation = model.open(system_text(now), [*(t.spec for t in tools), *BUILT_IN])
    runner = ToolRunner(tools)
    style = Style.draw(rng, held_out=True)
    line = line_of(noise, style, random.Random(f"line/{seed}"))
    caller = TextCaller(goal, style, rng)
    call = TextCall(seed, describe(goal), "+".join(t.kind for t in goal.tasks))
    await conversation.say(CONCIERGE.greeting)
    said = caller.open()
    for _ in range(MOST_TURNS):
        if not said.text:
            break
        written = line(said.written)
        reply = await answer(conversation, runner, written, effort=effort)
        call.turns.append({"caller": written, "agent": reply.text, "tools": reply.tools, "ms": reply.ms})
        if reply.failure is not None:
            call.turns[-1]["failure"] = reply.failure
        call.forwards += reply.forwards
        if said.hang_up or reply.hang_up or reply.transfer:
            break
        said = caller.reply(reply.text)
    conversation.close()
    outcome = check(database, before, goal)
    call.met, call.why, call.changes = outcome.met, outcome.why, outcome.changes
    return call


async def simulate(
    model: LanguageModel,
    seeds: Sequence[int],
    effort: Effort = "medium",
    noise: Noise = "some",
    done: Callable[[TextCall], None] | None = None,
) -> dict[str, Any]:
    """Many calls; the share whose goal is met, and why the others failed. `done` is told of every call."""
    calls: list[TextCall] = []
    for seed in seeds:
        calls.append(await text_call(model, seed, effort, noise=noise))
        if done is not None:
            done(calls[-1])
    return {
        "calls": len(calls),
        "success": sum(c.met for c in calls) / max(len(calls), 1),
        "turns_per_call": sum(len(c.turns) for c in calls) / max(len(calls), 1),
        "failures": [{"seed": c.seed, "goal": c.goal, "why": c.why} for c in calls if not c.met],
        "transcripts": [asdict(c) for c in calls],
    }
