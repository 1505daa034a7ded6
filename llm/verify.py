"""Draft and verify: a canvas drafts what comes next, the causal mode of the same weights checks it at once.

The words are those of greedy left-to-right writing (with less effort, words as likely), in fewer forwards:
one pass over the canvas proposes many tokens, one causal pass scores them all, and the longest prefix on
which both agree stays, with the token that the causal mode puts behind it. (Speculative decoding, Leviathan
et al. 2023, with the canvas as the drafter; Nemotron-Labs-Diffusion and SDAR call it self-speculation.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from stretto.llm.causal import CallPath, likeliest_word, no_words
from stretto.llm.constraints.tokens import TokenAutomaton
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.conversation import CALL_CANVAS, LONGEST_REPLY, SAY_CANVAS, Writing
from stretto.llm.language_model import Canvas, Settled, ToolSpec
from stretto.llm.tokenizer import CALL, END, MASK, PADS
from torch import Tensor


class VerifiedWriting(Writing):
    """A draft that equals the causal mode's, written canvas by canvas."""

    def _words(self, start: int) -> Iterator[Canvas | Settled]:
        banned = no_words(bool(self.c.tools))
        row = self.next_logits()
        while True:
            full = len(self.ids) - start >= LONGEST_REPLY - 1 or self.late()
            self.ids.append(END if full else likeliest_word(row, banned))
            if self.ids[-1] not in (END, CALL):
                scores = self._drafted(SAY_CANVAS)
                scores[:, [i for i in banned if i not in PADS]] = -torch.inf
                draft = _up_to_the_end(scores.argmax(-1).tolist())
                yield self._shown(start, draft)
                rows = self._checked(draft)
                row = rows[0]
                for token, following in zip(draft, rows[1:], strict=True):
                    best = likeliest_word(row, banned)
                    if len(self.ids) - start >= LONGEST_REPLY - 1 or not self._passes(row, best, token):
                        break
                    self.ids.append(token)
                    row = following
            yield self._shown(start)
            if self.ids[-1] in (END, CALL):
                return
            if text := self.c.decode(self.ids[start:]):
                yield Settled(text)

    def _arguments(self, start: int, tool: ToolSpec) -> Iterator[Canvas | Settled]:
        automaton = self.c.model.vocabulary.compile(tool.parameters)
        prior = self._prior(tool)
        row, path = self.next_logits(), CallPath(automaton)
        while True:
            before = path.state
            self.ids.append(path.take(path.likeliest(row, prior(self.ids[start:]))))
            if not automaton.is_final(path.state):
                draft = self._drafted_call(automaton, before, path.left)
                yield self._shown(start, draft)
                rows = self._checked(draft)
                row = rows[0]
                for proposed, following in zip(draft, rows[1:], strict=True):
                    if path.likeliest(row, prior(self.ids[start:])) != proposed:
                        break
                    self.ids.append(path.take(proposed))
                    row = following
            yield self._shown(start)
            if automaton.is_final(path.state):
                return

    def _passes(self, row: Tensor, best: int, drafted: int) -> bool:
        """The drafted token is the likeliest, or as likely beside it as the effort asks."""
        return best == drafted or float(row[drafted] - row[best]) >= math.log(self.budget.accept)

    def _drafted_call(self, automaton: TokenAutomaton, state: int, left: int) -> list[int]:
        """The best accepted path through a canvas that begins with the last token written."""
        size = min(CALL_CANVAS, left + 1)
        log_probs = torch.log_softmax(self._drafted(size, whole=True), -1).numpy()
        path = best_path(
            log_probs, automaton, [self.ids[-1], *[None] * (size - 1)], state, open_end=True,
            budget_after=left + 1 - size, score_fill=True,
        )  # fmt: skip
        return [int(token) for token in path.tokens[1 : path.length]]

    def _drafted(self, size: int, whole: bool = False) -> Tensor:
        """Scores of a canvas that begins with the last token written: of those behind it, or `whole`."""
        canvas = torch.full((size,), MASK)
        canvas[0] = self.ids[-1]
        self.c.roll_back(len(self.base) + len(self.ids) - 1)
        self._scores = None  # another canvas
        scores = self.forward(canvas)
        return scores if whole else scores[1:]

    def _checked(self, draft: list[int]) -> Tensor:
        """The causal mode's scores behind the last token written and behind each of the draft."""
        self.forwards += 1
        return self.c.read_on(self.base + self.ids + draft, len(draft) + 1)


def _up_to_the_end(tokens: list[int]) -> list[int]:
    """The proposed tokens up to their end mark, or to the first pad."""
    kept: list[int] = []
    for token in tokens:
        if token in PADS:
            break
        kept.append(token)
        if token in (END, CALL):
            break
    return kept
