"""What it costs to keep a call to its schema, against the pass over the canvas that it follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stretto.llm.bench.forward_cost import BEHIND, forward, read_cache
from stretto.llm.bench.measure import Setup, medians, rounded
from stretto.llm.bench.situations import TOOLS
from stretto.llm.constraints.call_path import LONGEST_CALL
from stretto.llm.constraints.marginals import path_and_marginals
from stretto.llm.constraints.tokens import TokenAutomaton, TokenVocabulary
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.tokenizer import CALL, END, MASK, PADS
from stretto.llm.writing import CALL_CANVAS

NAME = "constraints"


@dataclass(frozen=True)
class ConstraintRow:
    """Of one schema, on an open canvas: the best call alone (`path_ms`), and with how sure its tokens are
    (`both_ms`), after every pass; its automaton is built once (`compile_ms`). `ratio`: both by the pass."""

    name: str
    schema: str
    states: int
    edges: int
    places: int
    compile_ms: float
    path_ms: float
    both_ms: float
    forward_ms: float
    ratio: float


def compare(setup: Setup) -> list[ConstraintRow]:
    """A row for each of the benchmark's tools that has arguments."""
    model = setup.model
    cache = read_cache(model, BEHIND)
    ids = torch.full((CALL_CANVAS,), MASK)
    with torch.inference_mode():
        scores = model.logits(model.write(ids, cache)).float().cpu()
    logs = torch.log_softmax(scores, -1).numpy()
    vocabulary = TokenVocabulary(setup.tokenizer.token_bytes, END, CALL, PADS)
    vocabulary.compile({"type": "object", "properties": {}})  # tables that all schemas share
    rows = []
    for tool in TOOLS:
        if not tool.parameters["properties"]:
            continue
        setup.say(f"constraints: {tool.name}")
        began = time.perf_counter()
        automaton = vocabulary.compile(tool.parameters)
        compile_ms = (time.perf_counter() - began) * 1000
        ways = {**grammar(logs, automaton), "forward": forward(model, cache, CALL_CANVAS)}
        ms = medians(ways, setup.runs, setup.device)
        rows.append(
            ConstraintRow(
                NAME, tool.name, automaton.states, len(automaton.source), CALL_CANVAS, rounded(compile_ms),
                rounded(ms["path"]), rounded(ms["both"]), rounded(ms["forward"]),
                rounded(ms["both"] / ms["forward"]),
            )
        )  # fmt: skip
    return rows


def grammar(logs: NDArray[np.float32], automaton: TokenAutomaton) -> dict[str, Callable[[], object]]:
    """What a pass over an open canvas is followed by: log-probabilities (n, vocab) under a schema."""
    ends: dict[str, Any] = {"open_end": True, "budget_after": LONGEST_CALL - len(logs), "score_fill": True}
    return {
        "path": lambda: best_path(logs, automaton, **ends),
        "both": lambda: path_and_marginals(logs, automaton, **ends),
    }
