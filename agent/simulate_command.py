"""`stretto llm simulate`: goal-driven callers in text against the concierge, and how many goals are met."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console
from stretto.agent.brain import add_model_flags, load_model
from stretto.agent.cli import UsageError, print_result
from stretto.agent.simulate import Noise, TextCall, simulate
from stretto.llm.cli import commands_of

FIRST = 1001
"""The first seed of the standard goals; none of them is used in training."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto llm simulate`."""
    parser = commands_of(subparsers).add_parser(
        "simulate", help="goal-driven text callers against the concierge: how many goals are met, and why not"
    )
    add_model_flags(parser)
    parser.add_argument("--calls", type=int, default=200, help=f"goals of the seeds from {FIRST} on")
    parser.add_argument(
        "--goals", metavar="FILE", type=Path, help='JSON lines with a seed each instead: {"seed": 1001}'
    )
    parser.add_argument("--noise", action="store_true", help="damage the callers' words as a recogniser does")
    parser.add_argument("--threads", type=int, default=1)
    parser.set_defaults(run=run_simulate)


def seeds_of(path: Path) -> list[int]:
    """The seeds of a file of goals. Raises UsageError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [int(json.loads(line)["seed"]) for line in lines if line.strip()]
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give a file of goals") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{path} is no file of goals: a line is {{"seed": 1001}}') from error


def run_simulate(args: argparse.Namespace) -> int:
    """Hold the calls; prints those that fail with the reason."""
    seeds = seeds_of(args.goals) if args.goals else list(range(FIRST, FIRST + args.calls))
    if not seeds:
        raise UsageError("there are no goals: give --calls above 0, or a file with a line a goal")
    model = load_model(args, args.threads)
    console = Console(file=sys.stderr if args.json else sys.stdout, highlight=False, quiet=args.quiet)

    def show(call: TextCall) -> None:
        mark = "met " if call.met else "FAIL"
        console.print(f"{mark} {call.seed} {call.goal}" + ("" if call.met else f": {call.why}"), markup=False)

    try:
        noise: Noise = "full" if args.noise else "none"
        result = asyncio.run(simulate(model, seeds, args.effort, noise, show))
    finally:
        model.close()
    del result["transcripts"]
    console.print(f"{result['success']:.1%} of {result['calls']} goals met", style="bold")
    print_result(args, result)
    return 0
