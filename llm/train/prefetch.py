"""Batches made ahead of their steps, in processes of their own: what a GPU needs to be kept busy."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any

import torch
from stretto.llm.train.canvases import Batch
from torch import Tensor

AHEAD = 3
"""Batches that wait for their step, for each process."""

Make = Callable[[int], list[Batch]]
_make: Make | None = None


def _one(step: int) -> list[dict[str, Any]]:
    """Batches as arrays: tensors would be passed through shared memory, of which machines have little."""
    assert _make is not None
    made = _make(step)
    return [{k: v.numpy() if isinstance(v, Tensor) else v for k, v in vars(b).items()} for b in made]


def _batch(fields: dict[str, Any]) -> Batch:
    tensors: dict[str, Any] = {k: v if isinstance(v, int) else torch.from_numpy(v) for k, v in fields.items()}
    return Batch(**tensors)


def prefetched(make: Make, steps: range, workers: int) -> Generator[list[Batch], None, None]:
    """`make(step)` for every step, in order; without workers in this process, one after the other.

    The processes are forked, so that they share the dialogues in memory: begin before CUDA is touched.
    """
    if not workers:
        yield from map(make, steps)
        return
    global _make
    _make = make
    todo = iter(steps)
    with multiprocessing.get_context("fork").Pool(workers, torch.set_num_threads, (1,)) as pool:
        ahead = deque(pool.apply_async(_one, (step,)) for step in islice(todo, AHEAD * workers))
        while ahead:
            yield [_batch(fields) for fields in ahead.popleft().get()]
            ahead.extend(pool.apply_async(_one, (step,)) for step in islice(todo, 1))
