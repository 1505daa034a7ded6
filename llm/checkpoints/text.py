"""Text <-> ids of another family's checkpoint, in which nobody's words can make a special token.

The marks of a template become their ids; what a caller, a tool or a document says is encoded by a tokenizer
that knows no marks. A literal `<|mask|>` in it is the pieces `<`, `|`, `mask`, and so on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import tokenizers
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.tokenizer import byte_alphabet
from tokenizers import decoders, models, normalizers, pre_tokenizers

T = TypeVar("T")
SEALS = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE))
"""Characters for private use: one that no text of a dialogue holds breaks the marks in its words."""
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen2 and Qwen3 cut words, for checkpoints that bring vocab.json and merges.txt alone."""


class CheckpointTokenizer:
    """The tokenizer of a folder. Raises CheckpointError where there is none, or a broken one."""

    def __init__(self, folder: Path) -> None:
        try:
            described = _described(folder)
            marks = described.get("added_tokens") or []
            self.marks: dict[str, int] = {mark["content"]: mark["id"] for mark in marks}
            self._plain = tokenizers.Tokenizer.from_str(json.dumps({**described, "added_tokens": []}))
        except CheckpointError:
            raise
        except Exception as error:  # the library raises plain Exceptions
            raise CheckpointError(
                f"the tokenizer in {folder} cannot be read ({error}); copy it again"
            ) from error
        self._by_id = {i: text for text, i in self.marks.items()}

    @cached_property
    def _cut(self) -> re.Pattern[str]:
        longest_first = sorted((m for m in self.marks if len(m) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, text: str) -> list[int]:
        """Ids of anybody's text: never those of a mark."""
        try:
            ids = self._plain.encode(text, add_special_tokens=False).ids
        except TypeError:  # half of a surrogate pair
            whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            ids = self._plain.encode(whole, add_special_tokens=False).ids
        return list(ids)

    def encode_marked(self, text: str, seal: str = "") -> list[int]:
        """Ids of a rendered dialogue: marks in it are ids, `seal` is taken out (`sealed`)."""
        ids: list[int] = []
        place = 0
        for mark in self._cut.finditer(text):
            ids += [*self._unsealed(text[place : mark.start()], seal), self.marks[mark[0]]]
            place = mark.end()
        return ids + self._unsealed(text[place:], seal)

    def _unsealed(self, text: str, seal: str) -> list[int]:
        return self.encode(text.replace(seal, "") if seal else text) if text else []

    def sealed(self, value: T) -> tuple[T, str]:
        """The same strings, lists and mappings, with every mark in a text broken by a seal; and the seal.

        Raises ValueError for a dialogue that holds all characters that could be one.
        """
        texts = set().union(*_texts(value))
        seal = next((c for c in map(chr, SEALS) if c not in texts), None)
        if seal is None:
            raise ValueError("the dialogue holds every character for private use")
        return _sealed(value, self._cut, seal), seal

    def decode(self, ids: Sequence[int], hidden: Iterable[int] = ()) -> str:
        """Text of the ids, marks by their text; `hidden` ids and those past the vocabulary are left out."""
        unseen = set(hidden)
        out: list[str] = []
        run: list[int] = []
        for i in ids:
            if i in unseen:
                continue
            if i in self._by_id:
                out += [self._plain.decode(run, skip_special_tokens=False), self._by_id[i]]
                run = []
            else:
                run.append(i)
        return "".join([*out, self._plain.decode(run, skip_special_tokens=False)])

    @cached_property
    def token_bytes(self) -> list[bytes | None]:
        """Bytes of every id; None for marks and ids without text."""
        alphabet = byte_alphabet()
        vocab = self._plain.get_vocab()
        table: list[bytes | None] = [None] * (max([*vocab.values(), *self._by_id]) + 1)
        for piece, i in vocab.items():
            if i not in self._by_id and all(c in alphabet for c in piece):
                table[i] = bytes(alphabet[c] for c in piece)
        return table


def _described(folder: Path) -> dict[str, Any]:
    """tokenizer.json, or the same made of the files of a slow byte-level tokenizer."""
    if (path := folder / "tokenizer.json").is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise CheckpointError(f"{path} holds no tokenizer; copy it again")
        return found
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    if not (vocab.is_file() and merges.is_file()):
        raise CheckpointError(
            f"{folder} has no tokenizer: it needs tokenizer.json, or vocab.json and merges.txt; copy them "
            "from where the weights are from"
        )
    made = tokenizers.Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_QWEN_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    marks = [{"id": i, "content": text} for text, i in _added(folder).items()]
    return {**json.loads(made.to_str()), "added_tokens": marks}


def _added(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    if (path := folder / "added_tokens.json").is_file():
        found |= json.loads(path.read_text(encoding="utf-8"))
    if (path := folder / "tokenizer_config.json").is_file():
        table = json.loads(path.read_text(encoding="utf-8")).get("added_tokens_decoder") or {}
        found |= {mark["content"]: int(i) for i, mark in table.items()}
    return found


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _sealed(value: Any, marks: re.Pattern[str], seal: str) -> Any:
    if isinstance(value, str):
        while marks.search(value):  # again, for a mark that stood across another
            value = marks.sub(lambda mark: mark[0][0] + seal + mark[0][1:], value)
        return value
    if isinstance(value, Mapping):
        return {_sealed(k, marks, seal): _sealed(v, marks, seal) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_sealed(inner, marks, seal) for inner in value]
    return value
