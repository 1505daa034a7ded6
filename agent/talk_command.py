"""`stretto talk`: the microphone and the speaker of this machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from stretto.agent.call_page.page import about_record, write_page
from stretto.agent.call_page.turn_view import RecordedCall
from stretto.agent.call_parts import add_part_flags, open_parts
from stretto.agent.cli import UsageError, folder, print_result
from stretto.agent.events import Event
from stretto.agent.mqtt_link import within
from stretto.agent.session import Session, SessionOptions
from stretto.agent.ways_in.live import LiveCall
from stretto.agent.ways_in.microphone import MicrophoneCall
from stretto.agent.ways_in.push_to_talk import PushToTalk, check_keys, space_bar
from stretto.agent.ways_in.speech import Speech
from stretto.agent.ways_in.stereo import RATE_OUT, StereoRecorder
from stretto.agent.ways_in.talk_view import TalkView
from stretto.agent.ways_in.warm_up import warm_up
from stretto.audio.devices import DeviceError, devices, find
from stretto.audio.echo import EchoCanceller
from stretto.audio.pcm import RATE, write_wav
from stretto.audio.streams import LATENCY_S, Latency, Microphone, Speaker
from stretto.llm.language_model import LanguageModel
from stretto.tools.journal import Journal
from stretto.tools.runner import AnyTool

FILES = ("call.wav", "call.json", "call.html")
"""What is kept of a call."""


@dataclass(frozen=True)
class TalkSettings:
    """Which devices, and how. `out`: the folder of call.wav, call.json and call.html; None to keep nothing.
    `microphone`, `speaker`: names, parts of names or numbers; None for the system's own."""

    out: Path | None
    microphone: str | None = None
    speaker: str | None = None
    echo_cancelling: bool = True
    push_to_talk: bool = False
    latency: Latency = LATENCY_S


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto talk`."""
    parser = subparsers.add_parser(
        "talk",
        help="talk to the agent over microphone and speaker",
        description="The agent greets, then listens. Ctrl-C hangs up. The call is kept in a folder (--out, "
        "--no-record): call.wav (stereo: caller left, agent right), call.json and call.html.",
    )
    parser.add_argument("--microphone", metavar="NAME", help="name, part of it, or number (see --devices)")
    parser.add_argument("--speaker", metavar="NAME", help="name, part of it, or number (see --devices)")
    parser.add_argument("--devices", action="store_true", help="list the devices and stop")
    parser.add_argument(
        "--push-to-talk",
        action="store_true",
        help="the agent hears you only while SPACE is held, or between two taps on it",
    )
    parser.add_argument(
        "--no-echo-cancelling", action="store_true", help="leave the microphone as it is (headphones)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the files (default: one in talk/, named by date and time)"
    )
    parser.add_argument("--no-record", action="store_true", help="keep nothing of the call")
    add_part_flags(parser)
    parser.set_defaults(run=run_talk)


def run_talk(args: argparse.Namespace) -> int:
    """Hold the call; 0 when somebody hung up, 1 when it broke off, 130 when interrupted (files are kept).

    Raises `UsageError` for what cannot be used, before any model loads.
    """
    console = Console(file=sys.stderr if args.json else sys.stdout, highlight=False, quiet=args.quiet)
    try:
        if args.devices:
            return list_devices(args, console)
        find("speaker", args.speaker)
        find("microphone", args.microphone)
        if not args.no_echo_cancelling:
            EchoCanceller(RATE)
    except DeviceError as error:
        raise UsageError(str(error)) from error
    if args.push_to_talk:
        check_keys()
    if args.no_record and args.out:
        raise UsageError("--out keeps the call and --no-record does not: give one of them")
    settings = TalkSettings(
        None if args.no_record else folder(args.out or f"talk/{datetime.now():%Y-%m-%d-%H%M%S}"),
        args.microphone,
        args.speaker,
        not args.no_echo_cancelling,
        args.push_to_talk,
    )
    with contextlib.ExitStack() as stack:
        parts = open_parts(args, stack)
        model, speech, chosen, options = parts.model, parts.speech, parts.chosen, parts.options(RATE_OUT)
        console.print("[dim]warming up[/dim]")
        asyncio.run(warm_up(model, speech, options.system, chosen.tools, options.effort))
        view = view_for(args, console)
        try:
            call = talk(model, speech, chosen.tools, options, chosen.bias, settings, view)
            fields = asyncio.run(within(parts.link, call))
        except DeviceError as error:
            raise UsageError(str(error)) from error
    kept = "" if settings.out is None else f"; what there is lies in {settings.out}"
    if settings.out is not None:
        console.print("".join(f"\n  {settings.out / name}" for name in FILES))
    print_result(args, fields)
    if fields["interrupted"]:
        return 130
    if fields["error"] is not None:
        print(f"stretto talk: the call broke off ({fields['error']}){kept}", file=sys.stderr)
    return 1 if fields["error"] is not None or fields["ended"] in ("line", "cancelled") else 0


def list_devices(args: argparse.Namespace, console: Console) -> int:
    """Print every device; the ones that are taken where none is named are marked."""
    found = devices()
    for each in found:
        used = [kind for kind in ("microphone", "speaker") if getattr(each, kind)]
        console.print(
            f"{each.number:>3}  {each.name}   {each.inputs} in, {each.outputs} out, {each.rate} Hz"
            f"{'   default ' + ' and '.join(used) if used else ''}",
            markup=False,
        )
    if not found:
        console.print("no devices")
    print_result(args, {"devices": [vars(each) for each in found]})
    return 0


def view_for(args: argparse.Namespace, console: Console) -> LiveCall:
    """A live panel in a terminal; plain lines elsewhere; nothing when quiet."""
    if args.quiet or args.json or not console.is_terminal:
        return LiveCall(console)
    hint = "SPACE: hold it or tap it to talk · Ctrl-C hangs up" if args.push_to_talk else "Ctrl-C hangs up"
    return TalkView(console, hint)


async def talk(
    model: LanguageModel,
    speech: Speech,
    tools: Sequence[AnyTool],
    options: SessionOptions,
    bias: Sequence[str],
    settings: TalkSettings,
    view: LiveCall,
) -> dict[str, Any]:
    """The call, and its files; the fields of `--json`.

    An interrupt hangs up, a second one breaks off. `options.rate` must be `RATE_OUT`. Raises `DeviceError` if
    a device cannot be opened, `UsageError` if the files cannot be written.
    """
    recorder = StereoRecorder(RATE_OUT, time.monotonic)
    key = PushToTalk()
    line = MicrophoneCall(
        Microphone(settings.microphone, settings.latency),
        Speaker(settings.speaker, settings.latency),
        recorder,
        echo_cancelling=settings.echo_cancelling,
        **({"line_open": key.talking} if settings.push_to_talk else {}),
    )
    journal = None if settings.out is None else Journal(settings.out / "tools.jsonl")
    session = Session(
        recogniser=speech.recogniser,
        synthesiser=speech.synthesiser,
        model=model,
        sink=line.sink,
        tools=tools,
        options=options,
        bias=bias,
        journal=journal,
    )
    stop = asyncio.Event()
    seen: list[Event] = []
    error: str | None = None
    with contextlib.ExitStack() as stack:
        if journal is not None:
            stack.callback(journal.close)
        stack.enter_context(interrupts(stop))
        if isinstance(view, TalkView):
            stack.enter_context(view.shown(lambda: (line.caller_db, line.agent_db)))
        if settings.push_to_talk:
            stack.enter_context(space_bar(lambda: key.press(time.monotonic())))
        try:
            await line.hold(session, [view.event, seen.append], stop)
        except DeviceError:
            raise
        except asyncio.CancelledError:
            stop.set()
        except Exception as broken:  # whatever it is: what was recorded so far must not be lost with it
            error = causes(broken)
    if line.lost is not None:
        error = str(line.lost)
    fields = {
        **session.record.to_json(),
        "recording": None if settings.out is None else "call.wav",
        "page": None if settings.out is None else "call.html",
        "out": None if settings.out is None else str(settings.out),
        "underruns": line.speaker.buffer.underruns,
        "interrupted": stop.is_set(),
        "error": error,
        "echo_cancelling": settings.echo_cancelling,
        "push_to_talk": settings.push_to_talk,
        "devices": [
            {
                "name": each.name,
                "kind": each.kind,
                "rate": each.rate,
                "latency_ms": round(each.latency_ms, 1),
                "faults": each.faults,
            }
            for each in (line.microphone, line.speaker)
        ],
    }
    if settings.out is not None:
        stereo = recorder.stereo(session.started or time.monotonic())
        call = RecordedCall(session.record, seen, stereo, RATE_OUT)
        try:
            keep(call, fields, settings.out)
        except (OSError, RuntimeError) as failed:
            raise UsageError(f"{settings.out} cannot be written ({failed}): choose another --out") from failed
    return fields


def keep(call: RecordedCall, fields: dict[str, Any], out: Path) -> None:
    """Write `FILES`. Raises OSError, RuntimeError."""
    wav, record, page = (out / name for name in FILES)
    write_wav(wav, call.stereo, call.rate)
    record.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    title = "A call over microphone and speaker"
    write_page(call, about_record(call.record, title, "`stretto talk`", fields["error"]), page)


@contextlib.contextmanager
def interrupts(stop: asyncio.Event) -> Iterator[None]:
    """An interrupt sets `stop`, a second one cancels the running task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    signals = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):  # no such signals on this system
        for each in signals:
            loop.add_signal_handler(each, interrupt)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for each in signals:
                loop.remove_signal_handler(each)


def causes(error: BaseException) -> str:
    """What went wrong, without the tree of task groups."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(causes(part) for part in error.exceptions)
    return f"{type(error).__name__}: {error}"
