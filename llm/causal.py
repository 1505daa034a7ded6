"""The same weights, one token a forward: the mode that reads, used to write.

It is what a canvas is compared with, and how a purely autoregressive twin of the model writes.
"""

from __future__ import annotations

import torch
from stretto.llm.constraints.call_path import CallPath
from stretto.llm.engine import Job
from stretto.llm.language_model import ToolSpec
from stretto.llm.tokenizer import CALL, END, MARKS
from stretto.llm.writing import Prior, Writing, unprejudiced
from torch import Tensor


class CausalWriting(Writing):
    """A draft written greedily from left to right; calls keep to the automaton of their schema."""

    def _words(self, start: int) -> Job[None]:
        if self.words_path is not None:
            yield from self._along(start, self.words_path, unprejudiced)
            return
        banned = no_words(bool(self.tools))
        self.ids += self.old[len(self.ids) : self.pinned]
        while True:
            row = yield from self.next_logits()
            self.cut = self._full(start) or self.late()
            self.ids.append(END if self.cut else likeliest_word(self.drawn(row, len(self.ids)), banned))
            self.emit(self._shown(start))
            if self.ids[-1] in (END, CALL):
                return
            self._settle(self.ids[start:])

    def _arguments(self, start: int, tool: ToolSpec) -> Job[None]:
        yield from self._along(start, CallPath(self._automaton(tool)), self._prior(tool))

    def _along(self, start: int, path: CallPath, prior: Prior) -> Job[None]:
        """Write on to the end of a path, token by token."""
        while not path.finished:
            row = yield from self.next_logits()
            row = self.drawn(row, len(self.ids))
            self.ids.append(path.take(path.likeliest(row, prior(self.ids[start:]))))
            self.emit(self._shown(start))


def no_words(call_allowed: bool) -> list[int]:
    """The marks that a reply cannot hold: all but its end, and `<call>` where a call may follow."""
    return [i for i in range(len(MARKS)) if i != END and not (i == CALL and call_allowed)]


def likeliest_word(row: Tensor, banned: list[int]) -> int:
    """The likeliest token that is not banned."""
    row = row.clone()
    row[banned] = -torch.inf
    return int(row.argmax())
