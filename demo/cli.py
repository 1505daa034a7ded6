"""`stretto demo`: one spoken call, heard, printed and written to files."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from stretto.agent.brain import add_model_flags, load_model
from stretto.agent.cli import folder, print_result
from stretto.agent.ways_in.speech import Speech, add_speech_flags, load_speech
from stretto.audio.pcm import write_wav
from stretto.audio.threads import limit_threads
from stretto.demo.caller_voice import CallerVoice
from stretto.demo.home import command as home
from stretto.demo.live import LiveDemo
from stretto.demo.page import write_page
from stretto.demo.spoken_call import SpokenCall, facts, spoken_call
from stretto.demo.warm_up import warm_up
from stretto.llm.language_model import LanguageModel

DEFAULT_SEED = 107
"""A call that reaches its goal; about a third do not (README)."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto demo` and `stretto demo-home`."""
    home.register(subparsers)
    parser = subparsers.add_parser(
        "demo",
        help="a spoken call between a simulated caller and the agent",
        description="A simulated caller with a voice talks to the agent in real time; leaves call.wav "
        "(stereo: caller left, agent right), call.json and call.html.",
    )
    parser.add_argument("--out", metavar="DIR", default="demo/out", help="folder for the files (demo/out)")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="which call: caller, goal, database, pauses"
    )
    add_model_flags(parser)
    add_speech_flags(parser)
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> int:
    """One call; 0 when somebody hung up, 1 when it broke off, 130 when interrupted (files are kept)."""
    out = folder(args.out)
    limit_threads()
    console = Console(file=sys.stderr if args.json else sys.stdout, highlight=False, quiet=args.quiet)
    with loaded(args, console) as (model, speech, voice):
        live = LiveDemo(console)
        call = asyncio.run(_interruptible(model, speech, voice, args, live))
    fields = write_call(call, out, weights_name(args.model))
    live.summary(fields, out)
    print_result(args, fields)
    if call.interrupted:
        return 130
    if call.error is not None:
        print(
            f"stretto demo: the call broke off ({call.error}); what there is lies in {out}", file=sys.stderr
        )
    return 0 if call.completed else 1


def weights_name(model: str | None) -> str:
    """What to call the weights in the files."""
    return Path(model).resolve().name if model else "embedded"


@contextlib.contextmanager
def loaded(args: argparse.Namespace, console: Console) -> Iterator[tuple[LanguageModel, Speech, CallerVoice]]:
    """Everything that a call needs, loaded and warm; how long each part took is printed."""
    with contextlib.ExitStack() as stack:
        began = time.monotonic()

        def told(what: str) -> None:
            nonlocal began
            console.print(f"[dim]{what:<22}{time.monotonic() - began:6.1f} s[/dim]")
            began = time.monotonic()

        model = load_model(args)
        stack.callback(model.close)
        told("language model")
        speech = load_speech(args)
        stack.callback(speech.close)
        told("recogniser and voice")
        voice = CallerVoice(args.seed)
        stack.callback(voice.close)
        voice.warm()
        told("caller's voice")
        asyncio.run(warm_up(model, speech, args.effort))
        told("warm-up")
        yield model, speech, voice


async def _interruptible(
    model: LanguageModel, speech: Speech, voice: CallerVoice, args: argparse.Namespace, live: LiveDemo
) -> SpokenCall:
    """The call; an interrupt ends it and what was recorded is returned."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # no such signals on this system
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return await spoken_call(
            model, speech, voice, args.seed, effort=args.effort, watch=[live.event], said=live.caller
        )
    finally:
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)


def write_call(call: SpokenCall, out: Path, weights: str) -> dict[str, Any]:
    """Write call.wav, call.json and call.html; the fields of the JSON come back."""
    fields = facts(call, out / "call.wav", weights)
    write_wav(out / "call.wav", call.stereo, call.rate)
    (out / "call.json").write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    write_page(call, fields, out / "call.html")
    return fields
