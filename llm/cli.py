"""`stretto llm …`: commands about the model itself."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from stretto.llm.train.presets import PRESETS


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto llm`."""
    llm = subparsers.add_parser("llm", help="the language model: train it")
    commands = llm.add_subparsers(dest="llm_command", metavar="COMMAND", required=True)
    train = commands.add_parser("train", help="train the house model; stops and resumes at any moment")
    train.add_argument("--preset", default="cpu", choices=sorted(PRESETS))
    train.add_argument(
        "--data", help="folder of openly licensed dialogues (needed unless the preset uses none)"
    )
    train.add_argument(
        "--concierge", nargs="+", required=True, help="files of the dialogue generator (train)"
    )
    train.add_argument("--concierge-valid", nargs="+", required=True, help="files of it with --valid")
    train.add_argument("--out", required=True, help="folder for weights, log and state")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    train.add_argument("--steps", type=int, help="instead of the preset's")
    train.add_argument("--embeddings", help="GGUF of SmolLM2 whose embedding starts ours")
    train.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    train.add_argument("--threads", type=int, default=1)
    train.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> int:
    """Train; the last log line is the result."""
    from stretto.llm.train.train import train_command

    last = train_command(args)
    if args.json:
        print(json.dumps({**last, "out": str(Path(args.out))}))
    return 0
