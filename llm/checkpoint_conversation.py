"""One dialogue that another family's checkpoint writes: prompts of what was heard, calls read back."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from stretto.llm.chat_conversation import ChatConversation, correction
from stretto.llm.chat_history import Message
from stretto.llm.chat_reply import WrittenCall, joined
from stretto.llm.checkpoints.diffusion_gemma import DiffusionGemma
from stretto.llm.checkpoints.tool_calls import OPENS, Said, parse_turn, settled_words
from stretto.llm.constraints.call_text import compact_json
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.generation import Generation, Step
from stretto.llm.language_model import (
    AUTO,
    FREE,
    Canvas,
    Draft,
    Effort,
    Settled,
    Steering,
    ToolChoice,
    ToolSpec,
)
from stretto.llm.shown import Shown

if TYPE_CHECKING:
    from stretto.llm.checkpoint_model import CheckpointModel


class GivenUp(RuntimeError):
    """Nobody wants the draft any more."""


class CheckpointConversation(ChatConversation):
    """A `Conversation` that a checkpoint writes; see the protocol for what the methods promise.

    Nothing of it is left out: a dialogue that has outgrown the model is said to be too long.
    """

    def __init__(
        self, model: CheckpointModel, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO
    ) -> None:
        super().__init__(system, tools, choice, sys.maxsize, sys.maxsize)
        self.model = model

    async def draft(
        self,
        effort: Effort = "medium",
        deadline_ms: float | None = None,
        revise: Draft | None = None,
        steering: Steering = FREE,
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        """Write a turn; see `Conversation.draft`. `revise` changes nothing.

        A wrong call is asked for once more; where the second one is wrong, too, the words say what was.
        Of `steering` only tokens, temperature and seed are kept to. Raises ContextOverflow, UnsupportedSchema
        for a schema of the words, ValueError for other steering.
        """
        if steering.schema is not None:
            raise UnsupportedSchema("", "this model writes without a grammar", "ask for text")
        if steering.never or steering.required or steering.most_seconds is not None:
            raise ValueError("this model keeps to no phrases or seconds: steer tokens and temperature")
        async with self._busy:
            self._check_open()
            began = time.monotonic()
            deadline = None if deadline_ms is None else began + deadline_ms / 1000
            self._revision += 1
            messages, allowed, must_call = self._due()
            first, told, forwards, tokens = "", "", 0, 0
            for corrected in (False, True):
                turn = _Turn(self, messages, allowed, must_call, effort, steering, deadline)
                async with aclosing(turn.written()) as items:
                    async for item in items:
                        if isinstance(item, Canvas):
                            yield replace(item, forward=item.forward + forwards)
                        elif not first:  # what was settled before a correction stays
                            told = item.text
                            yield item
                forwards, tokens = forwards + turn.answer.forwards, tokens + len(turn.answer.ids)
                said = turn.said
                text = joined(first, said.words, bool(said.calls))
                written, broken = _as_written(said)
                calls, errors = self._checked(written, allowed, must_call)
                errors |= broken
                if not errors:
                    break
                if corrected or turn.late or not turn.answer.stopped:
                    calls = []
                    text = f"{text} I could not make that call: {'; '.join(errors.values())}.".lstrip()
                    break
                first = said.words
                messages = [*messages, *correction(first, written, errors, bool(allowed))]
            if text != told:
                yield Settled(text)
            ms = (time.monotonic() - began) * 1000
            yield Draft(
                text,
                tuple(calls),
                forwards,
                self._revision,
                ms,
                tokens,
                cut=not turn.answer.stopped and not calls,
            )


def _as_written(said: Said) -> tuple[list[WrittenCall], dict[int, str]]:
    """The calls of a turn to be checked, and what is wrong with those that could not be read."""
    calls = [WrittenCall("", call.name, compact_json(call.arguments)) for call in said.calls]
    errors = {len(calls) + i: f"a call could not be read: {b.reason}" for i, b in enumerate(said.broken)}
    return [*calls, *(WrittenCall("", "", broken.text) for broken in said.broken)], errors


class _Turn:
    """One answer on its way."""

    def __init__(
        self,
        conversation: CheckpointConversation,
        messages: Sequence[Message],
        allowed: Sequence[str],
        must_call: bool,
        effort: Effort,
        steering: Steering,
        deadline: float | None,
    ) -> None:
        self.model, self.tokenizer = conversation.model, conversation.model.tokenizer
        self._messages, self._must_call = messages, must_call
        self._tools = [tool for tool in conversation._specs if tool.name in allowed]
        self._effort, self._steering, self._deadline = effort, steering, deadline
        self._given_up = threading.Event()
        self._opening: list[int] = []
        self._told = ""
        self.answer = Generation([], 0, False)

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def said(self) -> Said:
        """What the answer says."""
        return parse_turn(self.tokenizer.text([*self._opening, *self.answer.ids]))

    async def written(self) -> AsyncGenerator[Canvas | Settled, None]:
        """Have the answer written in the model's thread; left early, no further pass is begun."""
        shown = Shown()
        work = asyncio.get_running_loop().run_in_executor(self.model.worker, self._write, shown)
        work.add_done_callback(shown.end)
        try:
            async for item in shown:
                yield item
            self.answer = await work
        finally:
            self._given_up.set()
            work.cancel()

    def _check_wanted(self) -> None:
        if self._given_up.is_set() or self.model.closed.is_set():
            raise GivenUp("the draft is not wanted any more, or the model was closed")

    def _write(self, shown: Shown) -> Generation:
        self._check_wanted()
        checkpoint = self.model.checkpoint
        prompt = checkpoint.prompt(self._messages, self._tools)
        if self._must_call:  # the turn is begun for it
            self._opening = checkpoint.tokenizer.encode_marked(f"{OPENS}\n")
        prompt += self._opening

        def watch(step: Step) -> None:
            self._check_wanted()
            seen = step.ids[: max(step.begin + len(step.scores), step.settled)]
            if isinstance(checkpoint, DiffusionGemma):
                seen = step.ids
            shown.put(Canvas(self.tokenizer.shown([*self._opening, *seen]), step.forward))
            words = settled_words(self.tokenizer.text([*self._opening, *step.ids[: step.settled]]))
            if words != self._told:
                self._told = words
                shown.put(Settled(words))

        return self.model.write(prompt, self._effort, self._steering, lambda: self.late, watch)
