"""How often a pause would be cut in on, and how long a finished turn waits: by rules alone, and with P(end).

    python tests/bench/turn_taking.py [--dialogues 60] [--seed 7] [--model DIR] [--heard FILE …]

Callers, names and goals are those kept out of training. Every turn of four words and more is paused at one
random place for 200-900 ms (evenly spread), as the demo's caller does; a pause is cut in on when it is longer
than the silence that the turn machine asks for, less the time in which speech is noticed again. With
`--heard`, files of `python -m stretto.demo.heard --valid`, turns and what is heard at their pauses are really
recognised; without, the words are right.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stretto.agent.builtin import BUILT_IN
from stretto.agent.turn import Heard, TurnMachine, TurnOptions
from stretto.audio.vad import SpeechEnded, SpeechStarted
from stretto.llm.local import LocalModel
from stretto.tools.concierge.dialogues import generate
from stretto.tools.tool import ToolSpec

PAUSE_MS = (200.0, 900.0)
NOTICED_MS = 120.0
"""From the first sample of speech to the detector's report of it."""


def places(text: str, rng: random.Random) -> str | None:
    """The words before a random inner gap, as a recogniser writes them at a pause."""
    words = text.split()
    gaps = [i for i in range(2, len(words) - 1) if not words[i - 1].endswith((".", "!", "?"))]
    return " ".join(words[: rng.choice(gaps)]).rstrip(",;") + "." if gaps else None


def required_ms(text: str, p_end: float | None, options: TurnOptions) -> float:
    """The silence that the machine asks for after these words."""
    machine = TurnMachine(options)
    machine.feed(SpeechStarted(0.0), 0.1)
    machine.feed(SpeechEnded(1.0), 1.12)
    machine.feed(Heard(1, 1, text, p_end), 1.2)
    return machine.silence_ms()


def recognised(files: list[Path]) -> Iterator[dict[str, Any]]:
    """The dialogues of packed files."""
    for path in files:
        with gzip.open(path, "rt") as file:
            yield from map(json.loads, file)


async def measured(
    model: LocalModel, dialogues: Iterable[dict[str, Any]], rng: random.Random
) -> tuple[list[Any], list[Any]]:
    """(words, P(end)) at pauses and at ends of turns."""
    pauses, ends = [], []
    for dialogue in dialogues:
        specs = [ToolSpec(t["name"], t["description"], t["parameters"]) for t in tools_of(dialogue)]
        system = dialogue["messages"][0]["content"]
        conversation = model.open(system, [*specs, *BUILT_IN])
        for message in dialogue["messages"][1:]:
            if message["role"] == "user":
                before = [text for text, _ in message.get("pauses", ())]
                if not dialogue.get("heard") and (place := places(message["content"], rng)):
                    before = [place]
                for text in before:
                    pauses.append((text, (await conversation.hear(text)).p_end))
                ends.append((message["content"], (await conversation.hear(message["content"])).p_end))
            elif message["role"] == "assistant" and message.get("content"):
                await conversation.say(message["content"])
        conversation.close()
    return pauses, ends


def tools_of(dialogue: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tool definitions, flat or in OpenAI's nested form, without the built-in ones."""
    for tool in dialogue["tools"]:
        flat = tool.get("function", tool)
        if flat["name"] not in ("hang_up", "transfer"):
            yield flat


def cut_in(pauses: list[Any], options: TurnOptions) -> float:
    """Expected share of pauses that are cut in on."""
    low, high = PAUSE_MS
    shares = [(high - required_ms(text, p, options) + NOTICED_MS) / (high - low) for text, p in pauses]
    return statistics.fmean(min(1.0, max(0.0, share)) for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dialogues", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model")
    parser.add_argument("--heard", type=Path, nargs="+", metavar="FILE", help="really recognised dialogues")
    args = parser.parse_args()
    model = LocalModel(args.model)
    dialogues = recognised(args.heard) if args.heard else generate(args.seed, args.dialogues, valid=True)
    pauses, ends = asyncio.run(measured(model, dialogues, random.Random(args.seed)))
    model.close()
    quarter = (
        statistics.quantiles([p for _, p in pauses], n=4),
        statistics.quantiles([p for _, p in ends], n=4),
    )
    above = statistics.fmean(e > p for _, p in pauses for _, e in ends)
    print(f"{len(pauses)} pauses, {len(ends)} ends, AUC of P(end) {above:.3f}")
    print(f"quartiles of P(end): pauses {quarter[0]}, ends {quarter[1]}")
    print("options                                  cut in   wait p50   p90 (ms)")
    rows = [
        ("rules, commit 500", TurnOptions(use_p_end=False)),
        ("rules, commit 850", TurnOptions(use_p_end=False, commit_silence_ms=850.0)),
        ("the defaults", TurnOptions()),
    ]
    for doubtful in (850.0, 1000.0):
        for sure in (0.5, 0.6, 0.7, 0.8):
            for low in (0.2, 0.3):
                options = TurnOptions(
                    use_p_end=True, p_end_sure=sure, p_end_unfinished=low, doubtful_silence_ms=doubtful
                )
                rows.append((f"p_end sure {sure}, not {low}, doubt {doubtful:.0f}", options))
    for name, options in rows:
        waits = sorted(required_ms(text, p, options) for text, p in ends)
        p50, p90 = waits[len(waits) // 2], waits[int(len(waits) * 0.9)]
        print(f"{name:40s} {cut_in(pauses, options):6.3f} {p50:9.0f} {p90:9.0f}")


if __name__ == "__main__":
    main()
