"""First passes of every model before the phone is picked up: first touches of memory are slow."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, cast

import numpy as np
from stretto.agent.builtin import BUILT_IN
from stretto.agent.simulate import BENCH_NOW, staged
from stretto.agent.ways_in.speech import Speech
from stretto.audio.pcm import RATE, Frame, frames, to_int16
from stretto.llm.language_model import Effort, LanguageModel
from stretto.tools.concierge.tools import concierge, system_text

PATIENCE_S = 60.0


async def warm_up(model: LanguageModel, speech: Speech, effort: Effort) -> None:
    """Read system text and tools, write a reply, recognise a second of noise. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE_S):
        database, _, _ = staged(0)
        tools = concierge(database, lambda: BENCH_NOW)
        conversation = model.open(system_text(BENCH_NOW), [*(tool.spec for tool in tools), *BUILT_IN])
        try:
            await conversation.hear("Hello, I would like to book a table.")
            async with aclosing(cast(Any, conversation.draft(effort))) as items:
                async for _ in items:
                    pass
        finally:
            conversation.close()
        recognition = speech.recogniser.open()
        noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.01
        for frame in frames(to_int16(noise)):
            recognition.feed(Frame(frame.pcm, frame.at))
        await recognition.final()
        recognition.close()
