"""Spoken demo calls over fixed seeds, one after the other in real time: goals met, voice-to-voice, pauses.

    python tests/bench/demo_calls.py [--seeds 101 102 …] [--model DIR] [--effort LEVEL] [--shuffled]
        [--keep DIR] [--out FILE]

A call takes one to two minutes. `--shuffled`: the same weights, the values of every tensor in random order.
`--keep`: call.wav, call.json and call.html of every call. The result is written after every call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import runpy
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from stretto.agent.timeline import summary
from stretto.agent.ways_in.speech import Speech, load_speech
from stretto.audio.threads import limit_threads
from stretto.demo.caller_voice import CallerVoice
from stretto.demo.cli import weights_name, write_call
from stretto.demo.spoken_call import facts, spoken_call
from stretto.demo.warm_up import warm_up
from stretto.llm.checkpoint import EMBEDDED, load
from stretto.llm.local import LocalModel, fast_dtype
from stretto.llm.packed import pack

RESULTS = Path(__file__).with_name("results")


def model_of(folder: str | None, shuffled: bool) -> LocalModel:
    """The model; with its values shuffled inside each tensor, if asked."""
    transformer = load(folder or EMBEDDED, dtype=fast_dtype("cpu"))
    if shuffled:
        generator = torch.Generator().manual_seed(0)
        for tensor in {t.data_ptr(): t for t in transformer.state_dict().values()}.values():
            order = torch.randperm(tensor.numel(), generator=generator)
            tensor.copy_(tensor.flatten()[order].view_as(tensor))
    return LocalModel(model=pack(transformer))


async def one(model: LocalModel, speech: Speech, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One call, and of its facts what is worth keeping."""
    voice = CallerVoice(seed)
    try:
        call = await spoken_call(model, speech, voice, seed, effort=args.effort)
    finally:
        voice.close()
    if args.keep:
        out = Path(args.keep) / str(seed)
        out.mkdir(parents=True, exist_ok=True)
        fields = write_call(call, out, weights_name(args.model))
    else:
        fields = facts(call, Path("call.wav"), weights_name(args.model))
    turns = [turn for turn in fields["turns"] if turn["caller"]]
    kept = (
        "seed",
        "goal",
        "goal_met",
        "why",
        "ended",
        "completed",
        "seconds",
        "pauses",
        "measured",
        "underruns",
    )
    return {
        **{name: fields[name] for name in kept},
        "turns": len(turns),
        "tool_calls": sum(len(turn["tools"]) for turn in turns),
        "speculation": [turn["speculation"] for turn in turns],
        "forwards": [turn["forwards"] for turn in turns],
        "said": [
            {
                "caller": turn["caller"],
                "agent": turn["agent"],
                "tools": [tool["name"] for tool in turn["tools"]],
            }
            for turn in turns
        ],
        "caller_said": [turn["text"] for turn in fields["caller_turns"]],
    }


def total(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all calls: share of goals met, voice-to-voice times, pauses cut in on."""
    rows = [row for call in calls for row in call["measured"]["turns"]]

    def times(key: str, tools: bool | None = None) -> dict[str, float | None]:
        chosen = [row for row in rows if row[key] is not None and (tools is None or row["tools"] == tools)]
        return summary([row[key] for row in chosen])

    paused = sum(call["pauses"]["total"] for call in calls)
    cut = sum(call["pauses"]["cut_in"] for call in calls)
    return {
        "calls": len(calls),
        "goal_met": sum(call["goal_met"] for call in calls),
        "share_met": round(sum(call["goal_met"] for call in calls) / max(len(calls), 1), 3),
        "completed": sum(call["completed"] for call in calls),
        "turns": sum(call["turns"] for call in calls),
        "answers_measured": sum(row["file_ms"] is not None for row in rows),
        "voice_to_voice_file_ms": times("file_ms"),
        "voice_to_voice_timeline_ms": times("timeline_ms"),
        "file_without_tools_ms": times("file_ms", False),
        "file_with_tools_ms": times("file_ms", True),
        "timeline_without_tools_ms": times("timeline_ms", False),
        "timeline_with_tools_ms": times("timeline_ms", True),
        "apart_ms": times("apart_ms"),
        "apart_within_40_ms": _share([row["apart_ms"] <= 40 for row in rows if row["apart_ms"] is not None]),
        "answers_to_an_end_not_detected": sum(
            row["file_ms"] is not None and row["apart_ms"] is None for row in rows
        ),
        "pauses": paused,
        "pauses_cut_in": cut,
        "share_cut_in": round(cut / max(paused, 1), 3),
        "pauses_taken_for_the_end": sum(call["pauses"]["committed"] for call in calls),
        "underruns": sum(call["underruns"] for call in calls),
    }


def _share(values: list[bool]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="default: BENCH_SEEDS of seeds.py")
    parser.add_argument("--model", help="folder of a model (default: the embedded one)")
    parser.add_argument("--effort", default="medium", choices=("minimal", "low", "medium", "high"))
    parser.add_argument("--shuffled", action="store_true", help="shuffle the values of every tensor")
    parser.add_argument("--keep", metavar="DIR", help="write every call's files into DIR/SEED")
    parser.add_argument("--out", help="default: results/demo_calls.json or demo_calls_shuffled.json")
    parser.add_argument("--stt")
    parser.add_argument("--voice")
    args = parser.parse_args()
    limit_threads()
    out = Path(args.out or RESULTS / f"demo_calls{'_shuffled' if args.shuffled else ''}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    model, speech = model_of(args.model, args.shuffled), load_speech(args)
    asyncio.run(warm_up(model, speech, args.effort))
    calls: list[dict[str, Any]] = []
    for seed in args.seeds or bench_seeds():
        began = time.monotonic()
        call = asyncio.run(one(model, speech, seed, args))
        calls.append(call)
        result = {"machine": machine(), "weights": weights_name(args.model), "shuffled": args.shuffled}
        result |= {"effort": args.effort, "total": total(calls), "calls": calls}
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        median = call["measured"]["file_ms"]["p50"]
        console.print(
            f"seed {seed}: {'met' if call['goal_met'] else 'NOT met'}, {call['turns']} turns, "
            f"median {median} ms, pauses {call['pauses']['cut_in']}/{call['pauses']['total']}, "
            f"{time.monotonic() - began:.0f} s; so far {sum(c['goal_met'] for c in calls)}/{len(calls)}   "
            f"{'' if call['goal_met'] else call['why']}",
            markup=False,
        )
    console.print_json(json.dumps(total(calls)))
    speech.close()
    model.close()


def bench_seeds() -> tuple[int, ...]:
    """The seeds of `seeds.py` beside this file."""
    return tuple(runpy.run_path(str(Path(__file__).with_name("seeds.py")))["BENCH_SEEDS"])


def machine() -> dict[str, Any]:
    """What the numbers were made on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load": load,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
