"""Which dialogues a training step sees: a pure function of (seed, step), so a run resumes anywhere.

Dialogues differ in length by ten to one. A small step takes neighbours in length out of a pool; a large one
sorts all of its dialogues and cuts them into several batches of little padding, for one update.
"""

from __future__ import annotations

import gzip
import json
import lzma
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stretto.llm.format import Segment, dialogue_segments
from stretto.llm.tokenizer import Tokenizer
from stretto.llm.train.augment import as_spoken, heard_dialogue, subset_tools, used_tools
from stretto.llm.train.canvases import MIX, Batch, Mix, make_batch
from stretto.llm.train.drills import Drills
from stretto.llm.train.renaming import capitalised, names_of, rename
from stretto.llm.train.schemas import rename_tools

MULTIPLE = 128
"""Lengths of large batches are rounded up to it, so that a GPU meets few shapes."""
ASKED = 300
"""Dialogues of a source that tell whether its agent ever speaks."""
RECOGNISED = 0.3
"""Strength of made-up damage to words that a recogniser wrote: it did its own."""


@dataclass(frozen=True)
class Source:
    """Dialogue files and the share of training dialogues drawn from them."""

    paths: tuple[str, ...]
    share: float


def load_dialogues(paths: Sequence[str], split: str = "train") -> list[bytes]:
    """One JSON line a dialogue, as bytes; lines of another split are an error, not skipped."""
    lines: list[bytes] = []
    for path in paths:
        with lzma.open(path, "rb") if path.endswith(".xz") else gzip.open(path, "rb") as file:
            for line in file:
                lines.append(line)
        if lines and json.loads(lines[-1])["split"] != split:
            raise ValueError(f"{path} holds dialogues of another split than {split!r}; do not train on it")
    if not lines:
        raise ValueError(f"no dialogues in {list(paths)}")
    return lines


def _speaks(line: bytes) -> bool:
    """Whether the agent of a dialogue says anything."""
    return any(m["role"] == "assistant" and m.get("content") for m in json.loads(line)["messages"])


class Batches:
    """`batch(step)` for every step; dialogues longer than `longest` tokens are cut at a segment.

    `drilled(step)`: share of copying drills: of small steps, or of the dialogues of a large one. `renamed`:
    share of concierge dialogues whose names become random words; `resampled`: of the others. `schemas`:
    share of all dialogues whose tools have other names. `most`: padded tokens of a batch, where a step has
    several. `verbatim`: only so many dialogues of each source, the first, as they are, with the tools that
    they use.
    """

    def __init__(
        self, tokenizer: Tokenizer, sources: Mapping[str, Source], seed: int, tokens: int, longest: int = 768,
        split: str = "train", drilled: Callable[[int], float] | None = None, renamed: float = 0.0,
        shifted: bool = False, most: int = 0, schemas: float = 0.0, resampled: float = 0.0,
        verbatim: int = 0, mix: Mix = MIX,
    ) -> None:  # fmt: skip
        self.tokenizer, self.seed, self.tokens, self.longest = tokenizer, seed, tokens, longest
        self.renamed, self.most, self.schemas = renamed, most, schemas
        self.shifted, self.resampled, self.verbatim, self.mix = shifted, resampled, verbatim, mix
        self.names = list(sources)
        self.shares = [sources[n].share for n in self.names]
        self.lines = [load_dialogues(sources[n].paths, split)[: verbatim or None] for n in self.names]
        self.routed = [any(map(_speaks, lines[:ASKED])) for lines in self.lines]
        self.drilled, self.drills = drilled, Drills(tokenizer)

    def segments(self, dialogue: dict[str, Any], rng: random.Random) -> list[Segment]:
        """One augmented dialogue, cut to `longest`; empty if nothing of the agent is left."""
        dialogue = used_tools(dialogue) if self.verbatim else self._augmented(dialogue, rng)
        kept: list[Segment] = []
        total = 0
        for segment in dialogue_segments(self.tokenizer, dialogue):
            total += len(segment.ids)
            if total > self.longest:
                break
            kept.append(segment)
        return kept if any(s.kind in ("say", "call") and s.learn for s in kept) else []

    def _augmented(self, dialogue: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        house = dialogue.get("source") == "concierge"
        if rng.random() < (self.renamed if house else self.resampled):
            named = names_of(dialogue) if house else capitalised(dialogue)
            dialogue = rename(dialogue, named, self.drills.words, self.drills.tails, rng)
        if self.schemas and rng.random() < self.schemas:
            dialogue = rename_tools(dialogue, rng)
        strength = RECOGNISED if dialogue.get("heard") else 1.0
        return heard_dialogue(subset_tools(as_spoken(dialogue), rng), rng, strength)

    def batch(self, step: int) -> list[Batch]:
        """About `tokens` clean tokens, in batches of dialogues of similar length."""
        rng = random.Random(f"{self.seed}/{step}")
        drilled = self.drilled(step) if self.drilled is not None else 0.0
        if self.most:
            return self._large(rng, drilled)
        return [self._drill(rng) if rng.random() < drilled else self._small(rng)]

    def _large(self, rng: random.Random, drilled: float) -> list[Batch]:
        """All dialogues drawn, sorted by length and cut into batches; drawn until the step is full.

        A share `drilled` of them are drills.
        """
        drawn: list[list[Segment]] = []
        total = 0
        while total < self.tokens:
            drill = rng.random() < drilled
            segments = self.segments(self.drills.dialogue(rng), rng) if drill else self._draw(rng)
            drawn.append(segments)
            total += sum(len(s.ids) for s in segments)
        drawn.sort(key=lambda segments: sum(len(s.ids) for s in segments))
        batches: list[Batch] = []
        rows: list[list[Segment]] = []
        for at, segments in enumerate(drawn):
            rows.append(segments)
            last = at + 1 == len(drawn)
            widest = 2 * sum(len(s.ids) for s in (segments if last else drawn[at + 1]))
            if last or (len(rows) + 1) * widest > self.most:
                batches.append(self._made(rows, rng, MULTIPLE))
                rows = []
        return batches

    def _made(self, rows: list[list[Segment]], rng: random.Random, multiple: int = 1) -> Batch:
        return make_batch(rows, self.tokenizer.size, rng, self.shifted, multiple, self.mix)

    def _draw(self, rng: random.Random) -> list[Segment]:
        while True:
            (source,) = rng.choices(range(len(self.lines)), self.shares)
            segments = self.segments(json.loads(rng.choice(self.lines[source])), rng)
            if segments:
                routed = self.routed[source]
                return segments if routed else [replace(s, routed=False) for s in segments]

    def _small(self, rng: random.Random) -> Batch:
        pool: list[list[Segment]] = []
        while len(pool) < 24:
            pool.append(self._draw(rng))
        sizes = [sum(len(s.ids) for s in one) for one in pool]
        anchor = sizes[0]  # dialogue 0 is drawn fairly; those nearest to it in length keep padding low
        order = sorted(range(len(pool)), key=lambda i: abs(sizes[i] - anchor))
        rows: list[int] = []
        for i in order:
            if rows and (len(rows) + 1) * max(sizes[j] for j in (*rows, i)) > self.tokens:
                break
            rows.append(i)
        return self._made([pool[i] for i in rows], rng)

    def _drill(self, rng: random.Random) -> Batch:
        """A batch of copying drills only: they are short, and would pad beside dialogues."""
        rows: list[list[Segment]] = []
        while sum(len(s.ids) for row in rows for s in row) < self.tokens:
            rows.append(self.segments(self.drills.dialogue(rng), rng))
        return self._made(rows, rng)


def corpus(folder: str | Path, names: Sequence[str], split: str = "train") -> tuple[str, ...]:
    """The files of some sources of the dialogue data."""
    found = [str(p) for name in names for p in sorted(Path(folder).glob(f"{name}.{split}*.jsonl.gz"))]
    if not found:
        raise FileNotFoundError(f"no files of {list(names)} ({split}) in {folder}")
    return tuple(found)
