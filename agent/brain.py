"""From command-line names to a language model, its tools and its system text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

from stretto.agent.builtin import BUILT_IN
from stretto.agent.canned import CONCIERGE, Canned
from stretto.agent.cli import UsageError
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.local import LocalModel
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.tool import Tool, ToolLoadError, load_tools

CONCIERGE_SEED = 7
PLAIN_SYSTEM = "You are a helpful phone agent. Plain spoken English, short."


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """`--model`, `--effort`, `--device`."""
    parser.add_argument("--model", help="folder of a model (default: the embedded one)")
    parser.add_argument("--effort", default="medium", choices=("minimal", "low", "medium", "high"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


def add_tool_flags(parser: argparse.ArgumentParser) -> None:
    """`--tools`, `--system`."""
    parser.add_argument("--tools", help="module or file with @tool functions (default: the concierge)")
    parser.add_argument("--system", help="system text (default: the concierge's)")


def load_model(args: argparse.Namespace, threads: int = 1) -> LocalModel:
    """The model that `--model` names. Raises UsageError."""
    if args.model and not Path(args.model).is_dir():
        raise UsageError(
            f"there is no model {args.model!r}: give a folder with config.json and its weights, "
            "or leave --model out for the embedded one"
        )
    try:
        return LocalModel(args.model, device=args.device, threads=threads)
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def load_tool_set(
    args: argparse.Namespace, now: Callable[[], datetime] = datetime.now, database: Database | None = None
) -> tuple[list[Tool], str, Canned]:
    """Tools, system text and canned sentences that the flags ask for. Raises UsageError."""
    if not args.tools:
        database = database or Database.seed(CONCIERGE_SEED, date.today(), held_out=True)
        return concierge(database, now), args.system or system_text(now()), CONCIERGE
    if "" not in sys.path:
        sys.path.insert(0, "")  # a dotted name may mean a module of the folder we stand in
    try:
        tools = load_tools(args.tools)
    except ToolLoadError as error:
        raise UsageError(str(error)) from error
    return tools, args.system or PLAIN_SYSTEM, Canned()


def check_tools(model: LocalModel, tools: list[Tool]) -> None:
    """Refuse tools whose schema no grammar covers or whose name is built in. Raises UsageError."""
    for tool in tools:
        if tool.spec.name in {spec.name for spec in BUILT_IN}:
            raise UsageError(f"{tool.spec.name} is built in: give your tool another name")
        try:
            model.vocabulary.compile(tool.spec.parameters)
        except UnsupportedSchema as error:
            raise UsageError(f"the tool {tool.spec.name} cannot be offered: {error}") from error
