"""What passes buy: the same dialogues with every sampler at every effort, each in turn.

    python tests/bench/effort_curve.py [--dialogues 12] [--model DIR] [--out FILE]

Concierge dialogues with names and wordings kept out of training; the history is always the true one. Calls
that are exactly right, calls of the right tool, and how near replies are to the true ones (chrF), with the
forwards that they took. (Milliseconds: `stretto llm bench`.)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from stretto.llm.evaluate import run
from stretto.llm.local import SAMPLERS
from stretto.llm.samplers import EFFORT

SHOWN = (
    "calls", "exact_match", "name_accuracy", "argument_f1", "valid", "routing_accuracy", "chrf",
    "forwards_per_reply", "forwards_per_call",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dialogues", type=int, default=12)
    parser.add_argument("--seed", type=int, default=91)
    parser.add_argument("--model")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument("--out")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "valid.jsonl.gz")
        made = [sys.executable, "-m", "stretto.tools.concierge.dialogues", "--valid", "--out", path]
        subprocess.run([*made, "--count", str(args.dialogues), "--seed", str(args.seed)], check=True)
        for sampler in args.samplers:
            for effort in EFFORT if sampler != "causal" else ("medium",):
                scores = run(args.model, [path], limit=None, seed=0, sampler=sampler, effort=effort)
                row = {"sampler": sampler, "effort": effort, **{name: scores[name] for name in SHOWN}}
                rows.append(row)
                print(
                    f"{sampler:10} {effort:8} right calls {row['exact_match']:.2f}  tool "
                    f"{row['name_accuracy']:.2f}  chrF {row['chrf']:5.1f}  forwards a reply "
                    f"{row['forwards_per_reply']['p50']}, a call {row['forwards_per_call']['p50']}",
                    flush=True,
                )
    if args.out:
        Path(args.out).write_text(json.dumps({"dialogues": args.dialogues, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
