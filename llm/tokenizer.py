"""The dialogue's tokens: SmolLM2's byte-level BPE trimmed to what the data uses, and the role marks.

The marks below are ids, never text: `encode` cannot produce one, whatever a caller, a tool or a
document says (`<say>` in a text becomes the pieces `<`, `say`, `>`). Frozen with FORMAT_VERSION.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path

import tokenizers

FORMAT_VERSION = 2

MARKS = (
    *("<system>", "<user>", "<say>", "<call>", "<tool>", "<end>", "<mask>"),
    *(f"<pad{i}>" for i in range(7)),
)
SYSTEM, USER, SAY, CALL, TOOL, END, MASK, PAD0 = range(8)
PADS = tuple(range(PAD0, PAD0 + 7))
"""After the end of a reply the canvas holds this cycle (rainbow padding), not repeated end marks."""

EMBEDDED = Path(__file__).with_name("tokenizer.json")


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for every byte, inverted: character -> byte value."""
    keep = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(b): b for b in keep}
    spare = (b for b in range(256) if b not in set(keep))
    return table | {chr(256 + i): b for i, b in enumerate(spare)}


class Tokenizer:
    """Text <-> ids; ids below `len(MARKS)` are marks."""

    def __init__(self, path: str | Path = EMBEDDED) -> None:
        self._bpe = tokenizers.Tokenizer.from_file(str(path))

    @property
    def size(self) -> int:
        """Number of ids, marks included."""
        return len(MARKS) + self._bpe.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text; marks in it are plain text, and half of a surrogate pair is read as U+FFFD."""
        try:
            found = self._bpe.encode(text, add_special_tokens=False)
        except TypeError:  # that is how the library calls a text without a UTF-8 form
            whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            found = self._bpe.encode(whole, add_special_tokens=False)
        return [i + len(MARKS) for i in found.ids]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """`encode` for many texts at once."""
        batch = self._bpe.encode_batch(texts, add_special_tokens=False)
        return [[i + len(MARKS) for i in one.ids] for one in batch]

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Text of the ids; marks are left out, broken UTF-8 becomes U+FFFD."""
        return b"".join(self.token_bytes[i] or b"" for i in ids).decode("utf-8", errors="replace")

    def show(self, token: int) -> str:
        """One id as people read it: a mark by its name, a piece by its text."""
        if token < len(MARKS):
            return MARKS[token]
        return (self.token_bytes[token] or b"").decode("utf-8", errors="replace")

    @cached_property
    def token_bytes(self) -> list[bytes | None]:
        """Bytes of every id; None for marks."""
        alphabet = byte_alphabet()
        table: list[bytes | None] = [None] * self.size
        for piece, i in self._bpe.get_vocab().items():
            table[i + len(MARKS)] = bytes(alphabet[c] for c in piece)
        return table


@lru_cache(maxsize=1)
def embedded_tokenizer() -> Tokenizer:
    """The tokenizer that ships with the package."""
    return Tokenizer(EMBEDDED)
