"""Small dialogues to train on, and files of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOOLS = [
    {
        "name": name,
        "description": "Do it.",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
    }
    for name in ("book", "cancel", "move")
]


def made(number: int, split: str = "train") -> dict[str, Any]:
    day = f"day {number}"
    call = [{"name": "book", "arguments": {"day": day}}]
    return {
        "split": split,
        "tools": TOOLS,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"Book {day}, please."},
            {"role": "assistant", "content": None, "tool_calls": call},
            {"role": "tool", "name": "book", "content": '{"ok":true}'},
            {"role": "assistant", "content": f"Booked for {day}."},
        ],
    }


@pytest.fixture
def dialogue() -> Callable[[int], dict[str, Any]]:
    """The dialogue of a number."""
    return made


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Forty of them to train on, and forty for validation."""
    paths = []
    for split in ("train", "valid"):
        path = tmp_path / f"a.{split}.jsonl.gz"
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(made(i, split)) + "\n" for i in range(40))
        paths.append(str(path))
    return paths[0], paths[1]
