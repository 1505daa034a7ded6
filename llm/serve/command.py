"""`stretto llm serve`: the local model behind an OpenAI-compatible HTTP server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from stretto.llm.checkpoint_model import CheckpointModel
    from stretto.llm.local import LocalModel

KEYS_VARIABLE = "STRETTO_LLM_KEYS"
EMBEDDED_NAME = "stretto-concierge-60m"
"""What clients are told that the embedded model is called."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto llm serve`."""
    parser = commands.add_parser(
        "serve",
        help="an OpenAI-compatible HTTP server: /v1/chat/completions",
        description="Any client of OpenAI's chat completions can ask the model. Without keys only this "
        f"machine may; they are also read from the variable {KEYS_VARIABLE}, apart by commas.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; any but this machine's own needs keys"
    )
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--key", nargs="+", default=[], metavar="KEY", help="API keys of clients")
    parser.add_argument("--key-file", metavar="FILE", help="more keys, one a line")
    add_model_flags(parser)
    parser.add_argument("--live", type=int, default=8, metavar="N", help="requests answered at once")
    parser.add_argument("--waiting", type=int, default=32, metavar="N", help="more of them that may wait")
    parser.set_defaults(run=run_serve)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Which weights, on what, written how."""
    from stretto.llm.language_model import Effort
    from stretto.llm.local import Sampler

    parser.add_argument(
        "--model",
        metavar="DIR",
        help="folder or hub name of a model of any known family (default: the embedded one)",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--sampler", choices=get_args(Sampler), help="default: verified, or threshold without a causal mode"
    )
    parser.add_argument("--effort", choices=get_args(Effort), help="where a request does not say (medium)")


def run_serve(args: argparse.Namespace) -> int:
    """Serve until interrupted or told to stop (SIGTERM): 0. 2 for flags that cannot be."""
    from stretto.llm.checkpoint import CheckpointError
    from stretto.llm.checkpoint_model import open_model

    try:
        keys = _keys(args)
        if not 0 <= args.port <= 65535:
            raise ValueError(f"--port {args.port}: give 0 to 65535")
        if args.live < 1 or args.waiting < 0:
            raise ValueError("--live is 1 or more, --waiting 0 or more")
        model = open_model(args.model, device=args.device, threads=args.threads, sampler=args.sampler)
    except (CheckpointError, OSError, ValueError) as error:
        print(f"stretto llm serve: {error}", file=sys.stderr)
        return 2
    try:
        name = Path(args.model).resolve().name if args.model else EMBEDDED_NAME
        return asyncio.run(_serve(args, model, name, keys))
    finally:
        model.close()


def _keys(args: argparse.Namespace) -> tuple[str, ...]:
    """All API keys. Raises ValueError, and OSError for a file that cannot be read."""
    from stretto.llm.serve.loopback import is_local

    keys = [*args.key, *os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()]
    if args.key_file:
        lines = [line.strip() for line in Path(args.key_file).read_text().splitlines()]
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ValueError(f"there is no key in {args.key_file}: write one a line")
        keys += found
    if not all(key and all("!" <= character <= "~" for character in key) for key in keys):
        raise ValueError("a key is made of visible ASCII characters, without spaces")
    if not keys and not is_local(args.host):
        raise ValueError(
            f"whoever reaches {args.host} could ask: give --key-file or set {KEYS_VARIABLE}, "
            "or listen on 127.0.0.1"
        )
    return tuple(keys)


async def _serve(
    args: argparse.Namespace, model: LocalModel | CheckpointModel, name: str, keys: tuple[str, ...]
) -> int:
    """Until SIGINT or SIGTERM; requests that run then are finished. 2 for a port that is taken."""
    from stretto.llm.checkpoint_model import CheckpointModel
    from stretto.llm.language_model import last_draft
    from stretto.llm.serve.app import serve_app
    from stretto.llm.serve.completions import Limits, Served
    from stretto.llm.serve.doors import Doors
    from stretto.llm.serve.listening import listening

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # no such signals on this system
            loop.add_signal_handler(each, stop.set)
    if not isinstance(model, CheckpointModel):  # a whole answer of a large one takes too long
        warm = model.open("", [])
        await last_draft(warm, "minimal")
        warm.close()
    served = Served(model, name, model.tokenizer, model.context, args.effort or "medium")
    app = serve_app(served, Doors(keys), Limits(live=args.live, waiting=args.waiting))
    async with contextlib.AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(listening(app, args.host, args.port))
        except OSError as error:
            told = f"cannot listen on {args.host}:{args.port} ({error.strerror or error})"
            print(f"stretto llm serve: {told}: choose another --port", file=sys.stderr)
            return 2
        if args.json:
            print(json.dumps({"ready": True, "url": url}), flush=True)
        if not args.quiet:
            print(f"ready: {url}/v1   (model {name}; /healthz, /metrics; Ctrl-C ends)", file=sys.stderr)
        await stop.wait()
    return 0
