"""The same weights, one token a forward: the mode that reads, used to write.

It is what a canvas is compared with, and how a purely autoregressive twin of the model writes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from stretto.llm.constraints.tokens import TokenAutomaton
from stretto.llm.conversation import LONGEST_CALL, LONGEST_REPLY, Writing
from stretto.llm.language_model import Canvas, Settled, ToolSpec
from stretto.llm.tokenizer import CALL, END, MARKS
from torch import Tensor


class CausalWriting(Writing):
    """A draft written greedily from left to right; calls keep to the automaton of their schema."""

    def _words(self, start: int) -> Iterator[Canvas | Settled]:
        banned = no_words(bool(self.c.tools))
        while True:
            row = self.next_logits()
            full = len(self.ids) - start >= LONGEST_REPLY - 1 or self.late()
            self.ids.append(END if full else likeliest_word(row, banned))
            yield self._shown(start)
            if self.ids[-1] in (END, CALL):
                return
            if text := self.c.decode(self.ids[start:]):
                yield Settled(text)

    def _arguments(self, start: int, tool: ToolSpec) -> Iterator[Canvas | Settled]:
        automaton = self.c.model.vocabulary.compile(tool.parameters)
        prior = self._prior(tool)
        state, left = 0, LONGEST_CALL
        while not automaton.is_final(state):
            row = self.next_logits()
            token, state = likeliest(row, automaton, state, left, prior(self.ids[start:]))
            self.ids.append(token)
            left -= 1
            yield self._shown(start)


def no_words(call_allowed: bool) -> list[int]:
    """The marks that a reply cannot hold: all but its end, and `<call>` where a call may follow."""
    return [i for i in range(len(MARKS)) if i != END and not (i == CALL and call_allowed)]


def likeliest_word(row: Tensor, banned: list[int]) -> int:
    """The likeliest token that is not banned."""
    row = row.clone()
    row[banned] = -torch.inf
    return int(row.argmax())


def likeliest(
    row: Tensor, automaton: TokenAutomaton, state: int, left: int, prior: NDArray[np.float32] | None
) -> tuple[int, int]:
    """The likeliest token that the automaton allows and that leaves room to finish; the state behind it."""
    scores = torch.log_softmax(row, -1).numpy()
    if prior is not None:
        scores = scores + prior
    allowed = automaton.allowed(state)
    values = scores[allowed]
    while True:
        place = int(values.argmax())
        token = int(allowed[place])
        following = automaton.advance(state, token)
        # What could not be finished any more within the limit is not begun.
        if following is not None and automaton.distance[following] <= left - 1:
            return token, following
        values[place] = -np.inf
        if not np.isfinite(values).any():
            raise ValueError(f"no call of {left} more tokens is possible from state {state}")
