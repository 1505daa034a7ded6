"""The engine: one thread owns the model, and every pass serves all requests that are due, step by step.

A request is a job: a generator that asks for one forward after the other (`Forward`) and is sent what came
of it (`Scores`). Between two passes requests come and go (step-level continuous batching): a canvas of one
dialogue, a prefill of another and a verification of a third share a pass. A request that is due goes before
one that only may be needed; a long prefill is read in pieces; a request that is given up takes part in no
further pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from typing import Any, Generic, TypeVar

import torch
from stretto.llm.cache import CachePool, KVCache
from stretto.llm.graphs import GraphedRows
from stretto.llm.language_model import Busy
from stretto.llm.transformer import Row, Transformer
from torch import Tensor

T = TypeVar("T")


class Priority(IntEnum):
    """What goes first."""

    DUE = 0
    """Someone waits for it: a committed turn, what a caller just said."""
    SPECULATION = 1
    """It may be needed: a draft while the caller may still go on."""
    AHEAD = 2
    """Nobody waits for it: a dialogue that is read before it is needed."""


@dataclass
class Forward:
    """What a request wants of the next pass.

    The cache is to hold exactly `ids` behind it: what it holds beyond their common beginning is forgotten,
    the rest is read. `count`: for how many of the last tokens the scores behind them are wanted; so many are
    read in any case. `canvas`: ids, masks where it is open, which stand at the place `start` of the dialogue
    (None: behind all of it). `before` (n, vocab): the scores of the pass before over the same canvas, for a
    model that takes them in.
    """

    cache: KVCache
    ids: list[int]
    count: int = 1
    canvas: list[int] | None = None
    start: int | None = None
    before: Tensor | None = None
    branches: Sequence[Sequence[int]] = ()
    """In place of a canvas: ways on that are looked along causally, each by itself; their scores are told one
    after the other."""

    @property
    def beside(self) -> int:
        """Tokens that are not read."""
        return len(self.canvas or ()) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Scores:
    """What came of a pass, float32 on the CPU: `read` (count, vocab), `canvas` (n, vocab)."""

    read: Tensor
    canvas: Tensor


Job = Generator[Forward, Scores, T]


@dataclass(eq=False)
class Request(Generic[T]):
    """A job on its way through the engine."""

    job: Job[T]
    priority: Priority
    number: int
    future: Future[T] = field(default_factory=Future)
    forward: Forward | None = None
    since: float = 0.0


@dataclass
class Counts:
    """What the engine has done so far."""

    passes: int = 0
    rows: int = 0
    tokens: int = 0
    busy: int = 0


@dataclass(frozen=True)
class Limits:
    """`requests`: that live at once, waiting ones included. `tokens`: of one pass; `prefill`: of one request
    in it while others wait, `ahead`: of one that nobody waits for. `patience_s`: a request that may be needed
    waits no longer than this for others. `cached_tokens`: that all dialogues together may hold."""

    requests: int = 256
    tokens: int = 1024
    prefill: int = 256
    ahead: int = 64
    patience_s: float = 0.5
    cached_tokens: int = 262_144


class Engine:
    """Runs jobs on a model; see the module. Thread-safe; `close` ends its thread.

    Jobs run in that thread, too: they may take no time beside the pass.
    """

    def __init__(self, model: Transformer, mask: int, limits: Limits | None = None) -> None:
        self.model, self.mask, self.limits = model, mask, limits or Limits()
        self.rows = GraphedRows(model) if model.device.type == "cuda" else model.rows
        self.pool = CachePool(self.limits.cached_tokens)
        self.counts = Counts()
        self._inbox: queue.SimpleQueue[Request[Any] | None] = queue.SimpleQueue()
        self._numbers = count()
        self._lock = threading.Lock()
        self._alive = 0
        self._closed = False
        self._live: list[Request[Any]] = []
        self._thread = threading.Thread(target=self._work, name="stretto-llm", daemon=True)
        self._thread.start()

    # -- for those who ask --------------------------------------------------------------------------

    @property
    def alive(self) -> int:
        """Requests that are not done."""
        return self._alive

    def submit(self, job: Job[T], priority: Priority = Priority.DUE, bounded: bool = True) -> Request[T]:
        """Have a job run. Raises Busy where there are too many, RuntimeError on a closed engine."""
        request = Request(job, priority, next(self._numbers), since=time.monotonic())
        with self._lock:
            if self._closed:
                raise RuntimeError("the model is closed; open another one")
            if bounded and self._alive >= self.limits.requests:
                self.counts.busy += 1
                raise Busy(f"{self._alive} requests are being worked on, more are not taken; try again soon")
            self._alive += 1
        self._inbox.put(request)
        return request

    async def run(self, job: Job[T], priority: Priority = Priority.DUE) -> T:
        """A job's result. Cancelled, it takes part in no further pass."""
        return await asyncio.wrap_future(self.submit(job, priority).future)

    async def call(self, work: Callable[[], T]) -> T:
        """What a function returns that needs no pass, between two of them."""
        return await self.run(_without_pass(work))

    def post(self, work: Callable[[], object]) -> None:
        """Have a function run between two passes, however busy it is; nobody waits. Nothing once closed."""
        with contextlib.suppress(RuntimeError):
            self.submit(_without_pass(work), Priority.AHEAD, bounded=False)

    def close(self) -> None:
        """Give up all requests; a pass that runs is finished first."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # -- in the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        while self._take_in():
            if due := self._due():
                self._step(due)
        for request in self._live:
            request.future.cancel()
            self._drop(request)
        self._live = []
        while not self._inbox.empty():
            if (late := self._inbox.get()) is not None:
                late.future.cancel()
                self._drop(late)

    def _take_in(self) -> bool:
        """New requests, and away with those that were given up; waits where there is nothing to do."""
        while True:
            try:
                request = self._inbox.get(block=not self._live)
            except queue.Empty:
                break
            if request is None:
                return False
            self._live.append(request)
            if not request.future.cancelled():
                self._advance(request, None)
            self._sweep()
        self._sweep()
        return True

    def _sweep(self) -> None:
        for request in [r for r in self._live if r.future.done()]:
            self._live.remove(request)
            self._drop(request)

    def _drop(self, request: Request[Any]) -> None:
        with contextlib.suppress(Exception):
            request.job.close()
        request.forward = None
        with self._lock:
            self._alive -= 1

    def _advance(self, request: Request[Any], scores: Scores | None) -> None:
        """Have the job take its scores and say what it wants next."""
        try:
            request.forward = next(request.job) if scores is None else request.job.send(scores)
        except StopIteration as end:
            self._settle(request, end.value)
        except Exception as error:  # of one request: the others go on
            self._settle(request, error)

    @staticmethod
    def _settle(request: Request[Any], result: object) -> None:
        request.forward = None
        if request.future.set_running_or_notify_cancel():
            if isinstance(result, Exception):
                request.future.set_exception(result)
            else:
                request.future.set_result(result)

    def _due(self) -> list[Request[Any]]:
        """The requests of the next pass: the most urgent, and who waits too long, as far as they fit."""
        waiting = sorted(self._live, key=lambda r: (r.priority, r.number))
        if not waiting:
            return []
        now, first = time.monotonic(), waiting[0].priority
        chosen: list[Request[Any]] = []
        room = self.limits.tokens
        for request in waiting:
            if request.priority > first and now - request.since < self.limits.patience_s:
                continue
            size = self._size(request)
            if chosen and size > room:
                continue
            room -= size
            chosen.append(request)
        return chosen

    def _size(self, request: Request[Any]) -> int:
        wanted = request.forward
        assert wanted is not None
        fresh = max(wanted.count, len(wanted.ids) - wanted.cache.common(wanted.ids))
        return min(fresh, self.limits.prefill) + wanted.beside

    def _step(self, due: list[Request[Any]]) -> None:
        """One pass for these; where it fails, one for each, so that only who is at fault gets the error."""
        working = [r.forward.cache for r in self._live if r.forward is not None]
        rows: list[tuple[Request[Any], Row, bool]] = []
        for request in due:
            try:
                row, whole = self._row(request, alone=len(self._live) == 1)
                if not row.ids:
                    nothing = torch.zeros(0, self.model.config.vocab)
                    self._advance(request, Scores(nothing, nothing))
                    continue
                self.pool.reserve(row.cache, row.cache.length + len(row.ids), working)
                rows.append((request, row, whole))
            except Exception as error:
                self._settle(request, error)
        if not rows:
            return
        try:
            hidden = self.rows([row for _, row, _ in rows])
        except Exception as error:
            if len(rows) == 1:
                rows[0][1].cache.drop()
                self._settle(rows[0][0], error)
            else:
                for request, _, _ in rows:
                    self._step([request])
            return
        self._hand_out(rows, hidden)

    def _row(self, request: Request[Any], alone: bool) -> tuple[Row, bool]:
        """A request's share of the next pass, and whether that is all it wanted."""
        wanted = request.forward
        assert wanted is not None
        cache, ids = wanted.cache, wanted.ids
        if wanted.count > len(ids):
            raise ValueError(f"scores behind {wanted.count} tokens of {len(ids)} are wanted")
        kept = min(cache.common(ids), len(ids) - wanted.count)
        cache.crop(kept)
        fresh = ids[kept:]
        ahead = request.priority is Priority.AHEAD  # one that is due may come at any moment
        piece = self.limits.ahead if ahead else self.limits.prefill
        if len(fresh) - wanted.count > piece and (ahead or not alone):
            return self.model.row(cache, fresh[:piece]), False
        if wanted.branches:
            return self.model.branches(cache, fresh, wanted.branches), True
        start = len(ids) if wanted.start is None else wanted.start
        belief = None
        if wanted.before is not None and wanted.canvas is not None and self.model.config.self_conditioning:
            open_ = torch.tensor([token == self.mask for token in wanted.canvas], device=self.model.device)
            belief = self.model.believed(wanted.before.to(self.model.device)) * open_[:, None]
        return self.model.row(cache, fresh, wanted.canvas, start, belief), True

    def _hand_out(self, rows: Sequence[tuple[Request[Any], Row, bool]], hidden: list[Tensor]) -> None:
        """Score what is wanted, in one product, and let every job go on."""
        counts = self.counts
        counts.passes += 1
        counts.rows += len(rows)
        counts.tokens += sum(len(row.ids) for _, row, _ in rows)
        wanted: list[tuple[Request[Any], int]] = []
        parts = []
        for (request, row, whole), states in zip(rows, hidden, strict=True):
            if whole and request.forward is not None:
                wanted.append((request, request.forward.count))
                parts.append(states[row.reads - request.forward.count :])
        if not parts:
            return
        scores, begin = self.model.logits(torch.cat(parts)).float().cpu(), 0
        for (request, read), states in zip(wanted, parts, strict=True):
            part = scores[begin : begin + len(states)]
            begin += len(states)
            request.since = time.monotonic()
            if not request.future.cancelled():
                self._advance(request, Scores(part[:read], part[read:]))


def _without_pass(work: Callable[[], T]) -> Job[T]:
    return work()
    yield


def drive(engine: Engine, job: Job[T]) -> T:
    """A job's result, for those who are not asynchronous."""
    return engine.submit(job).future.result()
