"""`stretto call`: a recorded caller talks to the agent in real time."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from stretto.agent.call_page.page import about_record, write_page
from stretto.agent.call_page.turn_view import RecordedCall
from stretto.agent.call_parts import add_part_flags, open_parts
from stretto.agent.cli import UsageError, print_result
from stretto.agent.events import Event
from stretto.agent.mqtt_link import within
from stretto.agent.session import Session, SessionOptions
from stretto.agent.ways_in.live import LiveCall
from stretto.agent.ways_in.recording import is_silent, play_recording
from stretto.agent.ways_in.speech import Speech
from stretto.agent.ways_in.stereo import RATE_OUT, StereoRecorder
from stretto.audio.pcm import AudioFileError, Int16, read_audio
from stretto.llm.language_model import LanguageModel
from stretto.tools.journal import Journal
from stretto.tools.runner import AnyTool


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto call`."""
    parser = subparsers.add_parser(
        "call",
        help="plays a caller's recording to the agent in real time",
        description="The agent greets, then hears the recording as a call; ends when the agent has answered "
        "all of it, or hangs up.",
    )
    parser.add_argument("--input", required=True, metavar="FILE", help="the caller: WAV, FLAC or OGG")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="write both sides: WAV, caller left, agent right; beside it a page (.html) to look at the call",
    )
    add_part_flags(parser)
    parser.set_defaults(run=run_call)


def run_call(args: argparse.Namespace) -> int:
    """Hold the call; raises `UsageError` for what cannot be used."""
    pcm = caller_audio(args.input)
    if args.record and not Path(args.record).parent.is_dir():
        raise UsageError(f"{Path(args.record).parent} is no folder: create it first, or change --record")
    if args.record and Path(args.record).suffix.lower() == ".html":
        raise UsageError(f"{args.record} would be the page's: give --record the name of a WAV file")
    with contextlib.ExitStack() as stack:
        parts = open_parts(args, stack)
        console = Console(file=sys.stderr if args.json else sys.stdout, highlight=False, quiet=args.quiet)
        call = recorded_call(
            parts.model, parts.speech, pcm, parts.chosen.tools, parts.options(RATE_OUT), parts.chosen.bias,
            args.record, console,
        )  # fmt: skip
        fields = asyncio.run(within(parts.link, call))
    print_result(args, fields)
    return 1 if fields["ended"] in ("line", "cancelled") else 0


def caller_audio(path: str) -> Int16:
    """The recording, int16 at 16 kHz. Raises `UsageError` where there is no caller to hear."""
    try:
        pcm = read_audio(path)
    except AudioFileError as error:
        raise UsageError(str(error)) from error
    if is_silent(pcm):
        raise UsageError(f"{path} is silent: nothing in it is louder than -60 dB. Record the caller again.")
    return pcm


async def recorded_call(
    model: LanguageModel,
    speech: Speech,
    pcm: Int16,
    tools: Sequence[AnyTool],
    options: SessionOptions,
    bias: Sequence[str],
    record: str | None,
    console: Console,
) -> dict[str, Any]:
    """The call; the fields of `--json`."""
    recorder = StereoRecorder(RATE_OUT, time.monotonic)

    def sink(frame: Int16, at: float) -> None:
        recorder.agent(frame, at)

    journal = Journal(Path(record).with_suffix(".tools.jsonl")) if record else None
    session = Session(
        recogniser=speech.recogniser,
        synthesiser=speech.synthesiser,
        model=model,
        sink=sink,
        tools=tools,
        options=options,
        bias=bias,
        journal=journal,
    )
    seen: list[Event] = []
    try:
        call = await play_recording(session, pcm, recorder, watch=[LiveCall(console).event, seen.append])
    finally:  # an interrupted call leaves its recording, too
        if journal is not None:
            journal.close()
        if record and session.started:
            try:
                stereo = recorder.save(record, session.started)
                about = about_record(session.record, "A call with a recorded caller", "`stretto call`")
                shown = RecordedCall(session.record, seen, stereo, RATE_OUT)
                write_page(shown, about, Path(record).with_suffix(".html"))
            except (OSError, RuntimeError) as error:
                raise UsageError(f"{record} cannot be written ({error}): choose another --record") from error
    page = str(Path(record).with_suffix(".html")) if record else None
    return {**call.to_json(), "recording": record, "page": page, "underruns": recorder.underruns}
