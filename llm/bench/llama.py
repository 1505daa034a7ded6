"""The causal mode against llama.cpp on the same weights: that the baseline of the canvas is no straw man."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from stretto.llm.bench.gguf_file import check_llama, write_gguf
from stretto.llm.bench.measure import Setup, Skipped, rounded
from stretto.llm.bench.situations import SITUATIONS, SYSTEM, TOOLS
from stretto.llm.engine import Engine, Forward, Job, drive
from stretto.llm.format import message_segments, system_segment, user_segment
from stretto.llm.tokenizer import MASK, SAY, Tokenizer

NAME = "llama.cpp"
PROMPT, REPLY = 400, 20
"""Tokens that are read, and then written greedily, an end mark or not."""
PATIENCE_S = 600.0


@dataclass(frozen=True)
class LlamaRow:
    """`what`: to read the prompt, to write one token behind it, to write the whole reply. `same_tokens`: how
    many of the reply's tokens are the same before they part (float sums differ)."""

    name: str
    what: Literal["prompt", "token", "reply"]
    tokens: int
    causal_ms: float
    llama_cpp_ms: float
    ratio: float
    same_tokens: int


@dataclass
class Greedy:
    """A reply: ids, ms to read the prompt and choose the first, ms to write the others."""

    ids: list[int]
    read_ms: float
    write_ms: float


Write = Callable[[list[int], int], Greedy]
"""A prompt and a number of tokens -> the reply."""


def prompt_ids(tokenizer: Tokenizer, length: int = PROMPT) -> list[int]:
    """A dialogue of so many tokens up to where the agent speaks: system text, tools, turn after turn."""
    ids = list(system_segment(tokenizer, SYSTEM, TOOLS).ids)
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    turns: list[int] = []
    while len(ids) + len(turns) < length:
        for situation in SITUATIONS:
            for message in situation.messages:
                turns += [t for s in message_segments(tokenizer, message, schemas) for t in s.ids]
            turns += user_segment(tokenizer, situation.heard).ids if situation.heard else ()
    return [*(ids + turns)[: length - 1], SAY]


def ours(engine: Engine) -> Write:
    """The causal mode as it writes in the engine."""

    def write(prompt: list[int], count: int) -> Greedy:
        return drive(engine, _greedy(engine, prompt, count))

    return write


def _greedy(engine: Engine, prompt: list[int], count: int) -> Job[Greedy]:
    cache = engine.model.new_cache(len(prompt) + count)
    ids = list(prompt)
    began = time.perf_counter()
    scores = yield Forward(cache, ids)
    ids.append(int(scores.read[-1].argmax()))
    read = time.perf_counter()
    while len(ids) < len(prompt) + count:
        scores = yield Forward(cache, ids)
        ids.append(int(scores.read[-1].argmax()))
    done = time.perf_counter()
    engine.pool.forget(cache)
    return Greedy(ids[len(prompt) :], (read - began) * 1000, (done - read) * 1000)


def theirs(path: Path, threads: int, gpu: bool = False) -> Write:
    """llama.cpp with as many threads, in a process of its own for each reply (`llama_process`)."""

    def write(prompt: list[int], count: int) -> Greedy:
        asked = {
            "path": str(path), "context": len(prompt) + count, "threads": threads, "gpu": gpu,
            "prompt": prompt, "count": count,
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-m", "stretto.llm.bench.llama_process"]
        done = subprocess.run(
            command, input=json.dumps(asked), capture_output=True, text=True, timeout=PATIENCE_S
        )
        if done.returncode:
            raise RuntimeError(f"llama.cpp failed: {done.stderr.strip()[-500:]}")
        return Greedy(**json.loads(done.stdout.splitlines()[-1]))

    return write


def agreeing(one: list[int], other: list[int]) -> int:
    """Tokens up to the first that differs."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


def why_not() -> str | None:
    """What to install, where something is missing."""
    packages = {"llama_cpp": "llama-cpp-python", "gguf": "gguf"}
    missing = [package for module, package in packages.items() if find_spec(module) is None]
    return f"not installed (pip install {' '.join(missing)})" if missing else None


def compare(setup: Setup) -> list[LlamaRow | Skipped]:
    """Three rows: prompt, token, reply."""
    if reason := why_not():
        return [Skipped(NAME, reason)]
    try:
        check_llama(setup.stored)
    except ValueError as error:
        return [Skipped(NAME, str(error))]
    prompt, found = prompt_ids(setup.tokenizer), dict[str, list[Greedy]](ours=[], theirs=[])
    engine = Engine(setup.model, MASK)
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write_gguf(path, setup.stored, PROMPT + REPLY)
            gpu = setup.device.type == "cuda"
            ways = {"ours": ours(engine), "theirs": theirs(path, torch.get_num_threads(), gpu)}
            for run in range(setup.runs + 1):
                setup.say(f"llama.cpp: run {run} of {setup.runs}")
                for name in sorted(ways, reverse=run % 2 == 1):
                    greedy = ways[name](prompt, REPLY)
                    found[name] += [greedy] if run else []
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return [Skipped(NAME, f"{error} (try another version of llama-cpp-python)")]
    finally:
        engine.close()
    return list(_rows(found["ours"], found["theirs"]))


def _rows(mine: list[Greedy], other: list[Greedy]) -> list[LlamaRow]:
    same = agreeing(mine[-1].ids, other[-1].ids)
    rows = []
    whats: dict[Literal["prompt", "token", "reply"], tuple[int, Callable[[Greedy], float]]] = {
        "prompt": (PROMPT, lambda one: one.read_ms),
        "token": (1, lambda one: one.write_ms / (REPLY - 1)),
        "reply": (REPLY, lambda one: one.read_ms + one.write_ms),
    }
    for what, (tokens, ms) in whats.items():
        a, b = median(map(ms, mine)), median(map(ms, other))
        rows.append(LlamaRow(NAME, what, tokens, rounded(a), rounded(b), rounded(a / b), same))
    return rows
