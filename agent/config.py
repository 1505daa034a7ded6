"""One configuration out of flags, environment and `stretto.toml`; what stands earlier in this list wins."""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from stretto.agent.setting_types import PREFIX, is_secret, section_of, sections_of, variable
from stretto.agent.settings import Settings

FILE = "stretto.toml"
"""Read where no `--config` is given, if it is there."""

Table = dict[str, Any]


class ConfigError(ValueError):
    """The configuration cannot be used; the message says what to do and never shows a secret."""


@dataclass(frozen=True)
class File:
    """A file of settings as it was read; `path` None: there is none. Keys have underscores."""

    path: Path | None
    table: Table


def configure(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Make what environment and file say the defaults of the flags of the command that `argv` names.

    In the file a key at the top counts for every command that has the flag, one in a table of a command's
    name (`[demo]`, `[llm.train]`) for that command alone. Sections that are no flags: see `settings_of`.
    A command that says `set_defaults(tells_settings=True)` gets what is wrong as `settings_error` instead.
    Raises `ConfigError`.
    """
    words, command = _command(parser, argv)
    if command is None or {"-h", "--help"} & set(argv):
        return  # the real parser tells
    try:
        file = read_file(_named(argv))
        _check(file, parser, file.table, ())
        settings = load(file)
        flags = list(_converted(command, _chosen(words, file, settings)))
    except ConfigError as error:
        if not command.get_default("tells_settings"):
            raise
        command.set_defaults(settings_error=str(error))
        return
    for action, value in flags:
        command.set_defaults(**{action.dest: value})
        action.required = False


def settings_of(args: argparse.Namespace) -> Settings:
    """What counts for this command, flags included. Raises `ConfigError`.

    A flag counts for the key of its name at the top, and in the section of the command's name (`stretto serve
    --port` for `[serve] port`); one that is None does not.
    """
    settings = load(read_file(getattr(args, "config", None)))
    command = str(getattr(args, "command", ""))
    section = getattr(settings, command) if _section(Settings, command) else None
    for target in (settings, section):
        for name, field in type(target).model_fields.items() if target is not None else ():
            value = getattr(args, name, None)
            if value is not None and section_of(field) is None and not is_secret(field):
                try:
                    setattr(target, name, value)
                except ValidationError as error:
                    told = _reason(error.errors(include_url=False)[0], secret=False)
                    raise ConfigError(f"--{name.replace('_', '-')} {told}") from None
    return settings


def read_file(named: str | Path | None) -> File:
    """The file of that name; without one `stretto.toml`, if it is there. Raises `ConfigError`."""
    path = Path(named) if named is not None else Path(FILE)
    if named is None and not path.exists():
        return File(None, {})
    try:
        return File(path, _with_underscores(tomllib.loads(path.read_text(encoding="utf-8-sig"))))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error}): check --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no TOML file (it is not UTF-8 text): correct it") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML file ({error}): correct it") from None


def load(file: File) -> Settings:
    """Environment over file over defaults, checked. Raises `ConfigError`."""
    try:
        return Settings(**_typed(file.table, Settings))
    except ValidationError as error:
        raise ConfigError(_told(error, file)) from None


def variables() -> dict[str, str]:
    """The environment variables that are settings, known or not: the name in capitals to the name as it is.

    Those of a section count even if the section has no such key; what merely starts with STRETTO_ does not:
    an orchestrator sets variables of its own after the name of a service.
    """
    found = {}
    for name, value in os.environ.items():
        head = name.upper().removeprefix(PREFIX).split("__")[0].lower()
        if name.upper().startswith(PREFIX) and head in Settings.model_fields and value:
            found[name.upper()] = name
    return found


def _with_underscores(table: Mapping[str, Any]) -> Table:
    """Both spellings of a name are one."""
    return {
        key.replace("-", "_"): _with_underscores(value)
        if isinstance(value, dict) and key not in _VERBATIM
        else value
        for key, value in table.items()
    }


_VERBATIM = ("env", "headers")
"""Tables whose names are not ours."""


def _typed(table: Table, kind: type[BaseModel]) -> Table:
    """The part of a table that is settings; the rest are flags."""
    found: Table = {}
    for name, value in table.items():
        if name in kind.model_fields:
            section = _section(kind, name)
            found[name] = _typed(value, section) if section and isinstance(value, dict) else value
    return found


def _section(kind: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    return section_of(kind.model_fields.get(name)) if kind is not None else None


# ---------------------------------------------------------------------- commands and their flags


def _named(argv: Sequence[str]) -> str | None:
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config")
    try:
        path: str | None = finder.parse_known_args(argv)[0].config
    except argparse.ArgumentError:
        return None  # no file named: the real parser tells
    return path


def _command(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[tuple[str, ...], argparse.ArgumentParser | None]:
    """The words that name the command, and its parser; None if they name none."""
    words = 0
    while (choices := _subcommands(parser)) and words < len(argv) and argv[words] in choices:
        parser = choices[argv[words]]
        words += 1
    return tuple(argv[:words]), None if _subcommands(parser) else parser


def _subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return next((group.choices for group in groups), {})


def _every(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for child in _subcommands(parser).values():
        yield from _every(child)


def _flag(parser: argparse.ArgumentParser, key: str) -> argparse.Action | None:
    """The flag of that name; neither help nor the file itself can be set in the file."""
    name = f"--{key.replace('_', '-')}"
    return None if name in ("--help", "--config") else parser._option_string_actions.get(name)


def _chosen(words: tuple[str, ...], file: File, settings: Settings) -> dict[str, tuple[Any, str]]:
    """All that may be flags of the command: a key's value, and where it stands."""
    chosen: dict[str, tuple[Any, str]] = {}
    table: Any = file.table
    for depth in range(len(words) + 1):
        for key, value in table.items():
            if not isinstance(value, dict):
                chosen[key] = value, _place((*words[:depth], key), file)
        table = table.get(words[depth], {}) if depth < len(words) else {}
    # The environment wins over the file; the command's own section over the top.
    section = getattr(settings, words[0]) if len(words) == 1 and _section(Settings, words[0]) else None
    for names, values in (((), settings), (words, section)):
        for name, field in type(values).model_fields.items() if values is not None else ():
            if variable((*names, name)) in variables() and not is_secret(field):
                chosen[name] = getattr(values, name), _place((*names, name), file)
    return chosen


def _converted(
    command: argparse.ArgumentParser, chosen: Mapping[str, tuple[Any, str]]
) -> Iterator[tuple[argparse.Action, Any]]:
    """The flags that are set, with values as the parser would have made them. Raises `ConfigError`."""
    for key, (value, place) in chosen.items():
        action = _flag(command, key)
        if action is None:
            continue
        if isinstance(action, argparse.BooleanOptionalAction):
            if not isinstance(value, bool):
                raise ConfigError(f"{place} is true or false, not {value!r}")
            yield action, value
        elif action.nargs == 0:
            if not isinstance(value, bool):
                raise ConfigError(f"{place} is true or false, not {value!r}")
            if value:
                yield action, action.const
        elif isinstance(value, bool):
            raise ConfigError(f"{place} takes a value, not {str(value).lower()}")
        elif action.nargs in ("+", "*") or isinstance(action.nargs, int):
            items = value if isinstance(value, list) else [value]
            yield action, [_one(action, item, place) for item in items]
        elif isinstance(value, list):
            raise ConfigError(f"{place} takes one value, not a list")
        else:
            yield action, _one(action, value, place)


def _one(action: argparse.Action, value: Any, place: str) -> Any:
    kind: Any = action.type or str
    try:
        made = kind(str(value))
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        numbers = {int: "must be a whole number", float: "must be a number"}
        told = str(error) if isinstance(error, argparse.ArgumentTypeError) else "cannot be that"
        raise ConfigError(f"{place} {numbers.get(kind, told)}, not {value!r}") from None
    if action.choices is not None and made not in action.choices:
        raise ConfigError(f"{place} must be one of {', '.join(map(str, action.choices))}, not {value!r}")
    return made


# ---------------------------------------------------------------------- what is wrong, and where


def _check(file: File, parser: argparse.ArgumentParser | None, table: Table, names: tuple[str, ...]) -> None:
    """Refuse keys that are neither settings nor flags of a command under `parser`, and unknown tables."""
    kind: type[BaseModel] | None = Settings
    for name in names:
        kind = _section(kind, name)
    known = {name for name in kind.model_fields if not _section(kind, name)} if kind else set()
    for command in _every(parser) if parser else ():
        flags = (flag[2:].replace("-", "_") for flag in command._option_string_actions if flag[:2] == "--")
        known |= {flag for flag in flags if _flag(command, flag)}
    children = _subcommands(parser) if parser else {}
    tables = {name for name in kind.model_fields if _section(kind, name)} if kind else set()
    tables |= set(children)
    for key, value in table.items():
        if isinstance(value, dict):
            inner = sections_of(kind.model_fields.get(key)) if kind else None
            if inner is not None:
                _check_named(file, inner, value, (*names, key))
                continue
            if key not in tables:
                title = ".".join((*names, key if key.isprintable() else repr(key)))
                raise ConfigError(f"{file.path}: [{title}] is no command and no section{_meant(key, tables)}")
            _check(file, children.get(key), value, (*names, key))
        elif key in tables and key not in known:
            raise ConfigError(f"{_place((*names, key), file)} is a table: write [{'.'.join((*names, key))}]")
        elif key not in known:
            raise ConfigError(f"{_place((*names, key), file)} is no setting{_meant(key, known)}")


def _check_named(file: File, kind: type[BaseModel], table: Table, names: tuple[str, ...]) -> None:
    """Refuse what is no table of a name, and keys in these that are no settings."""
    for name, inner in table.items():
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{_place((*names, name), file)} is a table: write [{'.'.join((*names, name))}]"
            )
        for key in inner:
            if key not in kind.model_fields:
                place = _place((*names, name, key), file)
                raise ConfigError(f"{place} is no setting{_meant(key, kind.model_fields)}")


def _meant(name: str, known: Iterable[str]) -> str:
    """What a slip was meant to be, or where to look."""
    near = get_close_matches(name, sorted(known), 1, 0.7)
    return f": did you mean {near[0]}?" if near else ": see --help and agent/CONFIGURATION.md"


def _place(names: Sequence[str], file: File) -> str:
    """Where a key is set: the variable, or the file with table and key."""
    if variable(names) in variables():
        return variables()[variable(names)]
    *tables, key = (name if name.isprintable() else repr(name) for name in names)
    table = f"[{'.'.join(tables)}] " if tables else ""
    return f"{file.path}: {table}{key}" if file.path else f"{table}{key}"


def _told(error: ValidationError, file: File) -> str:
    """The first thing that is wrong, on one line."""
    first = error.errors(include_url=False)[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    kind: type[BaseModel] | None = Settings
    if named := sections_of(Settings.model_fields.get(names[0])):
        field = named.model_fields.get(names[2]) if len(names) > 2 else None
        title = ".".join(names[:2])
        if field is None:
            return f"{f'{file.path}: ' if file.path else ''}[{title}]: {_reason(first, secret=True)}"
        return f"{_place(names[:3], file)} {_reason(first, is_secret(field))}"
    for name in names[:-1]:
        kind = _section(kind, name)
    if kind is None:
        return f"{_place(names, file)} cannot be that"
    place = _place(names, file)
    if first["type"] == "extra_forbidden":
        return f"{place} is no setting{_meant(names[-1], kind.model_fields)}"
    if (section := _section(kind, names[-1])) is not None:
        if first["type"] == "value_error":  # keys that do not go together
            return f"{f'{file.path}: ' if file.path else ''}[{'.'.join(names)}]: {first['ctx']['error']}"
        inner = next(iter(section.model_fields))
        return f"{place} is a section: set {variable([*names, inner])} and so on, one variable a key"
    return f"{place} {_reason(first, is_secret(kind.model_fields[names[-1]]))}"


def _reason(error: Any, secret: bool) -> str:
    """What is allowed instead of what is there; of a secret what is there is not said."""
    told = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    told = told.split(", unable")[0].replace("a valid integer", "a whole number").replace("a valid ", "a ")
    told = re.sub(r"^Input is not a (.*?)( for .*)?$", r"must be a \1", told)
    value = error["input"]
    if secret or not isinstance(value, str | int | float):
        return told
    shown = repr(value)
    return f"{told}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"
