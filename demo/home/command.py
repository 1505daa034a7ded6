"""`stretto demo-home`: simulated devices, a broker, and the agent who leads them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from rich.console import Console
from stretto.agent.cli import UsageError, main
from stretto.agent.config import settings_of
from stretto.demo.home.house import House, embedded_broker
from stretto.tools.mqtt.options import BrokerOptions

log = logging.getLogger(__name__)

LEAVE_S = 30.0
SYSTEM = (
    "You are the voice of a house. You switch lights in the kitchen, the bedroom and the hall, set the "
    "temperature, and lock and unlock the front door. Plain spoken English, short."
)
GREETING = "Hello, this is your house. What can I do for you?"
TOOLS = "stretto.demo.home.tools"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto demo-home`."""
    parser = subparsers.add_parser(
        "demo-home",
        help="a house of simulated MQTT devices, led by text or voice",
        description="Lights, a thermostat and a door on an MQTT broker, found by Home Assistant, too; "
        "and the agent with tools for them, by text, or with --talk by microphone.",
    )
    parser.add_argument(
        "--broker", metavar="URL", help="a broker that runs already (default: one in this process)"
    )
    parser.add_argument("--port", type=int, default=0, help="of the broker in this process (default: any)")
    parser.add_argument("--model", metavar="DIR|URL", help="a stronger one understands more")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--talk", action="store_true", help="talk over microphone and speaker")
    ways.add_argument("--serve", action="store_true", help="take calls in the browser, as stretto serve")
    ways.add_argument("--no-agent", action="store_true", help="the devices alone, until interrupted")
    parser.set_defaults(run=run_demo_home)


def run_demo_home(args: argparse.Namespace) -> int:
    """The house lives in a thread of its own while the agent runs; the exit code is the agent's."""
    console = Console(file=sys.stderr, highlight=False, quiet=args.quiet)

    def told(line: str) -> None:
        console.print(f"[dim]house: {line}[/dim]")

    options = settings_of(args).mqtt.options()
    try:
        given = BrokerOptions(args.broker) if args.broker else None
    except ValueError as error:
        raise UsageError(f"--broker: {error}") from error
    if given is not None and options is not None and options.url == given.url:
        given = options  # with name and password
    with lived_in(given, args.port, told) as url:
        console.print(f"the house is on {url}", markup=False)
        if args.no_agent:
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            return 0
        os.environ |= {"STRETTO_MQTT__URL": url, "STRETTO_CALL__CANNED__GREETING": GREETING}
        way = "talk" if args.talk else "serve" if args.serve else "chat"
        common = ["--json"] * args.json + ["--quiet"] * args.quiet
        common += ["--config", args.config] if args.config else []
        common += ["--model", args.model] if args.model else []
        return main([way, "--tools", TOOLS, "--system", SYSTEM, *common])


@contextlib.contextmanager
def lived_in(
    options: BrokerOptions | None, port: int, told: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """The house on a broker, in a thread: an agent by text lets its own event loop stand still.

    `options` None: on an embedded broker. Gives the broker's URL. Raises UsageError.
    """
    ready: Future[tuple[str, Callable[[], object]]] = Future()

    async def live() -> None:
        left, loop = asyncio.Event(), asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            found = options
            if found is None:
                found = BrokerOptions(await stack.enter_async_context(embedded_broker(port or free_port())))
            house = await stack.enter_async_context(House(told).living(found))
            async with asyncio.timeout(found.timeout_s):
                await house.connected.wait()
                await house.flushed()
            ready.set_result((found.url, lambda: loop.call_soon_threadsafe(left.set)))
            await left.wait()

    def thread() -> None:
        try:
            asyncio.run(live())
        except Exception as error:
            if ready.done():
                log.exception("the house broke down")
            else:
                ready.set_exception(error)

    living = threading.Thread(target=thread, name="house", daemon=True)
    living.start()
    try:
        url, leave = ready.result()
    except TimeoutError:
        broker = "here" if options is None else options.url
        raise UsageError(f"the broker {broker} cannot be reached: does it run?") from None
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    try:
        yield url
    finally:
        leave()
        living.join(LEAVE_S)


def free_port() -> int:
    """A TCP port that nobody has at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
