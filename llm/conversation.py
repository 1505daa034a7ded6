"""One dialogue held by the local model: what was read, what is being written, what was committed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from stretto.llm.constraints.call_text import parse_call
from stretto.llm.denoise import EFFORT, Budget, Pass, write_call, write_words
from stretto.llm.format import (
    Segment,
    message_segments,
    say_segment,
    system_segment,
    tool_segment,
    user_segment,
)
from stretto.llm.language_model import (
    AUTO,
    Call,
    Canvas,
    Draft,
    Effort,
    Settled,
    ToolChoice,
    ToolSpec,
    TurnSignal,
)
from stretto.llm.spans import SpanPrior
from stretto.llm.tokenizer import CALL, END, MASK, SAY
from torch import Tensor

if TYPE_CHECKING:
    from stretto.llm.local import LocalModel

T = TypeVar("T")

SAY_CANVAS, CALL_CANVAS = 16, 32
LONGEST_REPLY, LONGEST_CALL, LONGEST_TURN = 96, 128, 320
"""Tokens of one reply, of one call, and behind which no further call of the same turn begins."""
LONGEST_STRING = 40
"""Tokens of one free string or number in a call, where the causal mode writes or checks it: a model that has
lost its way in one is led out of it."""
LONGEST_WORDS = 256
"""Tokens kept of one turn of the caller (the last ones)."""


@dataclass
class _Turn:
    """Segments that stand or fall together; `draft` is the revision they came from, if any."""

    segments: list[Segment]
    draft: int | None = None


class Writing:
    """The state of one draft: tokens behind the history, forwards so far."""

    def __init__(
        self,
        conversation: LocalConversation,
        budget: Budget,
        deadline: float | None,
        revise: Sequence[int] = (),
    ) -> None:
        self.c, self.budget, self.deadline = conversation, budget, deadline
        self.old = list(revise)
        """Tokens of a draft made for an earlier version of what was heard."""
        self.base = conversation.prompt()
        self.tools, self.must_call = conversation.callable()
        self.ids: list[int] = []
        self.segments: list[Segment] = []
        self.text = ""
        self.calls: list[Call] = []
        self.forwards = 0
        self._scores: Tensor | None = None
        """Of the pass before over the same canvas."""

    def late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def next_logits(self) -> Tensor:
        """The causal head's scores behind everything written so far."""
        self.forwards += 1
        self._scores = None
        return self.c.sync(self.base + self.ids)

    def forward(self, canvas: Tensor) -> Tensor:
        """Scores (n, vocab) of a canvas (n,) behind everything read; the passes of one follow each other."""
        self.forwards += 1
        model = self.c.model.transformer
        canvas = canvas.to(model.embed_tokens.weight.device)
        belief = None
        if model.config.self_conditioning and self._scores is not None:
            belief = model.believed(self._scores) * (canvas == MASK)[:, None]
        scores = model.logits(model.write(canvas, self.c.cache, belief))
        if model.config.self_conditioning:
            self._scores = scores.clone()  # what is returned is changed by those who choose from it
        return scores.float().cpu()

    def steps(self) -> Iterator[Canvas | Settled]:
        """Write the whole turn; every item is one forward or follows from it."""
        logits = self.next_logits()
        speak = not self.tools or (not self.must_call and bool(logits[SAY] >= logits[CALL]))
        self.ids.append(SAY if speak else CALL)
        more = True
        if speak:
            more = yield from self._say()
        while more and len(self.ids) < LONGEST_TURN:
            more = yield from self._call()

    def _say(self) -> Generator[Canvas | Settled, None, bool]:
        """A reply; True if a call follows it."""
        start = len(self.ids)
        head = self.ids[start - 1 :]
        yield from self._words(start)
        self.text = self.c.decode(self.ids[start:])
        self.segments.append(Segment("say", tuple(head), tuple(self.ids[start:])))
        return self.ids[-1] == CALL

    def _words(self, start: int) -> Iterator[Canvas | Settled]:
        """The words of a reply up to its end mark, canvas after canvas."""
        while True:
            self.next_logits()
            for step in write_words(self.forward, SAY_CANVAS, self.budget, self.late, bool(self.tools)):
                yield self._canvas(step)
                text = self.c.decode(self.ids[start:] + list(step.canvas[: step.settled]))
                if text:
                    yield Settled(text)
            self.ids += takewhile(lambda t: t != MASK, step.canvas[: step.length])
            closed = self.ids[-1] in (END, CALL)
            if not closed and len(self.ids) - start >= LONGEST_REPLY:
                self.ids.append(END)
                closed = True
            if closed:
                return

    def _call(self) -> Generator[Canvas | Settled, None, bool]:
        """One call; True if another follows."""
        first = not self.segments
        begin = len(self.ids)
        tool = self._choose_tool()
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

    def _arguments(self, start: int, tool: ToolSpec) -> Iterator[Canvas | Settled]:
        """The arguments of a call up to its end mark, canvas after canvas."""
        automaton = self.c.model.vocabulary.compile(tool.parameters)
        state, left = 0, LONGEST_CALL
        expected = self._prior(tool)

        def prior(written: NDArray[np.int64]) -> NDArray[np.float32] | None:
            return expected([*self.ids[start:], *written.tolist()])

        while True:
            self.next_logits()
            size = min(CALL_CANVAS, left)
            left -= size
            for step in write_call(self.forward, size, self.budget, automaton, state, left, self.late, prior):
                yield self._canvas(step)
            self.ids += step.canvas[: step.length]
            if step.state is None or automaton.is_final(step.state):
                return
            state = step.state

    def _prior(self, tool: ToolSpec) -> Callable[[list[int]], NDArray[np.float32] | None]:
        """In free strings words of the conversation are preferred; given the arguments written so far."""
        tokenizer = self.c.model.tokenizer
        spans = SpanPrior(self.c.model.pieces, self.c.words(self.text))
        properties = tool.parameters.get("properties", {})
        return lambda written: spans.of(tokenizer.decode(written), properties)

    def _choose_tool(self) -> ToolSpec:
        """Down the tree of tool names, asking the causal head where two names part."""
        tokenizer = self.c.model.tokenizer
        brace = tokenizer.encode('{"')[0]
        names = {(*tokenizer.encode(t.name), brace): t for t in self.tools}
        at: tuple[int, ...] = ()
        while True:
            options = {n[len(at)] for n in names if n[: len(at)] == at}
            if len(options) == 1:
                token = options.pop()
            else:
                logits = self.next_logits()
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


class LocalConversation:
    """A `Conversation` on the local engine; see the protocol for what the methods promise."""

    def __init__(
        self, model: LocalModel, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO
    ) -> None:
        self.model, self.tools, self.choice = model, list(tools), choice
        self.revision = 0
        self.name = secrets.token_hex(4)
        """Part of the ids of its calls, which are unique."""
        self._system = system_segment(model.tokenizer, system, tools)
        self._context = max(model.context, len(self._system.ids) + LONGEST_TURN + LONGEST_WORDS)
        longest = self._context + LONGEST_TURN + LONGEST_REPLY + LONGEST_CALL + CALL_CANVAS
        self.cache = model.transformer.new_cache(longest)
        self._turns: list[_Turn] = []
        self._pending: Segment | None = None
        self._read: list[int] = []
        self._last: Tensor | None = None
        self._names: dict[str, str] = {}
        self._busy = asyncio.Lock()
        self._closed = False

    # -- what the model has read ------------------------------------------------------------------

    def prompt(self) -> list[int]:
        """Tokens of the dialogue so far; the oldest turns are left out where they do not fit."""
        turns = [[t for s in turn.segments for t in s.ids] for turn in self._turns]
        if self._pending:
            turns.append(list(self._pending.ids))
        room = self._context - len(self._system.ids)
        kept: list[list[int]] = []
        for turn in reversed(turns):
            room -= len(turn)
            if room < 0 and kept:
                break
            kept.append(turn)
        return list(self._system.ids) + [t for turn in reversed(kept) for t in turn]

    def callable(self) -> tuple[list[ToolSpec], bool]:
        """The tools that the turn may call which comes next, and whether it must call one."""
        said = (s for turn in reversed(self._turns) for s in reversed(turn.segments))
        last = self._pending or next(said, None)
        after_result = last is not None and last.kind == "tool"
        tools = self.choice.among(self.tools, after_result)
        return tools, self.choice.forces(after_result)

    def sync(self, ids: list[int]) -> Tensor:
        """Make the cache hold exactly `ids`; rolls back to the common prefix, reads the rest."""
        if self._last is not None and self._read == ids:
            return self._last
        fresh = self._roll_back(ids)
        hidden = self.model.transformer.read(fresh, self.cache)
        return self._scored(ids, hidden[-1:])[-1]

    def sync_all(self, ids: list[int], count: int) -> Tensor:
        """`sync`; the scores behind each of the last `count` tokens (count, vocab)."""
        fresh = self._roll_back(ids, count)
        return self._scored(ids, self.model.transformer.read(fresh, self.cache)[-count:])

    def sync_and_draft(
        self, ids: list[int], canvas: Tensor, start: int, count: int = 1
    ) -> tuple[Tensor, Tensor]:
        """`sync`, and in the same pass a canvas that stands at `start`; see `Transformer.read_and_write`.

        Scores behind each of the last `count` tokens (count, vocab), and of the canvas (n, vocab).
        """
        fresh = self._roll_back(ids, count)
        transformer = self.model.transformer
        hidden, drafted = transformer.read_and_write(fresh, canvas.to(fresh.device), self.cache, start)
        return self._scored(ids, hidden[-count:]), transformer.logits(drafted).float().cpu()

    def _roll_back(self, ids: list[int], least: int = 1) -> Tensor:
        """Forget what does not begin `ids`; the tokens still to be read, the last `least` in any case."""
        same = 0
        for a, b in zip(self._read, ids[:-least], strict=False):
            if a != b:
                break
            same += 1
        self.cache.crop(same)
        self._read, self._last = ids[:same], None
        return torch.tensor(ids[same:], device=self.model.transformer.embed_tokens.weight.device)

    def _scored(self, ids: list[int], hidden: Tensor) -> Tensor:
        """Scores behind the last tokens read, by their hidden states."""
        scores = self.model.transformer.logits(hidden).float().cpu()
        self._read, self._last = list(ids), scores[-1]
        return scores

    def words(self, draft: str = "") -> list[str]:
        """All that was said and returned so far, and `draft`."""
        segments = [s for turn in self._turns for s in turn.segments]
        segments += [self._pending] if self._pending else []
        return [*(self.model.tokenizer.decode(s.body) for s in segments), draft]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without marks, trimmed."""
        return self.model.tokenizer.decode(list(ids)).strip()

    async def _run(self, job: Callable[[], T]) -> T:
        if self._closed:
            raise RuntimeError("the conversation is closed; open another one")
        return await asyncio.get_running_loop().run_in_executor(self.model.worker, job)

    # -- the seam -----------------------------------------------------------------------------------

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        """Take the caller's words so far; see `Conversation.hear`."""
        async with self._busy:
            words = f"{stable} {tentative}".strip()
            heard = user_segment(self.model.tokenizer, words)
            self._pending = replace(heard, body=heard.body[-LONGEST_WORDS:])
            return await self._run(self._signal)

    def _signal(self) -> TurnSignal:
        prompt = self.prompt()
        bare = len(prompt) - 1
        stops = self.model.stops
        while prompt[bare - 1] in stops:
            bare -= 1
        # A recogniser writes a full stop at every pause: what counts is whether one (or the end) is due.
        nexts = torch.softmax(self.sync(prompt[:bare]), -1)
        p_end = float(nexts[[END, *stops]].sum())
        routing = torch.softmax(self.sync(prompt)[[SAY, CALL]], -1)
        return TurnSignal(p_end, float(routing[0]), float(routing[1]))

    async def draft(
        self, effort: Effort = "medium", deadline_ms: float | None = None, revise: Draft | None = None
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        """Write a turn; see `Conversation.draft`. Only the sampler "verified" makes use of `revise`."""
        async with self._busy:
            began = time.monotonic()
            self.revision += 1
            deadline = None if deadline_ms is None else began + deadline_ms / 1000
            old = [t for segment in revise.segments for t in segment] if revise is not None else []
            writing = await self._run(lambda: self.model.writer(self, EFFORT[effort], deadline, old))
            steps = writing.steps()
            while (item := await self._run(lambda: next(steps, None))) is not None:
                yield item
            yield Draft(
                writing.text,
                tuple(writing.calls),
                writing.forwards,
                self.revision,
                (time.monotonic() - began) * 1000,
                len(writing.ids),
                tuple(s.ids for s in writing.segments),
            )

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        """Put a draft into the history, or correct what it holds of it; see `Conversation.commit`."""
        async with self._busy:
            self._names |= {c.id: c.name for c in draft.calls}
            tokenizer = self.model.tokenizer
            segments = [
                Segment("say" if ids[0] == SAY else "call", ids[:1], ids[1:]) for ids in draft.segments
            ]
            if heard is not None and draft.text and heard.strip() != draft.text.strip():
                said = say_segment(tokenizer, heard, bool(draft.calls))
                segments = ([said] if heard.strip() or draft.calls else []) + segments[1:]
            held = next((t for t in self._turns if t.draft == draft.revision), None)
            if held is None:
                self._keep_pending()
                held = _Turn([], draft.revision)
                self._turns.append(held)
            held.segments = segments

    async def say(self, text: str) -> None:
        """Words of the agent that the model did not write; see `Conversation.say`."""
        async with self._busy:
            self._keep_pending()
            self._turns.append(_Turn([say_segment(self.model.tokenizer, text)]))

    async def tool_result(self, call_id: str, content: str) -> None:
        """A result of a committed call; see `Conversation.tool_result`."""
        async with self._busy:
            name = self._names.get(call_id)
            if name is None:
                raise KeyError(f"no committed call {call_id!r}: commit its draft before its result")
            self._turns.append(_Turn([tool_segment(self.model.tokenizer, name, content)]))

    async def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Take these messages for the history; see `Conversation.restore`. What is the same stays read."""
        schemas = {tool.name: tool.parameters for tool in self.tools}
        async with self._busy:
            self._names = {
                call["id"]: call["name"] for message in messages for call in message.get("tool_calls") or []
            }
            told = [message_segments(self.model.tokenizer, message, schemas) for message in messages]
            self._turns = [_Turn(segments) for segments in told if segments]

    def _keep_pending(self) -> None:
        if self._pending is not None:
            self._turns.append(_Turn([self._pending]))
            self._pending = None

    def close(self) -> None:
        """Free the cache; later calls raise."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # the model itself may be closed already
            self.model.worker.submit(self._free)

    def _free(self) -> None:
        # In the worker thread: a forward that still runs is finished first.
        self.cache, self._read, self._last = self.model.transformer.new_cache(0), [], None
