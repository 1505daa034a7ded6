"""Prefill: the model reads the caller's words as they come, and drafts where they probably end the turn."""

from __future__ import annotations

import asyncio

from stretto.agent.call import Call
from stretto.agent.floor import Floor
from stretto.audio.recognise import Partial

EARLY_P_END = 0.5
"""How probable the end of the turn must be for a reply to be drafted while the caller still speaks."""


class Prefill:
    """One task of the call's group. It reads the newest words only, and never beside a reply."""

    def __init__(self, call: Call, floor: Floor) -> None:
        self._call, self._floor = call, floor
        self._newest: Partial | None = None
        self._news = asyncio.Event()

    def heard(self, partial: Partial) -> None:
        """The words so far of the turn that is spoken."""
        self._newest = partial
        self._news.set()

    def begin(self) -> None:
        """The caller begins to speak: what was heard before is of another turn."""
        self._newest = None

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._news.clear()
            await self._news.wait()  # owned by the call, ends with it
            with self._call.reporting("model"):
                async with self._call.model, asyncio.timeout(self._call.options.model_timeout_s):
                    partial = self._newest
                    if partial is None or not self._floor.caller_speaking or self._floor.replying:
                        continue
                    signal = await self._call.conversation.hear(partial.stable, partial.tentative)
                if signal.p_end >= EARLY_P_END and partial is self._newest:
                    await self._floor.draft_early(partial.text.strip())
