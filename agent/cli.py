"""The `stretto` command: finds every room's commands and runs one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from stretto.agent.config import ConfigError, configure


class UsageError(Exception):
    """Wrong use or bad input; the message says what to do. Exit code 2."""


def print_result(args: argparse.Namespace, fields: dict[str, Any]) -> None:
    """With `--json`: the command's result as the last line on standard output."""
    if args.json:
        print(json.dumps(fields, ensure_ascii=False), flush=True)


def folder(name: str | Path, flag: str = "--out") -> Path:
    """The output folder that `flag` names, created. Raises `UsageError`."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".write").touch()
        (path / ".write").unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write into {path} ({reason}): choose another folder with {flag}") from error
    return path


def add_common(parser: argparse.ArgumentParser) -> None:
    """Flags that every command takes."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON line at the end")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help='settings in TOML, as in effort = "high" (default: stretto.toml here, if there is one)',
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but the result and errors")


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser of every command, however deep (`stretto llm train`)."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        return [parser]
    return [leaf for group in groups for child in group.choices.values() for leaf in _leaves(child)]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, from the rooms that are installed."""
    parser = argparse.ArgumentParser(
        prog="stretto", description="A low-latency voice agent whose brain is a diffusion language model."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for entry in sorted(entry_points(group="stretto.commands"), key=lambda e: e.name):
        entry.load()(commands)
    for leaf in _leaves(parser):
        add_common(leaf)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit codes: 0 done, 1 failed, 2 wrong use or bad input, 130 interrupted."""
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    try:
        configure(parser, argv)
    except ConfigError as error:
        print(f"stretto: {error}", file=sys.stderr)
        return 2
    args = parser.parse_args(argv)
    try:
        code: int = args.run(args)
    except (UsageError, ConfigError) as error:
        print(f"stretto {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    # Run as a program this is another module, and its `UsageError` not the one that the commands raise.
    from stretto.agent.cli import main as imported

    sys.exit(imported())
