"""Training dialogues of the concierge: simulated callers talk with the oracle over the real tools.

`python -m stretto.tools.concierge.dialogues --count N --seed S --out FILE.jsonl.gz [--valid] [--stats]`
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from stretto.tools.concierge.caller import TextCaller
from stretto.tools.concierge.database import COLUMNS, KEYS, Database, Snapshot
from stretto.tools.concierge.goals import Goal, describe, draw
from stretto.tools.concierge.oracle import Oracle
from stretto.tools.concierge.slips import SlippingOracle
from stretto.tools.concierge.success import check
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.concierge.wording import Style, Utterance
from stretto.tools.tool import Tool

BUILT_IN: tuple[dict[str, Any], ...] = tuple(
    {
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": {}, "required": []},
    }
    for name, description in (("hang_up", "End the call."), ("transfer", "Hand over to a person."))
)
"""Tools that every call offers beside its own; they have no result."""
PER_CITY = 16
"""Dialogues that are held over one seeded database."""
_FIND = {
    "book_restaurant": "find_restaurants",
    "book_hotel": "find_hotels",
    "book_appointment": "find_appointments",
}


@dataclass
class City:
    """A seeded database with its tools, put back as it was after every dialogue."""

    database: Database
    now: datetime
    before: Snapshot
    tools: dict[str, Tool]
    names: tuple[str, ...] = ()
    """Those of places and people."""

    @classmethod
    def build(cls, seed: int, day: datetime, held_out: bool) -> City:
        """Seed a city whose days begin with `day`."""
        database = Database.seed(seed, day.date(), held_out)
        city = cls(database, day, database.snapshot(), {})
        city.tools = {tool.spec.name: tool for tool in concierge(database, lambda: city.now)}
        tables = ("restaurants", "hotels", "places", "customers")
        city.names = tuple(row["name"] for table in tables for row in database.rows(table))
        return city

    def restore(self, changes: list[dict[str, Any]]) -> None:
        """Undo changes."""
        for change in changes:
            table, row = change["table"], change["row"]
            key = {column: row[column] for column in COLUMNS[table][: KEYS[table]]}
            if change["change"] == "insert":
                self.database.delete(table, key)
            elif change["change"] == "delete":
                self.database.insert(table, row)
            else:
                self.database.update(table, key, **change["old"])


class Hear(Protocol):
    """Makes of what a caller says what a recogniser hears of it; its acts keep to what was heard."""

    def __call__(self, said: Utterance, city: City) -> Utterance: ...


def generate(
    seed: int, count: int, valid: bool = False, hear: Hear | None = None
) -> Iterator[dict[str, Any]]:
    """Make dialogues in the data's format; the same ones for the same arguments.

    With `valid`, names and caller templates are those kept out of training. With `hear`, what is heard is
    really recognised, and a dialogue that fails because of it stays: the agent answered what it heard.
    """
    split = "valid" if valid else "train"
    rng = random.Random(f"{split} {seed}")
    city: City | None = None
    for number in range(count):
        if city is None or number % PER_CITY == 0:
            if city is not None:
                city.database.close()
            day = datetime(2024, 1, 1) + timedelta(days=rng.randrange(4 * 365))
            city = City.build(rng.randrange(10**6), day, held_out=valid)
        city.now = day + timedelta(minutes=rng.randrange(7 * 60, 21 * 60))
        dialogue = at_once(hold(city, random.Random(rng.random()), valid, hear=hear))
        while hear is None and not (dialogue["goal_met"] or dialogue["gave_up"]):
            # One in some thousands goes wrong by misunderstanding; it is no example.
            dialogue = at_once(hold(city, random.Random(rng.random()), valid))
        dialogue["id"] = f"concierge/{split}-{seed}-{number}"
        dialogue["heard"] = hear is not None
        yield dialogue
    if city is not None:
        city.database.close()


def at_once(talk: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run a dialogue without an event loop: its tools never wait, for their database is in memory.

    Raises:
        RuntimeError: a tool waited after all.
    """
    try:
        talk.send(None)
    except StopIteration as end:
        result: dict[str, Any] = end.value
        return result
    talk.close()
    raise RuntimeError("A tool waited; dialogues need tools that answer at once, over a database in memory.")


SLIPS = (0.0, 0.0, 0.06, 0.15)
"""How often the oracle slips at a chance: half of the training dialogues show what comes after a mistake."""


async def hold(
    city: City,
    rng: random.Random,
    valid: bool,
    goal: Goal | None = None,
    hear: Hear | None = None,
    slips: Sequence[float] = SLIPS,
) -> dict[str, Any]:
    """Hold one dialogue and put the city back; without a goal one is drawn.

    `hear`: a recogniser; without one the callers' words are written with made-up mistakes. `slips`: rates of
    which one is drawn; held-out dialogues have none.
    """
    goal = goal or draw(city.database, city.now, rng, tasks=1 if rng.random() < 0.72 else 2)
    rate = 0.0 if valid else rng.choice(slips)
    oracle = SlippingOracle(city.tools, rng, rate, city.names) if rate else Oracle(city.tools, rng)
    style = Style.draw(rng, held_out=valid, noise=True)
    if hear is not None:
        style.misspelling = style.slips = style.garbled = 0.0
    caller = TextCaller(goal, style, rng)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system_text(city.now)},
        {"role": "assistant", "content": oracle.welcome()},
    ]
    said = caller.open()
    templates: set[str] = set()
    while said.written:
        if hear is not None:
            said = hear(said, city)
        templates.update(said.templates)
        messages.append({"role": "user", "content": said.written})
        if said.pauses:
            messages[-1]["pauses"] = [list(pause) for pause in said.pauses]
        replies = await oracle.reply(said)
        messages += replies
        if "tool_calls" in messages[-1] or said.hang_up:
            break
        said = caller.reply(str(messages[-1]["content"]))
    outcome = check(city.database, city.before, goal)
    city.restore(outcome.changes)
    used = {call["name"] for message in messages for call in message.get("tool_calls", ())}
    return {
        "id": "",
        "source": "concierge",
        "license": "Apache-2.0",
        "split": "valid" if valid else "train",
        "domain": [task.kind for task in goal.tasks],
        "tools": _offered(city.tools, used, rng),
        "messages": messages,
        "goal": describe(goal),
        "goal_met": outcome.met,
        "why": outcome.why,
        "gave_up": caller.gave_up,
        "templates": sorted(templates),
    }


def _offered(tools: dict[str, Tool], used: set[str], rng: random.Random) -> list[dict[str, Any]]:
    """Tools in random order, now and then without a few that the dialogue does not need."""
    specs = [
        {"name": tool.spec.name, "description": tool.spec.description, "parameters": tool.spec.parameters}
        for tool in tools.values()
    ]
    if rng.random() < 0.3:
        kept = used | {_FIND[name] for name in used if name in _FIND}
        spare = [spec["name"] for spec in specs if spec["name"] not in kept]
        dropped = set(rng.sample(spare, min(len(spare), rng.randint(1, 5))))
        specs = [spec for spec in specs if spec["name"] not in dropped]
    specs += BUILT_IN
    rng.shuffle(specs)
    return specs


def statistics(dialogues: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and averages that show whether the mixture is as it should be."""
    turns = [sum(message["role"] == "user" for message in d["messages"]) for d in dialogues]
    callers = [m["content"] for d in dialogues for m in d["messages"] if m["role"] == "user"]
    agents = [
        m["content"] for d in dialogues for m in d["messages"] if m["role"] == "assistant" and m["content"]
    ]
    calls = Counter(c["name"] for d in dialogues for m in d["messages"] for c in m.get("tool_calls", ()))
    count = max(1, len(dialogues))
    return {
        "dialogues": len(dialogues),
        "goal_met": sum(d["goal_met"] for d in dialogues) / count,
        "gave_up": sum(d["gave_up"] for d in dialogues) / count,
        "caller_turns": sum(turns) / count,
        "turns_histogram": dict(sorted(Counter(turns).items())),
        "words_per_caller_turn": sum(len(text.split()) for text in callers) / max(1, len(callers)),
        "words_per_reply": sum(len(text.split()) for text in agents) / max(1, len(agents)),
        "distinct_caller_turns": len(set(callers)) / max(1, len(callers)),
        "calls": dict(calls.most_common()),
        "errors": sum(
            '"error":' in m["content"] for d in dialogues for m in d["messages"] if m["role"] == "tool"
        )
        / count,
        "slips": sum(m.get("slip", False) for d in dialogues for m in d["messages"]) / count,
    }


def flags(description: str) -> argparse.ArgumentParser:
    """What every program that makes dialogues asks for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--valid", action="store_true", help="names and wordings kept out of training")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write dialogues to a file, packed where its name ends in .gz."""
    parser = flags("Make concierge dialogues.")
    parser.add_argument("--stats", action="store_true", help="print counts and averages")
    args = parser.parse_args(argv)
    kept: list[dict[str, Any]] = []
    with gzip.open(args.out, "wt") if args.out.suffix == ".gz" else args.out.open("w") as file:
        for dialogue in generate(args.seed, args.count, args.valid):
            file.write(json.dumps(dialogue, ensure_ascii=False) + "\n")
            if args.stats and len(kept) < 5000:
                kept.append(dialogue)
    if args.stats:
        json.dump(statistics(kept), sys.stdout, indent=1)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
