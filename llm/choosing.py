"""Which of a few texts comes next: their probabilities, in one forward of the causal mode.

Which tool, yes or no, which slot: all options are read at once behind the dialogue, none of which sees the
others (a tree of attention, as in speculative decoding), and the probability of each is that of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from stretto.llm.cache import KVCache
from stretto.llm.engine import Forward, Job
from stretto.llm.format import opening_brace, spoken_ids
from stretto.llm.tokenizer import CALL, END, SAY, Tokenizer

Mark = Literal["say", "call"]


def alternatives(
    tokenizer: Tokenizer, options: Sequence[str], mark: Mark, begun: str, whole: bool
) -> tuple[list[int], list[list[int]]]:
    """What stands before the options, and their tokens. Raises ValueError as `Conversation.choose` says."""
    if len(options) < 2:
        raise ValueError(f"{len(options)} options are no choice; give two or more")
    spoken = mark == "say"

    def ids(text: str) -> list[int]:
        return spoken_ids(tokenizer, text) if spoken else tokenizer.encode(text.strip())

    start = [SAY if spoken else CALL, *ids(begun)]
    ended = [END if spoken else opening_brace(tokenizer)] if whole else []
    branches = [[*ids(text), *ended] for text in options]
    if not all(branches) or len({tuple(branch) for branch in branches}) < len(branches):
        raise ValueError("options are blank, or the same words; give each once")
    return start, branches


def choosing(cache: KVCache, ids: list[int], branches: list[list[int]]) -> Job[list[float]]:
    """The probability of each branch behind `ids`, among all of them (they sum to 1)."""
    scores = yield Forward(cache, ids, 1, branches=[branch[:-1] or branch for branch in branches])
    first, behind = torch.log_softmax(scores.read[-1], -1), torch.log_softmax(scores.canvas, -1)
    logs, at = [], 0
    for branch in branches:
        log = float(first[branch[0]])
        for n, token in enumerate(branch[1:]):
            log += float(behind[at + n, token])
        at += max(len(branch) - 1, 1)
        logs.append(log)
    return torch.tensor(logs, dtype=torch.float64).softmax(0).tolist()
