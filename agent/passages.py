"""A text or Markdown file as passages of a few sentences, each with the heading it stands under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PASSAGE = 280
"""Characters of a passage; longer paragraphs are split."""
HEADING = 80
"""Characters of a heading."""

_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,500}\)")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>")
_MARKUP = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")
_ITEM = re.compile(r"(?:[-+*•]|\d{1,3}[.)])\s+")
_RULE = re.compile(r"[-=*_:|\s]{3,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Passage:
    """A few sentences, and the heading that they stand under ("" for none)."""

    heading: str
    text: str


def passages(text: str) -> Iterator[Passage]:
    """Split a text by headings and paragraphs, and where these are long by items or sentences."""
    for heading, lines in _blocks(text):
        parts: list[list[str]] = [[]]
        is_list = False
        for line in lines:
            if _ITEM.match(line) or line.startswith("|"):
                is_list = True
                parts.append([])
            parts[-1].append(clean(line))  # other lines go on with a sentence
        units = [" ".join(part) for part in parts if part]
        if not is_list:
            units = _SENTENCE.split(units[0])
        held = ""
        for piece in (piece for unit in units for piece in _pieces(unit, PASSAGE)):
            if held and len(held) + 2 + len(piece) > PASSAGE:
                yield Passage(heading, held)
                held = ""
            between = ("; " if is_list and held[-1] not in ".,;:!?" else " ") if held else ""
            held += between + piece
        if held:
            yield Passage(heading, held)


def _without_comments(text: str) -> str:
    first, *rest = text.split("<!--")
    return first + "".join(part.partition("-->")[2] if "-->" in part else f"<!--{part}" for part in rest)


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Paragraphs as lines, each with its heading; a heading with nothing below it is a paragraph itself."""
    lines = [line.strip() for line in _TAG.sub(" ", _without_comments(text)).splitlines()]
    path: dict[int, str] = {}
    block: list[str] = []
    bare = False  # the last heading has no text yet
    for at, line in enumerate([*lines, "", "# "]):
        below = lines[at + 1] if at + 1 < len(lines) else ""
        level = _level(line, below, bool(block))
        if block and (level or not line):
            yield _title(path), block
            block, bare = [], False
        if level:
            if bare and level <= max(path):
                yield "", [path[max(path)]]
            title = clean(line.lstrip("#").rstrip("#:"))[:HEADING]
            path = {depth: name for depth, name in path.items() if depth < level} | {level: title}
            bare = bool(title)
        elif line and not _RULE.fullmatch(line):
            block.append(line)


def _level(line: str, below: str, inside: bool) -> int:
    """Depth of a heading, 0 for none: Markdown's two, a short line in capitals, a lone one with a colon."""
    marks = len(line) - len(line.lstrip("#"))
    if 1 <= marks <= 6 and line[marks : marks + 1].isspace():
        return marks
    if line and not inside and len(below) >= 3 and set(below) in ({"="}, {"-"}) and line[0] not in "-|":
        return 1 if below[0] == "=" else 2
    short = 0 < len(line) <= 60 and not inside and not _ITEM.match(line)
    if short and line.isupper() and sum(map(str.isalpha, line)) >= 4:
        return 7
    return 7 if short and line.endswith(":") and not below else 0


def _title(path: dict[int, str]) -> str:
    """The two nearest headings; the one at the top of the file says nothing about a passage."""
    names = [name for depth, name in sorted(path.items()) if name and (depth > 1 or len(path) == 1)]
    return ", ".join(names[-2:])


def clean(line: str) -> str:
    """A line as it is spoken: no list marks, links, emphasis or cell borders."""
    line = _ITEM.sub("", line.lstrip("> "), count=1) if _ITEM.match(line.lstrip("> ")) else line.lstrip("> ")
    if line.startswith("|"):
        line = ", ".join(cell.strip() for cell in line.strip("|").split("|") if cell.strip())
    return " ".join(_MARKUP.sub("", _LINK.sub(r"\1", line)).split())


def _pieces(unit: str, room: int) -> Iterator[str]:
    """A sentence in pieces of at most `room` characters, between words where that is possible."""
    while len(unit) > room:
        cut = unit.rfind(" ", room // 2, room + 1)
        cut = cut if cut > 0 else room
        yield unit[:cut].strip()
        unit = unit[cut:].strip()
    if unit:
        yield unit
