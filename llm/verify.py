"""Draft and verify: a canvas drafts what comes next, the causal mode of the same weights checks it at once.

The words are those of greedy left-to-right writing (with less effort, words as likely), in fewer forwards:
the canvas proposes many tokens in one pass, the next pass reads and scores them all, and the longest prefix
on which both agree stays, with the token that the causal mode puts behind it. (Speculative decoding,
Leviathan et al. 2023, with the canvas as the drafter; Nemotron-Labs-Diffusion and SDAR call it
self-speculation.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from stretto.llm.causal import CallPath, likeliest_word, no_words
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.conversation import CALL_CANVAS, LONGEST_REPLY, SAY_CANVAS, Writing
from stretto.llm.language_model import Canvas, Settled, ToolSpec
from stretto.llm.tokenizer import CALL, END, MASK, PADS
from torch import Tensor


class VerifiedWriting(Writing):
    """A draft that equals the causal mode's, written canvas by canvas.

    A pass reads what is to be checked, and drafts on a canvas behind it: where a draft is all right, the next
    one is there already.
    """

    def _words(self, start: int) -> Iterator[Canvas | Settled]:
        banned = no_words(bool(self.c.tools))
        never = [i for i in banned if i not in PADS]

        def proposed(scores: Tensor) -> list[int]:
            scores[:, never] = -torch.inf
            return _up_to_the_end(scores.argmax(-1).tolist())

        def right(row: Tensor, drafted: int) -> bool:
            """The drafted token is the likeliest, or as likely beside it as the effort asks."""
            best = likeliest_word(row, banned)
            if len(self.ids) - start >= LONGEST_REPLY - 1:
                return False
            return best == drafted or float(row[drafted] - row[best]) >= math.log(self.budget.accept)

        (row,), scores = self._pass([], SAY_CANVAS, known=0)
        draft = proposed(scores)
        while True:
            yield self._shown(start, draft)
            if draft and not self.late() and right(row, draft[0]):
                rows, scores = self._checked(draft, SAY_CANVAS)
                agreed = 0
                for behind, token in zip([row, *rows], draft, strict=False):
                    if not right(behind, token):
                        break
                    self.ids.append(token)
                    agreed += 1
                row = [row, *rows][min(agreed, len(rows))]
                more = agreed == len(draft) and self.ids[-1] not in (END, CALL)
                draft = proposed(scores[1:]) if more else []
            else:
                full = len(self.ids) - start >= LONGEST_REPLY - 1 or self.late()
                self.ids.append(END if full else likeliest_word(row, banned))
                if self.ids[-1] not in (END, CALL):
                    (row,), scores = self._pass([], SAY_CANVAS, known=1)
                    draft = proposed(scores[1:])
            if self.ids[-1] in (END, CALL):
                yield self._shown(start)
                return
            if text := self.c.decode(self.ids[start:]):
                yield Settled(text)

    def _arguments(self, start: int, tool: ToolSpec) -> Iterator[Canvas | Settled]:
        path = CallPath(self.c.model.vocabulary.compile(tool.parameters))
        prior = self._prior(tool)
        (row,), scores = self._pass([], CALL_CANVAS, known=0)
        draft = self._proposed_call(path, scores, known=0)
        while True:
            yield self._shown(start, draft)
            best = path.likeliest(row, prior(self.ids[start:]))
            if draft and best == draft[0]:
                rows, scores = self._checked(draft, CALL_CANVAS)
                agreed = 0
                for behind, token in zip([row, *rows], draft, strict=False):
                    if path.likeliest(behind, prior(self.ids[start:])) != token:
                        break
                    self.ids.append(path.take(token))
                    agreed += 1
                row = [row, *rows][min(agreed, len(rows))]
                more = agreed == len(draft) and not path.finished
                draft = self._proposed_call(path, scores, known=1) if more else []
            else:
                self.ids.append(path.take(best))
                if not path.finished:
                    (row,), scores = self._pass([], CALL_CANVAS, known=1)
                    draft = self._proposed_call(path, scores, known=1)
            if path.finished:
                yield self._shown(start)
                return

    def _proposed_call(self, path: CallPath, scores: Tensor, known: int) -> list[int]:
        """The best accepted way on through a canvas, whose first `known` tokens are the last ones written."""
        size = min(len(scores), path.left + known)
        best = best_path(
            torch.log_softmax(scores[:size], -1).numpy(),
            path.automaton,
            [*self.ids[len(self.ids) - known :], *[None] * (size - known)],
            path.before if known else path.state,
            open_end=True,
            budget_after=path.left + known - size,
            score_fill=True,
        )
        return [int(token) for token in best.tokens[known : best.length]]

    def _checked(self, draft: list[int], size: int) -> tuple[list[Tensor], Tensor]:
        """The causal mode's scores behind each of the draft but its end mark, and a canvas behind that."""
        body = draft[:-1] if draft[-1] in (END, CALL) else draft
        if not body:
            return [], torch.empty(0, 0)
        rows, scores = self._pass(body, size, known=1)
        return list(rows), scores

    def _pass(self, draft: list[int], size: int, known: int) -> tuple[Tensor, Tensor]:
        """Read all that is written and a draft; scores behind the draft's tokens, and of a canvas behind it.

        Without a draft the scores are those behind the last token written (1, vocab).
        """
        self.forwards += 1
        ids = self.base + self.ids + draft
        canvas = torch.full((size,), MASK)
        canvas[:known] = torch.tensor(ids[len(ids) - known :])
        return self.c.sync_and_draft(ids, canvas, known, max(1, len(draft)))


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
