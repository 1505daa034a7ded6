"""One dialogue held by the local model: what was read, what is being written, what was committed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from stretto.llm.choosing import Mark, alternatives, choosing
from stretto.llm.constraints.call_path import LONGEST_CALL
from stretto.llm.engine import Forward, Job, Priority, Request
from stretto.llm.format import (
    Segment,
    message_segments,
    say_segment,
    system_segment,
    tool_segment,
    user_segment,
)
from stretto.llm.infill import Gap, Infilled, compiled, infilled, infilling
from stretto.llm.language_model import (
    AUTO,
    FREE,
    Busy,
    Canvas,
    Draft,
    Effort,
    Settled,
    Steering,
    ToolChoice,
    ToolSpec,
    TurnSignal,
)
from stretto.llm.samplers import CANVAS_SAMPLERS, EFFORT
from stretto.llm.shown import Shown
from stretto.llm.tokenizer import CALL, END, SAY
from stretto.llm.writing import CALL_CANVAS, LONGEST_REPLY, LONGEST_TURN, steered
from torch import Tensor

if TYPE_CHECKING:
    from stretto.llm.local import LocalModel

LONGEST_WORDS = 256
"""Tokens kept of one turn of the caller (the last ones)."""
KEPT = 0.7
"""Share of the room for the dialogue that is told still when the oldest turns are left out."""
WORTH_READING = 32
"""New tokens that are read before they are needed."""


@dataclass
class _Turn:
    """Segments that stand or fall together; `draft` is the revision they came from, if any."""

    segments: list[Segment]
    draft: int | None = None


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
        self.cache = model.transformer.new_cache(longest, at_once=False)
        self._turns: list[_Turn] = []
        self._pending: Segment | None = None
        self._known: tuple[list[int], Tensor] | None = None
        """What was read last, and the scores (vocab,) behind it."""
        self._request: Request[None] | None = None
        self._priority = Priority.DUE
        self._ahead: Request[None] | None = None
        self._oldest = 0
        """The first of the turns that are still told."""
        self._names: dict[str, str] = {}
        self._busy = asyncio.Lock()
        self._closed = False

    # -- what the model has read ------------------------------------------------------------------

    def prompt(self) -> list[int]:
        """Tokens of the dialogue so far; the oldest turns are left out where they do not fit.

        Then as many as leave a good part of the room free: what is read once more is read once in many turns.
        """
        turns = [[t for s in turn.segments for t in s.ids] for turn in self._turns]
        if self._pending:
            turns.append(list(self._pending.ids))
        room = self._context - len(self._system.ids)
        told = sum(map(len, turns[self._oldest :]))
        if told > room:
            while told > room * KEPT and self._oldest < len(turns) - 1:
                told -= len(turns[self._oldest])
                self._oldest += 1
        return list(self._system.ids) + [t for turn in turns[self._oldest :] for t in turn]

    def callable(self) -> tuple[list[ToolSpec], bool]:
        """The tools that the turn may call which comes next, and whether it must call one."""
        said = (s for turn in reversed(self._turns) for s in reversed(turn.segments))
        last = self._pending or next(said, None)
        after_result = last is not None and last.kind == "tool"
        tools = self.choice.among(self.tools, after_result)
        return tools, self.choice.forces(after_result)

    def read(self, ids: list[int], count: int = 1) -> Job[Tensor]:
        """Make the cache hold exactly `ids`; the scores (count, vocab) behind each of the last tokens.

        Takes no pass where just that was read last.
        """
        if count == 1 and self._known is not None and self._known[0] == ids:
            return self._known[1][None]
        scores = yield Forward(self.cache, ids, count)
        self.remember(ids, scores.read)
        return scores.read

    def remember(self, ids: list[int], scores: Tensor) -> None:
        """`scores` (count, vocab) of the last tokens of `ids` are known."""
        # A copy: they are part of the scores of a whole pass, of all requests in it.
        self._known = (ids, scores[-1].clone()) if len(scores) else None

    def words(self, draft: str = "") -> list[str]:
        """All that was said and returned so far, and `draft`."""
        segments = [s for turn in self._turns for s in turn.segments]
        segments += [self._pending] if self._pending else []
        return [*(self.model.tokenizer.decode(s.body) for s in segments), draft]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without marks, trimmed."""
        return self.model.tokenizer.decode(list(ids)).strip()

    # -- the seam -----------------------------------------------------------------------------------

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        """Take the caller's words so far; see `Conversation.hear`."""
        async with self._working():
            words = " ".join(f"{stable} {tentative}".split())  # tentative words may begin with their space
            heard = user_segment(self.model.tokenizer, words)
            self._pending = replace(heard, body=heard.body[-LONGEST_WORDS:])
            return await self.model.engine.run(self._signal())

    def _signal(self) -> Job[TurnSignal]:
        prompt = self.prompt()
        bare = len(prompt) - 1
        stops = self.model.stops
        while prompt[bare - 1] in stops:
            bare -= 1
        # A recogniser writes a full stop at every pause: what counts is whether one (or the end) is due.
        ends = yield from self.read(prompt[:bare])
        p_end = float(torch.softmax(ends[-1], -1)[[END, *stops]].sum())
        behind = yield from self.read(prompt)
        routing = torch.softmax(behind[-1][[SAY, CALL]], -1)
        return TurnSignal(p_end, float(routing[0]), float(routing[1]))

    async def draft(
        self,
        effort: Effort = "medium",
        deadline_ms: float | None = None,
        revise: Draft | None = None,
        steering: Steering = FREE,
        pinned: str = "",
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        """Write a turn; see `Conversation.draft`.

        `pinned`: the beginning of the revised draft's words that was spoken: it stays. Raises Busy where the
        engine has too many requests, ValueError for what is pinned and not of the draft, or steered to
        something that cannot be. Left early, it takes part in no further pass.
        """
        async with self._working():
            began = time.monotonic()
            self.revision += 1
            deadline = None if deadline_ms is None else began + deadline_ms / 1000
            old = [t for segment in revise.segments for t in segment] if revise is not None else []
            if steering != FREE:  # compiling takes a while, and may say what is wrong
                tools, _ = self.callable()
                await asyncio.to_thread(steered, self.model.vocabulary, steering, bool(tools))
            shown = Shown()
            spoken = self._pinned(old, pinned, steering) if pinned else 0
            writing = self.model.writer(self, EFFORT[effort], deadline, shown.put, old, spoken, steering)
            self._request = self.model.engine.submit(writing.turn(), self._priority)
            done = asyncio.wrap_future(self._request.future)
            done.add_done_callback(shown.end)
            try:
                async for item in shown:
                    yield item
                await done
            finally:
                done.cancel()
                self._request = None
            yield Draft(
                writing.text,
                tuple(writing.calls),
                writing.forwards,
                self.revision,
                (time.monotonic() - began) * 1000,
                len(writing.ids),
                tuple(s.ids for s in writing.segments),
                writing.cut,
            )

    def _pinned(self, old: list[int], spoken: str, steering: Steering) -> int:
        """How many tokens of a draft hold what was spoken of it."""
        if steering.never or steering.required or steering.schema is not None:
            raise ValueError("what was spoken cannot be steered any more; pin it or steer the reply")
        for count in range(1, len(old) + 1):
            if self.decode(old[1:count]).startswith(spoken.strip()):
                return count
        raise ValueError(f"{spoken[:40]!r} is not how the draft begins that is revised")

    async def choose(
        self, options: Sequence[str], mark: Mark = "say", begun: str = "", whole: bool = True
    ) -> list[float]:
        """How likely each of some texts is to come next, among them alone, in one forward.

        They stand behind `begun`, which stands behind the mark of words ("say": what would the agent say) or
        of a call ("call": which tool). `whole`: a text is all that is said, or the whole name of a tool; else
        more may follow it. Raises ValueError for fewer than two options, or two that are the same tokens.
        """
        async with self._working():
            start, branches = alternatives(self.model.tokenizer, options, mark, begun, whole)
            job = choosing(self.cache, self.prompt() + start, branches)
            return await self.model.engine.run(job, self._priority)

    async def infill(self, template: Sequence[str | Gap], effort: Effort = "medium") -> Infilled:
        """Have the gaps of a reply filled in, of which the rest is given; see `stretto.llm.infill`."""
        async with self._working():
            automaton = await asyncio.to_thread(compiled, self.model.vocabulary, tuple(template))
            sampler = CANVAS_SAMPLERS["threshold"](EFFORT[effort])
            job = infilling(self.cache, [*self.prompt(), SAY], automaton, sampler)
            ids, forwards = await self.model.engine.run(job, self._priority)
            return infilled(self.decode(ids), template, forwards)

    def prioritise(self, due: bool) -> None:
        """Whether someone waits for what is written; see `Prioritised`."""
        self._priority = Priority.DUE if due else Priority.SPECULATION
        if self._request is not None:
            self._request.priority = self._priority

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
            self._read_ahead()

    async def say(self, text: str) -> None:
        """Words of the agent that the model did not write; see `Conversation.say`."""
        async with self._busy:
            self._keep_pending()
            self._turns.append(_Turn([say_segment(self.model.tokenizer, text)]))
            self._read_ahead()

    async def tool_result(self, call_id: str, content: str) -> None:
        """A result of a committed call; see `Conversation.tool_result`."""
        async with self._busy:
            name = self._names.get(call_id)
            if name is None:
                raise KeyError(f"no committed call {call_id!r}: commit its draft before its result")
            self._turns.append(_Turn([tool_segment(self.model.tokenizer, name, content)]))
            self._read_ahead()

    async def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Take these messages for the history; see `Conversation.restore`. What is the same stays read."""
        schemas = {tool.name: tool.parameters for tool in self.tools}
        async with self._busy:
            self._names = {
                call["id"]: call["name"] for message in messages for call in message.get("tool_calls") or []
            }
            told = [message_segments(self.model.tokenizer, message, schemas) for message in messages]
            self._turns = [_Turn(segments) for segments in told if segments]
            self._oldest = 0
            self._read_ahead()

    async def fork(self) -> LocalConversation:
        """Another conversation that has come as far as this one and goes its own way; close both."""
        async with self._working():
            other = copy(self)
            other.cache = await self.model.engine.call(self.cache.fork)
            other.name, other._busy = secrets.token_hex(4), asyncio.Lock()
            other._turns, other._names = [replace(turn) for turn in self._turns], dict(self._names)
            return other

    def _read_ahead(self) -> None:
        """Have what was said read while nobody waits for it."""
        self._stop_ahead()
        if not self._closed:
            with contextlib.suppress(Busy, RuntimeError):  # then it is read when it is needed
                self._ahead = self.model.engine.submit(self._reading(self.prompt()), Priority.AHEAD)

    def _reading(self, ids: list[int]) -> Job[None]:
        if len(ids) - self.cache.common(ids) >= WORTH_READING:
            yield Forward(self.cache, ids, 0)

    def _stop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.future.cancel()
            self._ahead = None

    def _keep_pending(self) -> None:
        if self._pending is not None:
            self._turns.append(_Turn([self._pending]))
            self._pending = None

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """The model works for this conversation, on one thing at a time; nothing is read ahead meanwhile."""
        async with self._busy:
            if self._closed:
                raise RuntimeError("the conversation is closed; open another one")
            self._stop_ahead()
            yield

    def close(self) -> None:
        """Free the cache; later calls raise."""
        self._closed = True
        self._stop_ahead()
        if self._request is not None:
            self._request.future.cancel()
        # In the engine's thread: a pass that still runs is finished first.
        self.model.engine.post(lambda: self.model.engine.pool.forget(self.cache))
