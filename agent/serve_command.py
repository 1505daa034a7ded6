"""`stretto serve`: calls over WebSocket, the browser's page, health and metrics on one port."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from stretto.agent.call_parts import add_part_flags, open_parts
from stretto.agent.cli import UsageError, folder
from stretto.agent.config import settings_of
from stretto.agent.mqtt_link import within
from stretto.agent.realtime.connection import Service
from stretto.agent.realtime.wire_voice import WireVoice
from stretto.agent.server.opening import server_for
from stretto.agent.server.serve_settings import ServeSettings
from stretto.agent.server.server import Server
from stretto.agent.ways_in.speech import Speech
from stretto.agent.ways_in.warm_up import warm_up
from stretto.audio.synthesise import Synthesiser, find_voice


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="calls over WebSocket and telephone: OpenAI Realtime clients, the browser, Twilio, Asterisk",
        description="/v1/realtime speaks the OpenAI Realtime protocol, / is a page to talk from, /twilio "
        "takes Twilio's streams. Without keys only this machine may call.",
    )
    parser.add_argument("--host", default=ServeSettings.model_fields["host"].default)
    parser.add_argument("--port", type=int, default=ServeSettings.model_fields["port"].default)
    parser.add_argument(
        "--record", metavar="DIR", help="keep recording, transcript and page of every call there"
    )
    parser.add_argument(
        "--audiosocket", metavar="HOST:PORT", help="take calls of Asterisk's AudioSocket there, too"
    )
    add_part_flags(parser)
    parser.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Serve until interrupted or told to stop (SIGTERM): 0."""
    settings = settings_of(args)
    serving = settings.serve
    try:
        serving.required_keys()
        serving.audiosocket_address()
    except ValueError as error:
        raise UsageError(str(error)) from error
    if serving.record is not None:
        folder(serving.record, "--record")
    console = Console(file=sys.stderr, highlight=False, quiet=args.quiet)
    with contextlib.ExitStack() as stack:
        parts = open_parts(args, stack)
        chosen, speech = parts.chosen, parts.speech
        console.print("[dim]warming up[/dim]")
        asyncio.run(warm_up(parts.model, speech, chosen.system, chosen.tools, args.effort))
        service = Service(
            model=parts.model,
            recogniser=speech.recogniser,
            voice=_voices(speech, args.voice, stack),
            options=parts.options(),
            tools=chosen.tools,
            keep_tools=bool(args.tools or args.facts or settings.mcp),
            bias=chosen.bias,
            model_name=_name(args.model),
            voice_name=find_voice(args.voice).stem,
            record=serving.record,
        )
        served = serve(server_for(service, serving), serving.host, serving.port, args.json, console)
        asyncio.run(within(parts.link, served))
    return 0


async def serve(server: Server, host: str, port: int, as_json: bool, console: Console) -> None:
    """Until SIGINT or SIGTERM; then all calls are hung up. Raises UsageError for a port that is taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # no such signals on this system
            loop.add_signal_handler(each, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(server.listening(host, port))
        except OSError as error:
            where, flag = (
                (error.filename, "--audiosocket") if error.filename else (f"{host}:{port}", "--port")
            )
            raise UsageError(
                f"cannot listen on {where} ({error.strerror or error}): choose another {flag}"
            ) from error
        address = server.audiosocket and "{}:{}".format(*server.audiosocket.address)
        if as_json:
            print(json.dumps({"ready": True, "url": url, "audiosocket": address}), flush=True)
        ways = "/v1/realtime, /twilio, /healthz, /metrics"
        console.print(f"ready: {url}   ({ways}; Ctrl-C ends)", markup=False)
        if address:
            console.print(f"AudioSocket: {address}", markup=False)
        await stop.wait()
        console.print("hanging up")


def _name(asked: str | None) -> str:
    """What clients are told that they talk to."""
    if asked is None:
        return "stretto-concierge-60m"
    return Path(asked).resolve().name if Path(asked).is_dir() else asked


def _voices(speech: Speech, voice: str | None, stack: contextlib.ExitStack) -> Callable[[float], WireVoice]:
    """Voices by speed; each is made once and shared."""
    made = {1.0: speech.synthesiser}

    def at(speed: float) -> WireVoice:
        if speed not in made:
            made[speed] = Synthesiser(voice, speed=speed)
            stack.callback(made[speed].close)
        return WireVoice(made[speed])

    return at
