"""First passes of every model before the demo's phone is picked up."""

from __future__ import annotations

from stretto.agent.simulate import BENCH_NOW, staged
from stretto.agent.ways_in.speech import Speech
from stretto.agent.ways_in.warm_up import warm_up as first_passes
from stretto.llm.language_model import Effort, LanguageModel
from stretto.tools.concierge.tools import concierge, system_text


async def warm_up(model: LanguageModel, speech: Speech, effort: Effort) -> None:
    """With the concierge's text and tools. Raises `TimeoutError`."""
    database, _, _ = staged(0)
    tools = concierge(database, lambda: BENCH_NOW)
    await first_passes(model, speech, system_text(BENCH_NOW), tools, effort)
