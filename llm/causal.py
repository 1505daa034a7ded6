"""The same weights, one token a forward: the mode that reads, used to write.

It is what a canvas is compared with, and how a purely autoregressive twin of the model writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stretto.llm.constraints.tokens import TokenAutomaton
from stretto.llm.engine import Job
from stretto.llm.language_model import Settled, ToolSpec
from stretto.llm.tokenizer import CALL, END, MARKS
from stretto.llm.writing import LONGEST_CALL, LONGEST_STRING, Writing
from torch import Tensor


class CausalWriting(Writing):
    """A draft written greedily from left to right; calls keep to the automaton of their schema."""

    def _words(self, start: int) -> Job[None]:
        banned = no_words(bool(self.tools))
        while True:
            row = yield from self.next_logits()
            self.cut = len(self.ids) - start >= self.longest - 1 or self.late()
            self.ids.append(END if self.cut else likeliest_word(self.drawn(row, len(self.ids)), banned))
            self.emit(self._shown(start))
            if self.ids[-1] in (END, CALL):
                return
            if text := self.c.decode(self.ids[start:]):
                self.emit(Settled(text))

    def _arguments(self, start: int, tool: ToolSpec) -> Job[None]:
        path = CallPath(self.c.model.vocabulary.compile(tool.parameters))
        prior = self._prior(tool)
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


@dataclass
class CallPath:
    """A call's way through the automaton of its schema, token by token."""

    automaton: TokenAutomaton
    state: int = 0
    left: int = LONGEST_CALL
    """Tokens that the call may still have."""
    inside: int = 0
    """Tokens written since the state changed: those of a free string."""

    @property
    def finished(self) -> bool:
        """The call has its end mark."""
        return self.automaton.is_final(self.state)

    def likeliest(self, row: Tensor, prior: NDArray[np.float32] | None) -> int:
        """The likeliest token that the automaton allows and that leaves room to finish.

        `row` (vocab,): scores of the next token; `prior` is added to their logarithms. Out of a string that
        has grown to LONGEST_STRING only a token that leads out of it is taken.
        """
        scores = torch.log_softmax(row, -1).numpy()
        if prior is not None:
            scores = scores + prior
        allowed = self.automaton.allowed(self.state)
        values = scores[allowed]
        while True:
            place = int(values.argmax())
            token = int(allowed[place])
            following = self.automaton.advance(self.state, token)
            # What could not be finished any more within the limit is not begun.
            fits = following is not None and self.automaton.distance[following] <= self.left - 1
            if fits and (following != self.state or self.inside < LONGEST_STRING):
                return token
            values[place] = -np.inf
            if not np.isfinite(values).any():
                raise ValueError(f"no call of {self.left} more tokens is possible from state {self.state}")

    def take(self, token: int) -> int:
        """Go on with a token, which is returned."""
        following = self.automaton.advance(self.state, token)
        if following is None:
            raise ValueError(f"token {token} is not allowed in state {self.state}")
        self.inside = self.inside + 1 if following == self.state else 0
        self.state, self.left = following, self.left - 1
        return token
