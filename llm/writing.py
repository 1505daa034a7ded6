"""One turn of the agent on its way: a job of the engine that asks for pass after pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from stretto.llm.constraints.call_path import CallPath
from stretto.llm.constraints.call_text import compact_json, parse_call, parse_value
from stretto.llm.constraints.speech import Pace, Unsayable
from stretto.llm.constraints.tokens import TokenAutomaton, TokenVocabulary, shortest
from stretto.llm.denoise import Pass, denoised, write_call, write_words
from stretto.llm.engine import Job
from stretto.llm.format import Segment, opening_brace
from stretto.llm.language_model import FREE, Call, Canvas, Settled, Steering, ToolSpec
from stretto.llm.samplers import Budget, Sampler
from stretto.llm.spans import SpanPrior
from stretto.llm.tokenizer import CALL, END, MASK, SAY
from torch import Tensor

if TYPE_CHECKING:
    from stretto.llm.conversation import LocalConversation

SAY_CANVAS, CALL_CANVAS = 16, 32
LONGEST_REPLY, LONGEST_TURN = 96, 320
"""Tokens of one reply, and behind which no further call of the same turn begins."""

Emit = Callable[[Canvas | Settled], None]
Prior = Callable[[list[int]], NDArray[np.float32] | None]
"""What is written so far -> log-prior (vocab,) of the token behind it, or None."""


def unprejudiced(written: list[int]) -> None:
    """No prior."""


class Writing:
    """The state of one draft: tokens behind the history, forwards so far."""

    def __init__(
        self,
        conversation: LocalConversation,
        budget: Budget,
        deadline: float | None,
        emit: Emit,
        revise: Sequence[int] = (),
        pinned: int = 0,
        sampler: Sampler | None = None,
        steering: Steering = FREE,
    ) -> None:
        self.c, self.budget, self.deadline, self.emit = conversation, budget, deadline, emit
        self.old = list(revise)
        """Tokens of a draft made for an earlier version of what was heard."""
        self.pinned = pinned
        """How many of them stay, whatever was heard since: they were spoken."""
        self.sampler, self.steering = sampler, steering
        self.longest = longest_reply(steering)
        self.pace = Pace(steering.most_seconds) if steering.most_seconds is not None else None
        self.base = conversation.prompt()
        self.tools, self.must_call = conversation.callable()
        self.words_path = steered(conversation.model.vocabulary, steering, bool(self.tools))
        """Where the words are steered: the way that they may go."""
        self.ids: list[int] = []
        self.segments: list[Segment] = []
        self.text = ""
        self.calls: list[Call] = []
        self.forwards = 0
        self.cut = False

    def late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def next_logits(self) -> Job[Tensor]:
        """The causal head's scores (vocab,) behind everything written so far."""
        self._count()
        rows = yield from self.c.read(self.base + self.ids)
        return rows[-1]

    def turn(self) -> Job[None]:
        """Write the whole turn."""
        logits = yield from self.next_logits()
        if self.pinned:
            self.must_call = False
            logits = logits.clone()
            logits[SAY] = torch.inf
        speak = not self.tools or (not self.must_call and bool(logits[SAY] >= logits[CALL]))
        self.ids.append(SAY if speak else CALL)
        more = True
        if speak:
            more = yield from self._say()
        while more and len(self.ids) < LONGEST_TURN:
            more = yield from self._call()

    def _say(self) -> Job[bool]:
        """A reply; True if a call follows it."""
        start = len(self.ids)
        head = self.ids[start - 1 :]
        yield from self._words(start)
        self._end_in_time(start)
        self.text = self.c.decode(self.ids[start:])
        if self.steering.schema is not None:
            self.text = compact_json(parse_value(self.text, self.steering.schema))
            self.emit(Settled(self.text))
        self.segments.append(Segment("say", tuple(head), tuple(self.ids[start:])))
        return self.ids[-1] == CALL

    def _words(self, start: int) -> Job[None]:
        """The words of a reply up to its end mark, canvas after canvas."""
        assert self.sampler is not None

        def show(step: Pass) -> None:
            self.emit(self._canvas(step))
            self._settle(self.ids[start:] + list(step.canvas[: step.settled]))

        if self.words_path is not None:
            yield from self._under(start, self.words_path, SAY_CANVAS, unprejudiced, show)
            return
        while True:
            yield from self.next_logits()
            size = min(SAY_CANVAS, self.longest - (len(self.ids) - start))
            old = self._stale()
            pinned = max(min(self.pinned - len(self.ids), size), 0)
            steps = write_words(
                size, self.sampler, self.late, bool(self.tools), self._draw(), old[:size], pinned
            )
            step = yield from self._denoised(steps, show)
            self.ids += takewhile(lambda t: t != MASK, step.canvas[: step.length])
            closed = self.ids[-1] in (END, CALL)
            if not closed and (self._full(start) or len(self.ids) - start >= self.longest):
                self.ids.append(END)
                closed = self.cut = True
            if closed:
                return

    def _stale(self) -> list[int]:
        """What is left of the words of an old draft behind those that are written, which begin alike."""
        if not self.old or self.old[0] != SAY or self.old[: len(self.ids)] != self.ids:
            return []
        words = self.old[len(self.ids) :]
        end = next((n for n, token in enumerate(words) if token in (END, CALL)), len(words) - 1)
        return words[: end + 1]

    def _full(self, start: int) -> bool:
        """Whether only the end mark of the words has room."""
        if self.pace is not None and len(self.c.decode(self.ids[start:])) >= self.pace.characters:
            return True
        return len(self.ids) - start >= self.longest - 1

    def _settle(self, ids: list[int]) -> None:
        """Hand out the words that no later pass changes: where the time is short, whole sentences."""
        if self.steering.schema is not None:
            return  # JSON is told when it is whole
        text = self.c.decode(ids)
        if self.pace is not None:
            text = self.pace.sentences(text)
        if text:
            self.emit(Settled(text))

    def _end_in_time(self, start: int) -> None:
        """Let the words end with the last sentence that there is time for; what is required goes first."""
        if self.pace is None:
            return
        words = self.ids[start:-1]
        show = self.c.model.tokenizer.show
        kept = self.pace.kept("", [show(token) for token in words])
        required = self.steering.required
        if kept == len(words) or not all(p in self.c.decode(words[:kept]) for p in required):
            return
        self.ids[start:] = [*words[:kept], END]
        self.cut = True

    def _denoised(self, steps: Generator[Pass, Tensor, Pass], show: Callable[[Pass], None]) -> Job[Pass]:
        """Have a canvas written behind everything so far; every pass of it is shown."""
        return denoised(self.c.cache, self.base + self.ids, steps, show, self._count)

    def _count(self) -> None:
        self.forwards += 1

    def _draw(self) -> Callable[[Tensor], Tensor] | None:
        """How tokens of the next canvas are drawn, where they are."""
        if self.steering.temperature <= 0:
            return None
        begin = len(self.ids)
        return lambda scores: torch.stack([self.drawn(row, begin + n) for n, row in enumerate(scores)])

    def drawn(self, row: Tensor, place: int) -> Tensor:
        """Scores (vocab,) of the token at a place of the turn, whose largest one is drawn by chance.

        (Gumbel-max.) The chance belongs to the place: whoever writes it, in whatever pass, draws the same.
        """
        if self.steering.temperature <= 0:
            return row
        seed = (self.steering.seed * 4099 + place) % (1 << 63)
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(len(row), generator=generator).clamp(1e-12, 1 - 1e-7)
        return row / self.steering.temperature - torch.log(-torch.log(uniform))

    def _call(self) -> Job[bool]:
        """One call; True if another follows."""
        first = not self.segments
        begin = len(self.ids)
        tool = yield from self._choose_tool()
        start = len(self.ids)
        yield from self._arguments(start, tool)
        if self.must_call and len(self.tools) == 1 and self.ids[-1] == CALL:
            self.ids[-1] = END  # the one tool that may be called is called once
        self.tools = self.c.tools  # a choice is met by one call: what follows it is free
        head = ((CALL,) if first else ()) + tuple(self.ids[begin:start])
        self.segments.append(Segment("call", head, tuple(self.ids[start:])))
        _, arguments = parse_call(tool.name + self.c.decode(self.ids[start:]), tool.parameters)
        self.calls.append(
            Call(f"call_{self.c.name}_{self.c.revision}_{len(self.calls)}", tool.name, arguments)
        )
        return self.ids[-1] == CALL

    def _arguments(self, start: int, tool: ToolSpec) -> Job[None]:
        """The arguments of a call up to its end mark, canvas after canvas."""
        path = CallPath(self._automaton(tool))
        yield from self._under(
            start, path, CALL_CANVAS, self._prior(tool), lambda step: self.emit(self._canvas(step))
        )

    @cached_property
    def _said(self) -> list[str]:
        """All that was said and returned before the calls of this turn."""
        return self.c.words(self.text)

    def _automaton(self, tool: ToolSpec) -> TokenAutomaton:
        return self.c.model.vocabulary.compile(tool.parameters, spans=self._said)

    def _under(
        self, start: int, path: CallPath, most: int, prior: Prior, show: Callable[[Pass], None]
    ) -> Job[None]:
        """Write on to the end of a path, canvas after canvas of at most so many tokens."""
        assert self.sampler is not None

        def expected(written: NDArray[np.int64]) -> NDArray[np.float32] | None:
            return prior([*self.ids[start:], *written.tolist()])

        while not path.finished:
            yield from self.next_logits()
            size = min(most, path.left)
            left = path.left - size
            steps = write_call(
                size, self.sampler, path.automaton, path.state, left, self.late, expected, self._draw()
            )
            step = yield from self._denoised(steps, show)
            self.ids += step.canvas[: step.length]
            for token in step.canvas[: step.length]:
                path.take(token)

    def _prior(self, tool: ToolSpec) -> Prior:
        """In free strings words of the conversation are preferred; given the arguments written so far."""
        tokenizer = self.c.model.tokenizer
        spans = SpanPrior(self.c.model.pieces, self._said)
        properties = tool.parameters.get("properties", {})
        return lambda written: spans.of(tokenizer.decode(written), properties)

    def _choose_tool(self) -> Job[ToolSpec]:
        """Down the tree of tool names, asking the causal head where two names part."""
        tokenizer = self.c.model.tokenizer
        brace = opening_brace(tokenizer)
        names = {(*tokenizer.encode(t.name), brace): t for t in self.tools}
        at: tuple[int, ...] = ()
        while True:
            options = {n[len(at)] for n in names if n[: len(at)] == at}
            if len(options) == 1:
                token = options.pop()
            else:
                logits = yield from self.next_logits()
                token = max(sorted(options), key=lambda t: float(logits[t]))
            if token == brace:
                return names[(*at, brace)]
            at += (token,)
            self.ids.append(token)

    def _shown(self, start: int, draft: Sequence[int] = ()) -> Canvas:
        """What is settled, and what is only drafted as well."""
        tokens = [*self.ids[start:], *draft]
        return self._canvas(Pass(tuple(tokens), len(self.ids) - start, False, len(tokens)))

    def _canvas(self, step: Pass) -> Canvas:
        show = self.c.model.tokenizer.show
        tokens = tuple(None if t == MASK else show(t) for t in step.canvas[: step.length])
        return Canvas(tokens, self.forwards)


def longest_reply(steering: Steering) -> int:
    """Most tokens that the words of a reply may have."""
    return min(LONGEST_REPLY, steering.most_tokens or LONGEST_REPLY)


def steered(vocabulary: TokenVocabulary, steering: Steering, call_follows: bool) -> CallPath | None:
    """The way that the words of a reply may go, where that is not any.

    Compiled once. Raises UnsupportedSchema, and Unsayable for phrases that no reply of that length keeps to.
    """
    longest = longest_reply(steering)
    if steering.schema is not None:
        return CallPath(vocabulary.value(steering.schema, longest), left=longest)
    if not (steering.never or steering.required):
        return None
    automaton = vocabulary.reply(steering.never, steering.required, call_follows)
    if (least := shortest(automaton)) > longest:
        raise Unsayable(f"what is required takes {least} tokens, a reply has at most {longest}")
    return CallPath(automaton, left=longest, longest_string=None)
