"""`stretto llm bench`: all comparisons, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from stretto.llm.bench.measure import Setup

NAMES = ("modes", "forward", "constraints", "revise", "dlmserve", "llama.cpp")
ABOUT = {
    "modes": "the same weights, canvas against causal: ms to the whole turn and to its first clause",
    "crossover": "the first batch at which causal writing is done sooner (-: none of those measured)",
    "forward": "a pass against the bare matrix products of its shapes",
    "constraints": "keeping a call to its schema, against the pass over its canvas",
    "revise": "a draft revised when the last words change, against a fresh one",
    "dlmserve": "the full-attention loop against dlmserve's, tiny random LLaDA weights; ratio of a pass",
    "llama.cpp": "the causal mode against llama.cpp, the same weights and precision",
}


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto llm bench`."""
    parser = commands.add_parser(
        "bench",
        help="the same weights causal and canvas, side by side, and both against others",
        description="Medians of runs in turns. In every row `ratio` is ours by what it is compared with: "
        "below 1 ours is faster.",
    )
    parser.add_argument("--model", metavar="DIR", help="folder of a model (default: the embedded one)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--batches", nargs="+", type=int, default=[1, 4, 16, 64], metavar="N", help="conversations at once"
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="medians are of so many")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", metavar="FILE", help="write the result there as well (JSON)")
    parser.set_defaults(run=run_bench)


def comparisons() -> dict[str, Callable[[Setup], Sequence[Any]]]:
    """What is measured, by name; every one returns rows."""
    from stretto.llm.bench import constraint_cost, forward_cost, full_attention, llama, modes, revision

    modules = (modes, forward_cost, constraint_cost, revision, full_attention, llama)
    return {module.NAME: module.compare for module in modules}


def run_bench(args: argparse.Namespace) -> int:
    """Measure; 2 for flags that cannot be, and for files that cannot be read or written."""
    import torch
    from stretto.llm.bench.measure import Setup, machine
    from stretto.llm.checkpoint import EMBEDDED, CheckpointError, find_device, load
    from stretto.llm.local import fast_dtype
    from stretto.llm.packed import pack
    from stretto.llm.tokenizer import embedded_tokenizer

    def say(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr, flush=True)

    try:
        _check(args)
        device = find_device(args.device)
        torch.set_num_threads(args.threads)
        source = args.model or EMBEDDED
        plain = load(source, device, fast_dtype(device))
        model = pack(load(source, device, fast_dtype(device)))
        tokenizer = embedded_tokenizer()
        if model.config.vocab != tokenizer.size:
            raise CheckpointError("the model was trained with another tokenizer; use one that goes with ours")
    except (CheckpointError, OSError, ValueError) as error:
        print(f"stretto llm bench: {error}", file=sys.stderr)
        return 2
    setup = Setup(model, tokenizer, args.threads, tuple(sorted(set(args.batches))), args.runs, say, plain)
    result: dict[str, Any] = {"rows": [], "machine": machine(setup, shlex.join(["stretto", *sys.argv[1:]]))}
    for name, compare in comparisons().items():
        if args.only is None or name in args.only:
            result["rows"] += [asdict(row) for row in compare(setup)]
            if args.out:  # what is known so far: all of it takes long
                Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    if not args.json and not args.quiet:
        show(result)
    if args.json:
        print(json.dumps(result))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises ValueError, and OSError where --out cannot be written, before anything is measured."""
    if args.runs < 1 or args.threads < 1 or min(args.batches) < 1:
        raise ValueError("--runs, --threads and --batches are 1 or more")
    if args.out:
        with Path(args.out).open("a"):
            pass


def show(result: dict[str, Any]) -> None:
    """Tables on standard output."""
    from rich.console import Console

    console = Console()
    for name, rows in groupby(result["rows"], key=lambda row: row["name"]):
        found = list(rows)
        if "skipped" in found[0]:
            console.print(f"{name}: skipped: {found[0]['skipped']}\n", markup=False, highlight=False)
        else:
            console.print(table(name, found), "")
    m = result["machine"]
    console.print(
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, {m['gpu'] or 'no GPU'}, "
        f"torch {m['torch']}, {m['dtype']}, {m['date']}; medians of {m['runs']}",
        highlight=False,
    )


def table(name: str, rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of one comparison."""
    from rich.table import Table

    made = Table(title=f"{name}: {ABOUT[name]}", title_justify="left")
    columns = [key for key in rows[0] if key != "name"]
    for key in columns:
        text = any(isinstance(row[key], str | bool) for row in rows)
        made.add_column(key.replace("_", " "), justify="left" if text else "right")
    for row in rows:
        made.add_row(*(_cell(row[key]) for key in columns))
    return made


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
