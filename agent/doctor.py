"""`stretto doctor`: does all that a call needs work here, and what to do where it does not."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.text import Text
from stretto.agent.brain import CONCIERGE_SEED
from stretto.agent.cli import print_result
from stretto.agent.doctor_setup import OPTIONAL_SETUP, checked, current_settings, is_url, setup_checks
from stretto.agent.settings import Settings
from stretto.agent.ways_in.speech import add_speech_flags
from stretto.audio.doctor import Check
from stretto.audio.doctor import checks as speech_checks
from stretto.audio.threads import limit_threads

OPTIONAL = {"processors", "GPU", *OPTIONAL_SETUP}
"""Checks that a call between files and programs does without."""
OLDEST = (3, 11)
FEWEST_PROCESSORS = 2


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto doctor`."""
    parser = subparsers.add_parser(
        "doctor", help="checks settings, models, devices, threads; what to fix and how"
    )
    parser.add_argument(
        "--model", metavar="DIR|URL", help="folder or address of a model (default: the embedded one)"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--tools", metavar="MODULE", help="module or file with @tool functions")
    parser.add_argument("--facts", metavar="FILE", help="text or Markdown that the agent looks things up in")
    parser.add_argument("--microphone", metavar="NAME", help="name, part of it, or number")
    parser.add_argument("--speaker", metavar="NAME", help="name, part of it, or number")
    add_speech_flags(parser)
    # A broken file of settings is a finding here, not the end.
    parser.set_defaults(run=run_doctor, tells_settings=True)


def run_doctor(args: argparse.Namespace) -> int:
    """Print every check; 0 if all that a call needs works, else 1."""
    limit_threads()
    console = Console(file=sys.stderr if args.json else sys.stdout, highlight=False, quiet=args.quiet)
    results: list[Check] = []
    settings, wrong = current_settings(args)
    for group in (
        lambda: setup_checks(args, settings, wrong),
        machine_checks,
        lambda: model_checks(settings),
        lambda: speech_checks(settings.stt, settings.voice, settings.device),
    ):
        for check in group():
            results.append(check)
            show(console, check)
    ok = all(check["ok"] for check in results if check["name"] not in OPTIONAL)
    console.print(Text("all that a call needs works" if ok else "a call does not work yet", style="bold"))
    print_result(args, {"ok": ok, "checks": results})
    return 0 if ok else 1


def show(console: Console, check: Check) -> None:
    """One line, and a second one with the fix."""
    optional = check["name"] in OPTIONAL
    mark, style = ("✓", "green") if check["ok"] else ("–", "yellow") if optional else ("✗", "red")
    line = Text(f"{mark} ", style=style)
    line.append(f"{check['name']:<16}", style="bold")
    line.append(check["detail"])
    console.print(line)
    if not check["ok"] and check["fix"]:
        console.print(Text(f"  {'':<16}{check['fix']}", style="dim"))


def machine_checks() -> list[Check]:
    """Python, processors, threads, GPU."""
    return [
        checked("Python", _python, "Install Python 3.11 or newer and make the environment again."),
        checked("processors", _processors, "One is enough for text; for speech in real time give it two."),
        checked("PyTorch", _torch, "Reinstall: pip install --force-reinstall torch"),
        checked("GPU", _gpu, "None is needed: the embedded model runs on the processor."),
    ]


def model_checks(settings: Settings) -> list[Check]:
    """Weights, unless the model is somewhere else, and the concierge's database."""
    weights = checked(
        "weights",
        lambda: _weights(settings.model, settings.device),
        "Name a folder with config.json and its weights by --model, reinstall Stretto, or train: "
        "stretto llm train",
    )
    database = checked("database", _database, "Reinstall Stretto: pip install --force-reinstall stretto")
    return [database] if is_url(settings.model) else [weights, database]


def _python() -> str:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        raise RuntimeError(f"{found} is too old")
    return f"{found} on {sys.platform}"


def _processors() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if usable < FEWEST_PROCESSORS:
        raise RuntimeError(f"{usable} processor, {busy:.1f} busy: speech and model will wait for each other")
    if usable - busy < 1:
        raise RuntimeError(f"{usable} processors, {busy:.1f} busy: expect slow answers")
    return f"{usable}, {busy:.1f} of them busy"


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} thread(s)"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("none that PyTorch can use")
    return str(torch.cuda.get_device_name(0))


def _weights(folder: str | None, device: str) -> str:
    from stretto.llm.checkpoint import EMBEDDED, find_device, load
    from stretto.llm.tokenizer import FORMAT_VERSION

    place = Path(folder) if folder else EMBEDDED
    model = load(place, find_device(device))
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{place.name}: {count / 1e6:.1f} million parameters, format {FORMAT_VERSION}"


def _database() -> str:
    from stretto.tools.concierge.database import Database

    rows = sum(
        len(table) for table in Database.seed(CONCIERGE_SEED, date.today(), held_out=True).snapshot().values()
    )
    return f"concierge: {rows} rows"
