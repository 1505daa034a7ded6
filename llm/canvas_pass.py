"""One pass over the canvases of several texts, by what a family's checkpoint sees (`Recipe.attention`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from stretto.llm.cache import KVCache
from stretto.llm.checkpoints.load import Checkpoint
from stretto.llm.transformer import Row
from torch import Tensor

PIECE = 1024
"""Tokens of a long prompt that are read in one pass, about."""


@dataclass
class Text:
    """A prompt and what is written behind it; masks where a canvas, which begins at `start`, is open."""

    number: int
    ids: list[int]
    prompt: int
    most: int
    start: int = 0
    fixed: int = 0
    """Places before this one are not the canvas's to change."""
    forwards: int = 0
    cache: KVCache = field(init=False)

    @property
    def end(self) -> int:
        """The place behind the last one that may be written."""
        return self.prompt + self.most


class Passes:
    """Scores of places of texts, float32, in which a mask is impossible. Each of them takes one pass.

    What stands before a canvas is read and kept in the pass that needs it; a long prompt takes more passes.
    """

    def __init__(self, checkpoint: Checkpoint, block: int) -> None:
        self.model, self.mask, self.block = checkpoint.model, checkpoint.mask, block
        self.kind, self.shifted = checkpoint.recipe.attention, checkpoint.config.shifted
        self.device = self.model.device
        self.count = 0
        """Passes so far."""

    def begin(self, text: Text) -> None:
        """Have a cache for it, where one can be kept."""
        if self.kind != "full":
            text.cache = self.model.new_cache(text.end + self.block, at_once=False)

    def canvas(self, texts: Sequence[Text], begin: int, size: int) -> Tensor:
        """Of `size` places of each canvas, from its place `begin` on (b, size, vocab)."""
        if self.kind == "full":
            return self._whole(texts, begin, size)
        self._read_ahead(texts)
        if self.kind == "block-causal":
            rows = [self._blocks(text, len(text.ids), text.start) for text in texts]
            begin -= int(self.shifted)
        else:  # `row` takes the shift into account
            rows = [
                self.model.row(t.cache, t.ids[t.cache.length : t.start], t.ids[t.start :], t.start)
                for t in texts
            ]
        parts = []
        for row, states in zip(rows, self._pass(texts, rows), strict=True):
            places = torch.arange(size) + (row.reads + begin)
            # Shifted, nothing predicts the first place of a canvas; it is never open then.
            parts.append(states[places.clamp(min=0).to(self.device)])
        return self._scores(torch.stack(parts))

    def behind(self, texts: Sequence[Text]) -> Tensor:
        """Read each text to its end; of the token behind it (b, 1, vocab)."""
        self._read_ahead(texts)
        rows = [self._blocks(text, len(text.ids), len(text.ids)) for text in texts]
        return self._scores(torch.stack([states[-1:] for states in self._pass(texts, rows)]))

    def causal(self, texts: Sequence[Text]) -> Tensor:
        """Read each canvas from left to right; of the token behind each of its places (b, n, vocab)."""
        rows = [self.model.row(text.cache, text.ids[text.start :]) for text in texts]
        return self._scores(torch.stack(self._pass(texts, rows)))

    def _whole(self, texts: Sequence[Text], begin: int, size: int) -> Tensor:
        """All sequences side by side; a shorter one sees nothing of what fills it up."""
        lengths = torch.tensor([len(text.ids) for text in texts], device=self.device)
        longest = int(lengths.max())
        tokens = torch.tensor([t.ids + [0] * (longest - len(t.ids)) for t in texts], device=self.device)
        sees = None
        if int(lengths.min()) < longest:
            real = torch.arange(longest, device=self.device) < lengths[:, None]
            sees = real[:, None, :].expand(-1, longest, -1)
        hidden = self.model(tokens, sees)
        self._counted(texts)
        first = torch.tensor([text.start + begin for text in texts], device=self.device)[:, None]
        places = first + torch.arange(size, device=self.device) - int(self.shifted)
        return self._scores(hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1])))

    def _blocks(self, text: Text, end: int, kept: int) -> Row:
        """The tokens up to `end` that are not read yet; those up to `kept` stay read. Each sees its own block
        and those before it, or in a causal model itself and those before it."""
        begin = text.cache.length
        ids = text.ids[begin:end]
        if self.kind != "block-causal":
            return self.model.row(text.cache, ids)
        places = torch.arange(end, device=self.device) // self.block
        sees = places[begin:, None] >= places if len(ids) > self.block else None
        return Row(text.cache, ids, list(range(begin, end)), kept - begin, sees)

    def _read_ahead(self, texts: Sequence[Text]) -> None:
        """Read long prompts piece by piece: what a piece sees is a matrix of its length and all before it."""
        piece = max(PIECE // self.block, 1) * self.block
        while long := [text for text in texts if text.start - text.cache.length > piece]:
            ends = [text.cache.length + piece for text in long]
            self._pass(long, [self._blocks(t, end, end) for t, end in zip(long, ends, strict=True)])

    def _pass(self, texts: Sequence[Text], rows: Sequence[Row]) -> list[Tensor]:
        self._counted(texts)
        return self.model.rows(rows)

    def _counted(self, texts: Sequence[Text]) -> None:
        self.count += 1
        for text in texts:
            text.forwards += 1

    def _scores(self, hidden: Tensor) -> Tensor:
        scores = self.model.logits(hidden).float()
        scores[..., self.mask] = -torch.inf
        return scores
