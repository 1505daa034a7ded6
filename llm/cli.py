"""`stretto llm …`: commands about the model itself."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from stretto.llm.train.presets import PRESETS


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto llm`."""
    llm = subparsers.add_parser("llm", help="the language model: train it, export it")
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
    train.add_argument(
        "--heard", nargs="+", default=[], help="files of the dialogues with recognised callers"
    )
    train.add_argument("--out", required=True, help="folder for weights, log and state")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    train.add_argument("--steps", type=int, help="instead of the preset's")
    train.add_argument("--embeddings", help="GGUF of SmolLM2 whose embedding starts ours")
    train.add_argument("--init", help="folder of weights to go on from, with a fresh optimiser")
    train.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    train.add_argument("--threads", type=int, default=1)
    train.set_defaults(run=run_train)
    export = commands.add_parser("export", help="weights to ship: int8, in parts")
    export.add_argument("model", metavar="DIR", help="folder of a trained model")
    export.add_argument("--out", required=True, help="folder for the parts and config.json")
    export.set_defaults(run=run_export)


def _complain(command: str, message: object) -> int:
    print(f"stretto llm {command}: {message}", file=sys.stderr)
    return 2


def run_export(args: argparse.Namespace) -> int:
    """Write a trained model as it ships; 2 for a folder without one."""
    from stretto.llm.checkpoint import CheckpointError, export, load

    try:
        files = export(args.out, load(args.model))
    except CheckpointError as error:
        return _complain("export", error)
    total = sum((Path(args.out) / name).stat().st_size for name in files)
    if args.json:
        print(json.dumps({"files": files, "bytes": total, "out": str(Path(args.out))}))
    elif not args.quiet:
        print(f"{total / 1e6:.1f} MB in {', '.join(files)}")
    return 0


def run_train(args: argparse.Namespace) -> int:
    """Train; the last log line is the result. 2 for files that are not there."""
    files = [*args.concierge, *args.concierge_valid, *args.heard, *filter(None, [args.embeddings])]
    missing = [name for name in files if not Path(name).is_file()]
    if missing:
        return _complain(
            "train",
            f"there is no file {', '.join(missing)}: dialogues are written by "
            "python -m stretto.tools.concierge.dialogues and python -m stretto.demo.heard",
        )
    others = sorted(set(PRESETS[args.preset].shares) - {"concierge"})
    if others and not args.data:
        return _complain(
            "train", f"the preset {args.preset} also trains on {', '.join(others)}: give --data FOLDER"
        )
    if args.data and not Path(args.data).is_dir():
        return _complain("train", f"{args.data} is no folder: give one of dialogues with --data")
    from stretto.llm.train.train import train_command

    last = train_command(args)
    if args.json:
        print(json.dumps({**last, "out": str(Path(args.out))}))
    return 0
