"""What the grammar costs beside the model: medians over one canvas of a call, on one thread.

    python tests/bench/constraint_cost.py [--places 32] [--repeats 30] [--model DIR] [--json]

For each of the concierge's tools, a schema of ten properties of many kinds, and replies (on half of the
places) that keep to phrases which are never said or required: the best path, the marginals,
both from one lattice as a pass of a sampler needs them, and how much that is of the model's forward over the
same canvas. Scores are of the model, on a canvas of masks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stretto.llm.constraints.call_path import LONGEST_CALL
from stretto.llm.constraints.marginals import marginals, path_and_marginals
from stretto.llm.constraints.tokens import TokenAutomaton
from stretto.llm.constraints.viterbi import best_path
from stretto.llm.local import LocalModel
from stretto.llm.tokenizer import MASK
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.tools import concierge

READ = 400
"""Tokens that stand before the canvas."""
TEN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "note": {"type": "string"},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "time"},
        "people": {"type": "integer", "minimum": 1, "maximum": 20},
        "price": {"type": "number", "minimum": 0},
        "area": {"type": "string", "enum": ["north", "south", "east", "west", "centre"]},
        "window": {"type": "boolean"},
        "email": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
        "guests": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
    },
    "required": ["name", "day", "people"],
}
COUNTED = {**TEN, "properties": {**TEN["properties"], "note": {"type": "string", "maxLength": 60}}}
"""A state for each character of the note."""
NEVER = (
    "free of charge", "guarantee", "I promise", "money back", "legal advice", "refund", "as an AI",
    "language model", "no risk", "best price", "discount code", "medical advice", "cancel for free",
    "hundred percent", "trust me", "to be honest", "cheapest", "our competitors", "lawsuit", "secret",
)  # fmt: skip


def median_ms(job: Callable[[], object], repeats: int) -> float:
    """Median of the time that a job takes, after two runs that warm up what is cached."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        job()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--places", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--model")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    model = LocalModel(args.model)
    transformer, vocabulary = model.transformer, model.vocabulary
    cache = transformer.new_cache(READ + args.places)
    transformer.read(torch.arange(READ) + 100, cache)
    canvas = torch.full((args.places,), MASK)

    def forward() -> torch.Tensor:
        return transformer.logits(transformer.write(canvas, cache))

    log_probs = torch.log_softmax(forward().float(), -1).numpy()
    pass_ms = median_ms(forward, args.repeats)
    schemas = {t.spec.name: t.spec.parameters for t in concierge(Database(), lambda: datetime(2026, 1, 1))}
    automata = {name: vocabulary.compile(schema) for name, schema in schemas.items()}
    automata["(ten properties)"] = vocabulary.compile(TEN)
    automata["(one is counted)"] = vocabulary.compile(COUNTED)

    replies = {
        "(3 never, 1 required)": vocabulary.reply(NEVER[:3], ["This call is recorded."]),
        "(8 never)": vocabulary.reply(NEVER[:8]),
        "(20 never)": vocabulary.reply(NEVER),
    }

    def row(automaton: TokenAutomaton, log_probs: NDArray[np.float32]) -> dict[str, float]:
        ends: dict[str, Any] = {
            "open_end": True,
            "budget_after": LONGEST_CALL - args.places,
            "score_fill": True,
        }
        tokens = best_path(log_probs, automaton, **ends).tokens
        best = median_ms(lambda: best_path(log_probs, automaton, **ends), args.repeats)
        sure = median_ms(lambda: marginals(log_probs, automaton, tokens, **ends), args.repeats)
        both = median_ms(lambda: path_and_marginals(log_probs, automaton, **ends), args.repeats)
        return {
            "states": automaton.states,
            "edges": len(automaton.source),
            "best_path_ms": round(best, 2),
            "marginals_ms": round(sure, 2),
            "together_ms": round(both, 2),
            "of_forward": round(both / pass_ms, 4),
        }

    rows = {name: row(automaton, log_probs) for name, automaton in automata.items()}
    rows |= {name: row(automaton, log_probs[: args.places // 2]) for name, automaton in replies.items()}
    model.close()
    if args.json:
        print(json.dumps({"places": args.places, "forward_ms": pass_ms, "automata": rows}, indent=1))
        return
    print(f"forward over {args.places} places: {pass_ms:.1f} ms")
    for name, found in rows.items():
        cells = "  ".join(
            f"{key} {value:.0%}" if key == "of_forward" else f"{key} {value:.4g}"
            for key, value in found.items()
        )
        print(f"{name:22} {cells}")


if __name__ == "__main__":
    main()
