"""What was done, on disk before and after it is done: so that a crash leaves no doubt about what was begun.

One line of JSON for a call that is about to start and one for its result, each flushed to the disk itself
(fsync) before the program goes on. A call without a second line was begun, and nobody knows what came of it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from stretto.tools.tool import Result

UNKNOWN = "It is not known whether this was done: the call ended, or the program stopped, while it ran."
"""The error of a call that was begun and has no result."""


@dataclass(frozen=True)
class Entry:
    """One call; `result` None: its outcome is unknown."""

    key: str
    name: str
    arguments: dict[str, Any]
    began: str
    result: Result | None = None


class Journal:
    """Appends to `path`, which is made with the first call; what stands there already is known.

    A line that a crash cut short is passed over. One program writes to a file at a time. Raises OSError where
    a file is there and cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._entries = {entry.key: entry for entry in read(self.path)}
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    def entry(self, key: str) -> Entry | None:
        """What is known of a call."""
        return self._entries.get(key)

    def begin(self, key: str, name: str, arguments: Mapping[str, Any]) -> None:
        """The call is about to run. Returns when that is on the disk. Raises OSError."""
        began = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = Entry(key, name, dict(arguments), began)
        self._write({"call": key, "name": name, "arguments": entry.arguments, "at": began})
        self._entries[key] = entry

    def end(self, key: str, result: Result | None) -> None:
        """The call is over; None: nobody knows what came of it. Raises OSError."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        done = {"content": None, "error": UNKNOWN, "unknown": True} if result is None else _fields(result)
        self._write({"result": key, "at": at, **done})
        if (entry := self._entries.get(key)) is not None:
            self._entries[key] = Entry(entry.key, entry.name, entry.arguments, entry.began, result)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False, default=str)
        with self._lock:
            file = self._file = self._file or _opened(self.path)
            file.write(text.encode("utf-8", "backslashreplace") + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _opened(path: Path) -> BinaryIO:
    """The file, at the beginning of a line of its own."""
    cut = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
    file = path.open("ab")
    if cut:
        file.write(b"\n")
    if os.name == "posix":
        # A new file is there after a crash only if its folder was written, too.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return file


def read(path: str | Path) -> list[Entry]:
    """The calls of a journal, in order; none where there is no such file. Broken lines are passed over."""
    found: dict[str, Entry] = {}
    try:
        lines = Path(path).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for raw in lines:
        try:
            line = json.loads(raw)
            if "call" in line:
                entry = Entry(line["call"], line["name"], dict(line["arguments"]), str(line.get("at", "")))
                found[entry.key] = entry
            elif not line.get("unknown") and (entry := found[line["result"]]):
                result = Result(line["content"], line["error"], float(line["ms"]))
                found[entry.key] = Entry(entry.key, entry.name, entry.arguments, entry.began, result)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return list(found.values())


def _fields(result: Result) -> dict[str, Any]:
    return {"content": result.content, "error": result.error, "ms": round(result.ms, 1)}
