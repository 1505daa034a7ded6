"""From flags and settings to what answers a call: a language model, its tools and its system text."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING

from stretto.agent.builtin import check_names
from stretto.agent.canned import CONCIERGE, Canned
from stretto.agent.cli import UsageError
from stretto.agent.config import settings_of
from stretto.agent.facts import FactsError, facts_tool
from stretto.agent.mcp_tools import LiveTools
from stretto.agent.settings import Settings
from stretto.agent.ways_in.bias import names_in
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoint_model import open_model
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.mcp import McpServers
from stretto.tools.runner import AnyTool
from stretto.tools.tool import ToolLoadError, load_tools

if TYPE_CHECKING:
    from stretto.llm.checkpoint_model import CheckpointModel
    from stretto.llm.language_model import LanguageModel
    from stretto.llm.local import LocalModel
    from stretto.llm.remote import RemoteModel

CONCIERGE_SEED = 7
PLAIN_SYSTEM = "You are a helpful phone agent. Plain spoken English, short."


@dataclass(frozen=True)
class ToolSet:
    """What an agent can do, what it is told, the sentences it has ready, the names to listen for."""

    tools: Sequence[AnyTool]
    system: str
    canned: Canned
    bias: tuple[str, ...] = ()


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """`--model`, `--effort`, `--device`."""
    parser.add_argument(
        "--model",
        help="folder of a diffusion language model or its hub name (owner/name), or URL of an "
        "OpenAI-compatible server, as http://host:8000/v1#name (default: the embedded model)",
    )
    parser.add_argument("--effort", default="medium", choices=("minimal", "low", "medium", "high"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


def add_tool_flags(parser: argparse.ArgumentParser) -> None:
    """`--tools`, `--system`, `--facts`."""
    parser.add_argument("--tools", help="module or file with @tool functions (default: the concierge)")
    parser.add_argument("--system", help="system text (default: the concierge's)")
    parser.add_argument("--facts", metavar="FILE", help="text about your business that the agent looks up")


def load_model(args: argparse.Namespace, threads: int = 1) -> LocalModel | CheckpointModel | RemoteModel:
    """The model that `--model` names. Raises UsageError."""
    if args.model and "://" in args.model:
        from stretto.llm.remote import remote

        settings = settings_of(args).remote
        key = settings.key.get_secret_value() if settings.key else None
        try:
            return remote(settings.url(args.model), key=key, options=settings.options())
        except ValueError as error:
            raise UsageError(str(error)) from error
    try:
        return open_model(args.model, device=args.device, threads=threads)
    except CheckpointError as error:
        raise UsageError(f"{error}; without --model the embedded one answers") from error


def load_tool_set(args: argparse.Namespace, now: Callable[[], datetime] = datetime.now) -> ToolSet:
    """Tools, system text and sentences that the flags ask for. Raises UsageError."""
    tools: list[AnyTool]
    if not args.tools and settings_of(args).mcp:
        chosen = ToolSet([], PLAIN_SYSTEM, Canned())
    elif not args.tools:
        database = Database.seed(CONCIERGE_SEED, date.today(), held_out=True)
        chosen = ToolSet(concierge(database, now), system_text(now()), CONCIERGE, tuple(names_in(database)))
    else:
        if "" not in sys.path:
            sys.path.insert(0, "")  # a dotted name may mean a module of the folder we stand in
        try:
            tools = [*load_tools(args.tools)]
        except ToolLoadError as error:
            raise UsageError(str(error)) from error
        chosen = ToolSet(tools, PLAIN_SYSTEM, Canned())
    own = list(chosen.tools)
    if args.facts:
        try:
            own.append(facts_tool(args.facts))
        except FactsError as error:
            raise UsageError(str(error)) from error
    return ToolSet(own, args.system or chosen.system, chosen.canned, chosen.bias)


def with_mcp(
    args: argparse.Namespace, model: LanguageModel, chosen: ToolSet, stack: contextlib.ExitStack
) -> ToolSet:
    """The same with tools of the servers under `[mcp]`, open as long as `stack`. Raises UsageError.

    A server that cannot be reached is tried again later, and told.
    """
    servers = start_servers(settings_of(args), stack)
    if servers is None:
        return chosen
    for state in servers.states():
        if state.problem:
            print(f"stretto: the MCP server {state.name} cannot be reached: {state.problem}", file=sys.stderr)
    return replace(chosen, tools=LiveTools(chosen.tools, servers, model))


def start_servers(settings: Settings, stack: contextlib.ExitStack) -> McpServers | None:
    """The servers under `[mcp]`, connected; None if there are none. Raises UsageError."""
    if not settings.mcp:
        return None
    try:
        servers = McpServers({name: each.options() for name, each in settings.mcp.items()})
    except ValueError as error:
        raise UsageError(str(error)) from error
    stack.callback(servers.close)
    servers.start()
    return servers


def check_tools(model: LanguageModel, tools: Sequence[AnyTool]) -> None:
    """Refuse tools whose schema no grammar covers, or whose name is taken. Raises UsageError."""
    try:
        check_names(tools)
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        model.open("", [tool.spec for tool in tools]).close()
    except (UnsupportedSchema, ValueError) as error:
        raise UsageError(f"a tool cannot be offered: {error}") from error
