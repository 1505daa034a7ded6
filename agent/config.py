"""`--config stretto.toml`: flags from a file, as if they stood before those of the command line."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """A configuration file cannot be used; the message says what to do."""


def with_config(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """The command line with the file's settings put in; what the user typed comes later and wins.

    A key is a flag's name (`effort = "high"`). At the top of the file it counts for every command that has
    the flag, in a table of the command's name (`[demo]`, `[llm.train]`) for that command alone.
    Raises `ConfigError`.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config")
    try:
        path = finder.parse_known_args(argv)[0].config
    except argparse.ArgumentError:
        return list(argv)  # no file named: the real parser tells
    if path is None:
        return list(argv)
    settings = _read(Path(path))
    _check(path, parser, settings)
    words, command, table = 0, parser, settings
    chosen = _plain(settings)
    while (choices := _subcommands(command)) and words < len(argv) and argv[words] in choices:
        command, table = choices[argv[words]], table.get(argv[words], {})
        chosen |= _plain(table)
        words += 1
    if _subcommands(command):
        return list(argv)  # no command: the real parser tells
    flags: list[str] = []
    for key, value in chosen.items():
        if (action := _flag(command, key)) is not None:
            flags += _spelled(path, key, value, action)
    return [*argv[:words], *flags, *argv[words:]]


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a table without the tables in it; both spellings of a name are one."""
    return {key.replace("_", "-"): value for key, value in table.items() if not isinstance(value, dict)}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error}): check --config") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML file ({error}): correct it") from error


def _subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return next((group.choices for group in groups), {})


def _flag(parser: argparse.ArgumentParser, key: str) -> argparse.Action | None:
    """The flag of that name; neither help nor the file itself can be set in the file."""
    name = f"--{key.replace('_', '-')}"
    return None if name in ("--help", "--config") else parser._option_string_actions.get(name)


def _every(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for child in _subcommands(parser).values():
        yield from _every(child)


def _check(path: str, parser: argparse.ArgumentParser, table: Mapping[str, Any], name: str = "") -> None:
    """Refuse keys that no command under `parser` knows, and tables that are no command."""
    for key, value in table.items():
        where = f"[{name}] {key}" if name else key
        if isinstance(value, dict):
            child = _subcommands(parser).get(key)
            if child is None:
                raise ConfigError(f"{path}: [{f'{name}.{key}' if name else key}] is no command of Stretto")
            _check(path, child, value, f"{name}.{key}" if name else key)
        elif not any(_flag(command, key) for command in _every(parser)):
            raise ConfigError(f"{path}: {where} is no setting; a key is the name of a flag, see --help")


def _spelled(path: str, key: str, value: Any, action: argparse.Action) -> list[str]:
    """A setting as it is typed on the command line."""
    name = f"--{key.replace('_', '-')}"
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f"{path}: {key} is true or false, not {value!r}")
        return [name] if value else []
    if isinstance(value, bool):
        raise ConfigError(f"{path}: {key} takes a value, not {str(value).lower()}")
    if isinstance(value, list):
        return [name, *map(str, value)]
    return [f"{name}={value}"]
