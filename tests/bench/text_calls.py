"""Goals met in text: the caller's words reach the model as a recogniser would write them, without its errors.

    python tests/bench/text_calls.py [--calls 100] [--first 1001] [--model DIR] [--effort LEVEL] [--out FILE]

Names, goals and caller templates are those kept out of training. Prints every failed call with `--show`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections import Counter
from pathlib import Path

from stretto.agent.simulate import simulate
from stretto.llm.local import SAMPLERS, LocalModel


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--first", type=int, default=1001, help="first seed")
    parser.add_argument("--model")
    parser.add_argument("--effort", default="medium")
    parser.add_argument("--sampler", default="verified", choices=SAMPLERS)
    parser.add_argument("--show", type=int, default=0, help="print so many transcripts of failed calls")
    parser.add_argument("--out")
    args = parser.parse_args()
    model = LocalModel(args.model, sampler=args.sampler)
    result = asyncio.run(simulate(model, range(args.first, args.first + args.calls), args.effort))
    model.close()
    transcripts = result.pop("transcripts")
    replies = [t for c in transcripts for t in c["turns"]]
    result["forwards_per_turn"] = sum(c["forwards"] for c in transcripts) / max(len(replies), 1)
    result["ms_per_turn"] = statistics.median(t["ms"] for t in replies)
    result["kinds"] = {
        kind: f"{met}/{total}"
        for kind, (met, total) in _by_kind(transcripts).items()
    }  # fmt: skip
    for call in [c for c in transcripts if not c["met"]][: args.show]:
        print(f"--- {call['seed']}: {call['goal']}\n    {call['why']}")
        for turn in call["turns"]:
            print(f"  caller: {turn['caller']}")
            for tool in turn["tools"]:
                print(f"    {tool['name']} {tool['arguments']} -> {tool['result'] or tool['error']}")
            print(f"  agent:  {turn['agent']}")
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    result.pop("failures")
    print(json.dumps(result, indent=1))


def _by_kind(transcripts: list[dict[str, object]]) -> dict[str, tuple[int, int]]:
    total: Counter[str] = Counter(str(c["kind"]) for c in transcripts)
    met: Counter[str] = Counter(str(c["kind"]) for c in transcripts if c["met"])
    return {kind: (met[kind], total[kind]) for kind in sorted(total)}


if __name__ == "__main__":
    main()
