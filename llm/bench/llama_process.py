"""llama.cpp writes a reply greedily and times itself; in a process of its own.

    python -m stretto.llm.bench.llama_process < REQUEST

In this one the voice activity detector may have loaded its own, older ggml, and two do not go together.
Reads one JSON object: `path`, `context`, `threads`, `gpu`, `prompt` (ids), `count`; prints one: `ids`,
`read_ms`, `write_ms`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import llama_cpp
import numpy as np


def greedy(model: Any, prompt: list[int], count: int) -> dict[str, Any]:
    """A reply to a prompt; by the low-level calls, so that its own work is timed, not its samplers."""
    size = model.n_vocab()

    def best() -> int:
        row = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        return int(np.ctypeslib.as_array(row, shape=(size,)).argmax())

    model.reset()
    began = time.perf_counter()
    model.eval(prompt)
    ids = [best()]
    read = time.perf_counter()
    while len(ids) < count:
        model.eval(ids[-1:])
        ids.append(best())
    write_ms = (time.perf_counter() - read) * 1000
    return {"ids": ids, "read_ms": (read - began) * 1000, "write_ms": write_ms}


def main() -> None:
    asked = json.load(sys.stdin)
    model = llama_cpp.Llama(
        asked["path"], n_ctx=asked["context"], n_batch=asked["context"], n_threads=asked["threads"],
        n_threads_batch=asked["threads"], n_gpu_layers=-1 if asked["gpu"] else 0, verbose=False,
    )  # fmt: skip
    greedy(model, asked["prompt"], 2)  # pages of the file are read, threads are made
    print(json.dumps(greedy(model, asked["prompt"], asked["count"])))


if __name__ == "__main__":
    main()
