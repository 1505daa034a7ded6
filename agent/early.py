"""A reply drafted while the caller still speaks, for words that probably end the turn.

What is ready when the caller falls silent is adopted where the words stayed the same, and revised where they
changed (`Conversation.draft`); nothing of it runs a tool or is heard before the turn is over.
"""

from __future__ import annotations

import asyncio

from stretto.agent.call import Call
from stretto.agent.drafting import write
from stretto.agent.speculation import same_words
from stretto.agent.timeline import TurnRecord


class EarlyDraft:
    """One at a time; a task of the call's group."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._task: asyncio.Task[None] | None = None
        self._text = ""

    async def begin(self, tasks: asyncio.TaskGroup, turn: TurnRecord, text: str) -> None:
        """Draft the reply to what the conversation heard, which is `text`; returns when it is over."""
        if self._call.speculation.answers(turn.turn, text):
            return
        self._text = text
        self._task = tasks.create_task(self._write(turn, text))
        await asyncio.wait([self._task])

    async def _write(self, turn: TurnRecord, text: str) -> None:
        call, key = self._call, (turn.turn, 0)
        with call.reporting("model", turn):
            draft = await write(call, turn, key, asyncio.Event(), call.speculation.earlier(key))
            call.speculation.early(key, text, draft)

    async def settle(self, text: str) -> None:
        """The turn's words are `text`: a draft for them is waited for, one for others is given up."""
        task = self._task
        if task is None or task.done():
            return
        if not same_words(self._text, text):
            task.cancel()
        async with asyncio.timeout(self._call.options.model_timeout_s):
            await asyncio.wait([task])
