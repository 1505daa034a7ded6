"""First passes of every model before the agent picks up: first touches of memory are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

import numpy as np
from stretto.agent.builtin import BUILT_IN
from stretto.agent.ways_in.speech import Speech
from stretto.audio.pcm import RATE, frames, to_int16
from stretto.llm.language_model import Effort, LanguageModel
from stretto.tools.runner import AnyTool

PATIENCE_S = 60.0


async def warm_up(
    model: LanguageModel, speech: Speech, system: str, tools: Sequence[AnyTool], effort: Effort
) -> None:
    """Read the system text and the tools, write a reply, recognise a second of noise. Raises
    `TimeoutError`."""
    async with asyncio.timeout(PATIENCE_S):
        conversation = model.open(system, [*(tool.spec for tool in tools), *BUILT_IN])
        try:
            await conversation.hear("Hello, could you help me, please?")
            async with aclosing(cast(Any, conversation.draft(effort))) as items:
                async for _ in items:
                    pass
        finally:
            conversation.close()
        recognition = speech.recogniser.open()
        try:
            noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.01
            for frame in frames(to_int16(noise)):
                recognition.feed(frame)
            await recognition.final()
        finally:
            recognition.close()
