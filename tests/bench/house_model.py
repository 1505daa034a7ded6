"""The house model on validation dialogues: every way of writing on the same sample, side by side.

    python tests/bench/house_model.py --data DATA [--limit 150] [--model DIR] [--twin DIR] [--out FILE]

`canvas` is the shipped way (a canvas, checked by the causal mode), `threshold` a canvas by its confidence,
`causal` token by token; `twin` other weights, which only read, token by token. The history is the true one.
Replies of the ways are compared by chrF where both spoke (paired bootstrap).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from pathlib import Path
from typing import Any

from stretto.llm.evaluate import Found, Place, held_again, read, scores_of
from stretto.llm.local import LocalModel, Sampler
from stretto.llm.scores import chrf_difference

WAYS: dict[str, Sampler] = {"canvas": "verified", "threshold": "threshold", "causal": "causal"}
SHOWN = (
    "calls exact_match exact_match_macro name_accuracy argument_f1 valid routing_accuracy chrf bleu "
    "length_ratio repetition distinct_2 end_of_turn_auc end_of_turn_auc_heard forwards_per_reply "
    "forwards_per_call ms_per_reply ms_per_call"
).split()


def found(folder: str | None, way: Sampler, dialogues: list[dict[str, Any]]) -> Found:
    """What the weights of a folder wrote, one way."""
    model = LocalModel(folder, sampler=way)
    try:
        return asyncio.run(held_again(model, dialogues))
    finally:
        model.close()


def replies(seen: Found) -> dict[Place, tuple[str, str]]:
    """(expected, written) by the place of the reply."""
    return {place: pair for part in seen.values() for place, pair in part.replies.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of dialogues with *.valid*.jsonl.gz")
    parser.add_argument("--heard", nargs="*", default=[], help="validation dialogues with recognised callers")
    parser.add_argument("--limit", type=int, default=150)
    parser.add_argument(
        "--seen", type=int, default=40, help="dialogues of SGD's seen services, of which a sample has few"
    )
    parser.add_argument("--model")
    parser.add_argument("--twin", help="folder of weights of the preset ar-twin")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--out")
    args = parser.parse_args()
    files = sorted(Path(args.data).glob("*.valid*.jsonl.gz"))
    dialogues = read(files, args.limit) + read(args.heard)
    sgd = read([file for file in files if file.name.startswith("sgd.")])
    known = [one for one in sgd if "unseen_services" not in one]
    known = random.Random(0).sample(known, min(args.seen, len(known)))
    weights = {way: (args.model, WAYS[way]) for way in args.ways}
    if args.twin:
        weights["twin"] = (args.twin, "causal")
    runs = {way: found(*given, dialogues) for way, given in weights.items()}
    result: dict[str, Any] = {"dialogues": len(dialogues), "ways": {}, "chrf_above_causal": {}}
    for way, seen in runs.items():
        result["ways"][way] = scores_of(seen)
        if known:
            result["ways"][way]["seen"] = scores_of(found(*weights[way], known))["seen"]
        if way != "causal" and "causal" in runs:
            mine, theirs = replies(seen), replies(runs["causal"])
            both = sorted(mine.keys() & theirs.keys())
            if not both:
                continue
            middle, low, high = chrf_difference(
                [mine[place][1] for place in both],
                [theirs[place][1] for place in both],
                [mine[place][0] for place in both],
                [dialogue for dialogue, _ in both],
            )
            ends = {"difference": round(middle, 2), "low": round(low, 2), "high": round(high, 2)}
            result["chrf_above_causal"][way] = {"replies": len(both), **ends}
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    for name in SHOWN:
        print(f"{name:22}", *(f"{result['ways'][way][name]!s:>28}" for way in result["ways"]))
    for part in ("seen", "unseen"):
        shares = (result["ways"][way][part]["exact_match"] for way in result["ways"])
        print(f"{f'exact, {part} tools':22}", *(f"{share!s:>28}" for share in shares))
    print(json.dumps(result["chrf_above_causal"]))


if __name__ == "__main__":
    main()
