"""A call, or a reply, written token by token along the automaton of what it may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .tokens import TokenAutomaton

LONGEST_CALL = 128
"""Tokens of one call."""
LONGEST_STRING = 40
"""Tokens of one free string or number in a call, where it is written or checked token by token: a model that
has lost its way in one is led out of it."""


@dataclass
class CallPath:
    """A call's way through the automaton of its schema, token by token; or a reply's through that of its own.

    `longest_string`: see `likeliest`; None: a reply may stay where it is.
    """

    automaton: TokenAutomaton
    state: int = 0
    left: int = LONGEST_CALL
    """Tokens that the call may still have."""
    inside: int = 0
    """Tokens written since the state changed: those of a free string."""
    longest_string: int | None = LONGEST_STRING

    @property
    def finished(self) -> bool:
        """The call has its end mark."""
        return self.automaton.is_final(self.state)

    def likeliest(self, row: Tensor, prior: NDArray[np.float32] | None) -> int:
        """The likeliest token that the automaton allows and that leaves room to finish.

        `row` (vocab,): scores of the next token; `prior` is added to their logarithms. Out of a string that
        has grown to `longest_string` only a token that leads out of it is taken.
        """
        automaton, state = self.automaton, self.state
        scores = torch.log_softmax(row, -1).numpy()
        if prior is not None:
            scores = scores + prior
        stays = self.longest_string is None or self.inside < self.longest_string
        best, token = -np.inf, -1
        for edge in automaton.edges_from(state).tolist():
            following, token_class = automaton.target[edge], int(automaton.token_class[edge])
            # What could not be finished any more within the limit is not begun.
            fits = automaton.distance[following] <= self.left - 1
            if fits and (following != state or stays) and token_class < automaton.classes:
                tokens = automaton.tokens_of(token_class)
                place = int(scores[tokens].argmax())
                if token < 0 or (scores[tokens[place]], -tokens[place]) > (best, -token):
                    best, token = float(scores[tokens[place]]), int(tokens[place])
        if token < 0:
            raise ValueError(f"no way of {self.left} more tokens to the end is possible from state {state}")
        return token

    def take(self, token: int) -> int:
        """Go on with a token, which is returned."""
        following = self.automaton.advance(self.state, token)
        if following is None:
            raise ValueError(f"token {token} is not allowed in state {self.state}")
        self.inside = self.inside + 1 if following == self.state else 0
        self.state, self.left = following, self.left - 1
        return token
