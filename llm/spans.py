"""A prior for string arguments: most are words that stood in the conversation.

A small model slips while it copies a name of several tokens that it never met. While a free string is
written from the left, tokens that do not continue any stretch of the conversation cost `PENALTY` nats. A
model that is sure of something else still writes it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PENALTY = 6.0
"""Nats that a token loses which leaves the words of the conversation."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_OPEN = re.compile(r'(?:[{,]"((?:[^"\\]|\\.)*)":)"((?:[^"\\]|\\.)*)$')


class Pieces:
    """What the prior needs of a vocabulary: built once, for it looks at every token."""

    def __init__(self, token_bytes: Sequence[bytes | None]) -> None:
        self.size = len(token_bytes)
        self.ids: defaultdict[bytes, list[int]] = defaultdict(list)
        """Tokens by their bytes in lower case."""
        self.closing: list[int] = []
        """Tokens that begin with a quote."""
        for token, piece in enumerate(token_bytes):
            if piece and piece.startswith(b'"'):
                self.closing.append(token)
            elif piece:
                self.ids[piece.lower()].append(token)
        self.longest = max(map(len, self.ids), default=0)


class SpanPrior:
    """`of(written, properties)`: log-prior over the vocabulary for the token behind what is written."""

    def __init__(self, pieces: Pieces, texts: Sequence[str]) -> None:
        self._pieces = pieces
        self._text = " ".join(texts).lower().encode()
        self._starts = [m.start() for m in re.finditer(rb"(?<![\w'])[\w]", self._text)]

    def of(self, written: str, properties: Mapping[str, Any]) -> NDArray[np.float32] | None:
        """`written`: the arguments so far, compact JSON. None where no free string is open."""
        value = open_string(written, properties)
        if value is None:
            return None
        allowed = self._next(value.lower().encode())
        if not allowed:
            return None
        prior = np.full(self._pieces.size, -PENALTY, dtype=np.float32)
        prior[allowed] = 0.0
        return prior

    def _next(self, value: bytes) -> list[int]:
        allowed: set[int] = set()
        for start in self._starts:  # a value begins with a space, whatever stood before the word
            stretch = b" " + self._text[start : start + len(value) + self._pieces.longest]
            if not stretch.startswith(value):
                continue
            rest = stretch[len(value) :]
            for length in range(1, len(rest) + 1):
                allowed.update(self._pieces.ids.get(rest[:length], ()))
            if value.strip() and not re.match(rb"\w", rest):
                allowed.update(self._pieces.closing)
        return sorted(allowed)


def open_string(written: str, properties: Any) -> str | None:
    """The text so far of the string that is open at the end, if its schema leaves its text free."""
    closed = len(_STRING.findall(written)) * 2 == len(re.findall(r'(?<!\\)"', written))
    match = None if closed else _OPEN.search(written)
    if match is None:
        return None
    schema = properties.get(match[1]) if isinstance(properties, Mapping) else None
    if not isinstance(schema, Mapping) or schema.get("type") != "string":
        return None
    return None if {"enum", "const", "format", "pattern"} & schema.keys() else match[2]
