"""The same weights, one token a forward: the mode that reads, used to write.

It is what a canvas is compared with, and how a purely autoregressive twin of the model writes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from stretto.llm.conversation import LONGEST_CALL, LONGEST_REPLY, Writing
from stretto.llm.denoise import Pass
from stretto.llm.language_model import Canvas, Settled, ToolSpec
from stretto.llm.tokenizer import CALL, END, MARKS


class CausalWriting(Writing):
    """A draft written greedily from left to right; calls keep to the automaton of their schema."""

    def _words(self, start: int) -> Iterator[Canvas | Settled]:
        banned = [i for i in range(len(MARKS)) if i != END and not (i == CALL and self.c.tools)]
        while True:
            logits = self.next_logits().clone()
            logits[banned] = -torch.inf
            full = len(self.ids) - start >= LONGEST_REPLY - 1 or self.late()
            self.ids.append(END if full else int(logits.argmax()))
            yield self._written(start)
            if self.ids[-1] in (END, CALL):
                return
            if text := self.c.decode(self.ids[start:]):
                yield Settled(text)

    def _arguments(self, start: int, tool: ToolSpec) -> Iterator[Canvas | Settled]:
        automaton = self.c.model.vocabulary.compile(tool.parameters)
        state, left = 0, LONGEST_CALL
        while not automaton.is_final(state):
            logits = self.next_logits().numpy()
            allowed = automaton.allowed(state)
            left -= 1
            for token in allowed[np.argsort(-logits[allowed], kind="stable")]:
                following = automaton.advance(state, int(token))
                # What could not be finished any more within the limit is not begun.
                if following is not None and automaton.distance[following] <= left:
                    break
            assert following is not None
            self.ids.append(int(token))
            state = following
            yield self._written(start)

    def _written(self, start: int) -> Canvas:
        written = self.ids[start:]
        return self._canvas(Pass(tuple(written), len(written), False, len(written)))
