"""Draft and verify: a canvas drafts what comes next, the causal mode of the same weights checks it at once.

The words are those of greedy left-to-right writing (with less effort, words as likely), in fewer forwards:
the canvas proposes many tokens in one pass, the next pass reads and scores them all, and the longest prefix
on which both agree stays, with the token that the causal mode puts behind it. (Speculative decoding,
Leviathan et al. 2023, with the canvas as the drafter; Nemotron-Labs-Diffusion and SDAR call it
self-speculation.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from stretto.llm.causal import likeliest_word, no_words
from stretto.llm.constraints.call_path import CallPath
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.engine import Forward, Job
from stretto.llm.language_model import ToolSpec
from stretto.llm.tokenizer import CALL, END, MASK, PADS
from stretto.llm.writing import CALL_CANVAS, LONGEST_TURN, SAY_CANVAS, Prior, Writing, unprejudiced
from torch import Tensor

ALIKE = 0.6
"""Least probability, by the drafting canvas, that what stands before the next canvas is right."""
READ = 0.02
"""The same of the last drafted token that is worth checking."""
STALE = 6
"""Tokens of a draft that are checked once more behind a token that it had wrong."""


@dataclass
class Proposal:
    """What a canvas holds to come next, and how sure it is of each token (0..1)."""

    tokens: list[int]
    sure: list[float]

    def behind(self, agreed: int) -> Proposal:
        """What is left of it behind the first tokens."""
        return Proposal(self.tokens[agreed:], self.sure[agreed:])

    def put(self, token: int) -> tuple[list[int], int]:
        """The tokens to check when `token` comes next, and how many of them the next canvas stands behind."""
        if not self.tokens or self.tokens[0] != token:
            return [token, *self.tokens[1 : 1 + STALE]], 1
        chances = [1.0, *accumulate(self.sure[1:], mul)]  # the first is known to be right
        kept = sum(chance >= READ for chance in chances)
        return self.tokens[:kept], sum(chance >= ALIKE for chance in chances)


class VerifiedWriting(Writing):
    """A draft that equals the causal mode's, written canvas by canvas.

    Every pass reads what was drafted, and drafts what comes next on a canvas behind the part of it that is
    likely to be right. What turns out right stays; one more token is always known from what was read.

    A draft to be revised is read first, in one pass: what still follows from what was heard stays, and the
    canvas begins where it does not. The words are the same as without it; a draft of which nothing stays can
    cost a pass.
    """

    _rows: Tensor | None = None
    """Scores behind the history and behind each token of the old draft."""

    def next_logits(self) -> Job[Tensor]:
        """As `Writing.next_logits`; along the old draft it takes one pass for all places."""
        if self.old and self._rows is None:
            self.old = self.old[:LONGEST_TURN]
            self.forwards += 1
            self._rows = yield from self.c.read(self.base + self.old, len(self.old) + 1)
        known = self._known()
        return (yield from super().next_logits()) if known is None else known

    def _known(self) -> Tensor | None:
        """The scores behind all that is written, where the old draft begins with it."""
        if self._rows is None or self.ids != self.old[: len(self.ids)]:
            return None
        return self._rows[len(self.ids)]

    def _still(self, row: Tensor, stays: Callable[[Tensor, int], bool]) -> tuple[Tensor, Proposal]:
        """Write on along the old draft as long as its tokens stay, up to its next end mark.

        `row`: the scores behind all that is written. Those behind the last token that stays, and what the old
        draft has behind it.
        """
        tokens = _up_to_the_end(self.old[len(self.ids) :])
        while tokens and (len(self.ids) < self.pinned or stays(row, tokens[0])):
            self.ids.append(tokens.pop(0))
            row = self._rows[len(self.ids)]  # type: ignore[index]
        return row, Proposal(tokens, [1.0] * len(tokens))

    def _words(self, start: int) -> Job[None]:
        if self.words_path is not None:
            yield from self._along(start, self.words_path, SAY_CANVAS, unprejudiced)
            return
        banned = no_words(bool(self.tools))
        never = [i for i in banned if i not in PADS]

        def proposed(scores: Tensor) -> Proposal:
            draw = self._draw()
            scores = scores.clone() if draw is None else draw(scores)
            scores[:, never] = -torch.inf
            best = scores.softmax(-1).max(-1)
            tokens = _up_to_the_end(best.indices.tolist())
            return Proposal(tokens, best.values.tolist()[: len(tokens)])

        def right(row: Tensor, drafted: int) -> bool:
            """The drafted token is the likeliest, or as likely beside it as the effort asks."""
            row = self.drawn(row, len(self.ids))
            best = likeliest_word(row, banned)
            if self._full(start):
                return False
            return best == drafted or float(row[drafted] - row[best]) >= math.log(self.budget.accept)

        known = self._known()
        if known is None:
            (row,), scores = yield from self._pass([], SAY_CANVAS, 0)
            draft = proposed(scores)
        else:
            row, draft = self._still(known, right)
            if self.ids[-1] in (END, CALL):
                self.emit(self._shown(start))
                return
        while True:
            self.emit(self._shown(start, draft.tokens))
            if self._full(start) or self.late():
                following = END
                self.cut = True
            elif draft.tokens and right(row, draft.tokens[0]):
                following = draft.tokens[0]
            else:
                following = likeliest_word(self.drawn(row, len(self.ids)), banned)
            self.ids.append(following)
            if following not in (END, CALL):
                tokens, sure = draft.put(following)
                rows, scores = yield from self._checked(tokens, SAY_CANVAS, sure)
                agreed, row = self._kept(rows, tokens, right)
                fresh = scores[1 + agreed - sure :] if agreed >= sure else None
                draft = draft.behind(agreed) if fresh is None else proposed(fresh)
            if self.ids[-1] in (END, CALL):
                self.emit(self._shown(start))
                return
            self._settle(self.ids[start:])

    def _arguments(self, start: int, tool: ToolSpec) -> Job[None]:
        yield from self._along(start, CallPath(self._automaton(tool)), CALL_CANVAS, self._prior(tool))

    def _along(self, start: int, path: CallPath, size: int, prior: Prior) -> Job[None]:
        """Write on to the end of a path, canvas by canvas."""

        def taken(row: Tensor, drafted: int) -> bool:
            """The drafted token is the likeliest, and the call goes on with it."""
            same = path.likeliest(self.drawn(row, len(self.ids)), prior(self.ids[start:])) == drafted
            if same:
                path.take(drafted)
            return same

        known = self._known()
        if known is None:
            (row,), scores = yield from self._pass([], size, 0)
            draft = _proposed_call(path, scores)
        else:
            row, draft = self._still(known, taken)
            if path.finished:
                self.emit(self._shown(start))
                return
        while True:
            self.emit(self._shown(start, draft.tokens))
            row = self.drawn(row, len(self.ids))
            following = path.take(path.likeliest(row, prior(self.ids[start:])))
            self.ids.append(following)
            if not path.finished:
                tokens, sure = draft.put(following)
                rows, scores = yield from self._checked(tokens, size, sure)
                agreed, row = self._kept(rows, tokens, taken)
                if not path.finished:
                    fresh = scores[1 + agreed - sure :] if agreed >= sure else scores[:0]
                    draft = _proposed_call(path, fresh) if len(fresh) else draft.behind(agreed)
            if path.finished:
                self.emit(self._shown(start))
                return

    def _kept(
        self, rows: list[Tensor], tokens: list[int], stays: Callable[[Tensor, int], bool]
    ) -> tuple[int, Tensor]:
        """Write the tokens behind the first, which is written, as long as they stay; how many stand, and the
        scores behind the last of them."""
        agreed = 1
        for behind, token in zip(rows, tokens[1:], strict=False):
            if not stays(behind, token):
                break
            self.ids.append(token)
            agreed += 1
        return agreed, rows[min(agreed, len(rows)) - 1]

    def _checked(self, tokens: list[int], size: int, sure: int) -> Job[tuple[list[Tensor], Tensor]]:
        """Scores behind each of the tokens but an end mark; the first of them is the last one written.

        And those of a canvas, which begins with the last of the first `sure` tokens.
        """
        body = tokens[:-1] if tokens[-1] in (END, CALL) else tokens
        known = 1 + len(body) - min(sure, len(body))
        rows, scores = yield from self._pass(body[1:], size, known, len(body))
        return list(rows), scores

    def _pass(self, draft: list[int], size: int, known: int, count: int = 1) -> Job[tuple[Tensor, Tensor]]:
        """Read all that is written and a draft, and write a canvas that begins `known` tokens before the end.

        Its first token, if it is one of those that are read, stands on it; the others are open. Scores behind
        the last `count` tokens read, and of the canvas.
        """
        self.forwards += 1
        ids = self.base + self.ids + draft
        start = len(ids) - known
        canvas = [ids[start] if known else MASK, *[MASK] * (size - 1)]
        scores = yield Forward(self.c.cache, ids, count, canvas, start)
        self.c.remember(ids, scores.read)
        return scores.read, scores.canvas


def _proposed_call(path: CallPath, scores: Tensor) -> Proposal:
    """The best accepted way on through the open places of a canvas, by their scores (n, vocab)."""
    size = min(len(scores), path.left)
    logs = torch.log_softmax(scores[:size], -1).numpy()
    best = best_path(
        logs, path.automaton, [None] * size, path.state, open_end=True, budget_after=path.left - size,
        score_fill=True,
    )  # fmt: skip
    tokens = [int(token) for token in best.tokens[: best.length]]
    return Proposal(tokens, [math.exp(logs[place, token]) for place, token in enumerate(tokens)])


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
