"""Self-distillation: what the model itself writes, as the target of its canvases, so that drafts hold.

    stretto llm own FILE… --out own.jsonl.gz
    stretto llm train --preset distil --init WEIGHTS --concierge own.jsonl.gz …

With the true history before it, every turn of the agent is written once more by the model: the words of its
causal mode (draft and verify). Canvases then learn these words in one pass instead of the true ones; the
clean stream stays as it is, so reading does not drift. A draft that says what the causal mode would say is
kept whole: fewer forwards. (Certainty-forcing distillation, dParallel 2025; the teacher is the same model.)
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.evaluate import read
from stretto.llm.language_model import Effort
from stretto.llm.local import LocalModel
from stretto.llm.replay import replay


async def in_own_words(
    model: LocalModel, dialogue: Mapping[str, Any], effort: Effort = "medium"
) -> dict[str, Any] | None:
    """The dialogue with the model's turn beside each of the agent's (`own`); None if a schema is refused."""
    messages = list(dialogue["messages"])
    first = int(messages[0]["role"] == "system")
    try:
        async with aclosing(replay(model, dialogue, effort)) as steps:  # type: ignore[type-var]
            async for step in steps:
                if step.draft is not None:
                    calls = [{"name": c.name, "arguments": c.arguments} for c in step.draft.calls]
                    own = {"content": step.draft.text or None, "tool_calls": calls}
                    messages[first + step.number] = {**step.message, "own": own}
    except UnsupportedSchema:
        return None
    return {**dialogue, "messages": messages}


def write_own_words(args: argparse.Namespace) -> int:
    """`stretto llm own`; returns how many dialogues were written."""
    dialogues = read(args.files, args.limit, args.seed)
    model = LocalModel(args.model, device=args.device, threads=args.threads)
    written = 0
    try:
        with gzip.open(Path(args.out), "wt") as file:
            for dialogue in dialogues:
                own = asyncio.run(in_own_words(model, dialogue))
                if own is not None:
                    file.write(json.dumps(own, ensure_ascii=False) + "\n")
                    written += 1
    finally:
        model.close()
    return written
