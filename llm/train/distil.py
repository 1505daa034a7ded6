"""Self-distillation: what the model itself writes, as the target of its canvases, so that drafts hold.

    stretto llm own FILE… --out own.jsonl.gz
    stretto llm train --preset distil --init WEIGHTS --concierge own.jsonl.gz …

With the true history before it, every turn of the agent is written once more by the model: the words of its
causal mode (draft and verify). Canvases then learn these words in one pass instead of the true ones; the
clean stream stays as it is, so reading does not drift. A draft that says what the causal mode would say is
kept whole: fewer forwards. (Certainty-forcing distillation, dParallel 2025; the teacher is the same model.)
With `--samples` above 1, calls are drawn several times and the best of them by its reward is learnt instead.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.conversation import LocalConversation
from stretto.llm.evaluate import read
from stretto.llm.language_model import Draft, Effort, last_draft
from stretto.llm.local import LocalModel
from stretto.llm.replay import Message, replay
from stretto.llm.scores import same_call

Tries = Callable[[LocalConversation, Message, Draft], Awaitable[Draft | None]]
"""Given the model's turn in place of a message: the turn to learn, or None for the true one."""


async def as_written(conversation: LocalConversation, message: Message, draft: Draft) -> Draft | None:
    """The model's own turn, right or wrong: what is learnt is to write it in fewer passes."""
    return draft


def rewarded(samples: int, temperature: float, price: float) -> Tries:
    """The best of several drawn turns where calls are due, by reward: right calls less a price a pass.

    The likeliest turn is one of them. Where none is right the true one stays. (On-policy learning by
    reward-ranked fine-tuning, RAFT, Dong et al. 2023: what is learnt is what the model itself wrote.)
    """

    def reward(message: Message, draft: Draft) -> float:
        expected = [(c["name"], c["arguments"]) for c in message["tool_calls"]]
        written = [(c.name, c.arguments) for c in draft.calls]
        right = len(written) == len(expected) and all(map(same_call, expected, written))
        return right - price * draft.forwards if right else -math.inf

    async def best_of(conversation: LocalConversation, message: Message, draft: Draft) -> Draft | None:
        if not message.get("tool_calls"):
            return draft
        model, drafts = conversation.model, [draft]
        model.temperature = temperature
        try:
            drafts += [await last_draft(conversation, "medium") for _ in range(samples - 1)]
        finally:
            model.temperature = 0.0
        best = max(drafts, key=lambda one: reward(message, one))
        return best if reward(message, best) > -math.inf else None

    return best_of


async def in_own_words(
    model: LocalModel, dialogue: Mapping[str, Any], effort: Effort = "medium", tries: Tries = as_written
) -> dict[str, Any] | None:
    """The dialogue with the model's turn beside each of the agent's (`own`); None if a schema is refused."""
    messages = list(dialogue["messages"])
    first = int(messages[0]["role"] == "system")
    try:
        async with aclosing(replay(model, dialogue, effort)) as steps:  # type: ignore[type-var]
            async for step in steps:
                if step.draft is None:
                    continue
                draft = await tries(step.conversation, step.message, step.draft)
                if draft is not None:
                    calls = [{"name": c.name, "arguments": c.arguments} for c in draft.calls]
                    own = {"content": draft.text or None, "tool_calls": calls}
                    messages[first + step.number] = {**step.message, "own": own}
    except UnsupportedSchema:
        return None
    return {**dialogue, "messages": messages}


def write_own_words(args: argparse.Namespace) -> int:
    """`stretto llm own`; returns how many dialogues were written."""
    dialogues = read(args.files, args.limit, args.seed)
    model = LocalModel(args.model, device=args.device, threads=args.threads)
    tries = rewarded(args.samples, args.temperature, args.price) if args.samples > 1 else as_written
    written = 0
    try:
        with gzip.open(Path(args.out), "wt") as file:
            for dialogue in dialogues:
                own = asyncio.run(in_own_words(model, dialogue, tries=tries))
                if own is not None:
                    file.write(json.dumps(own, ensure_ascii=False) + "\n")
                    written += 1
    finally:
        model.close()
    return written
