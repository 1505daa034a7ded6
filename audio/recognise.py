"""Streaming speech recognition: partials while the caller speaks, and a final transcript.

Whisper is no streaming model: every partial is a pass over the whole window so far. Words that two passes
agree on are `stable`; the final transcript is always a pass of its own over everything (5 points better than
the confirmed words). A turn longer than a window is cut at a pause, and the text of what was closed is kept.
Such full passes take longer, so they run beside the partial ones: at most one of each at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from typing import cast

import numpy as np
from stretto.audio.agreement import LocalAgreement
from stretto.audio.bias import prepared
from stretto.audio.pauses import cut_at_pause
from stretto.audio.pcm import RATE, Float32, Frame, to_float
from stretto.audio.whisper import LONGEST, SILENT, ModelError, Pass, Whisper

__all__ = ["ModelError", "Partial", "Recogniser", "Recognition", "Transcript"]

CADENCE = 0.4
"""Seconds of audio between the starts of two partial passes."""
MARGIN = 0.5
"""Seconds of audio after the estimated end of speech that the final pass still hears (faint last sounds)."""
GUARD = 0.2
"""Seconds of audio after the end of an utterance that still belong to it and must not be heard twice."""
HUSH = 0.1
"""Seconds of quiet that start a pass at once: if nothing follows it is the final pass already."""
MINIMUM = 0.7
"""Seconds of audio that such an early pass needs: more than the pre-roll alone."""
WINDOW = 15.0
"""Seconds from which on a window is closed at a pause."""
EARLIEST_CUT = 8.0
LATEST_CUT = 2.0
"""Seconds at the start and at the end of the window where no cut is made: context on both sides. (Short
pieces lose words: cut from 6 s on, 8.1 % were wrong in the sample of `tests/bench/recognition.py`, from 8 s
on 6.7 %, as with windows of 20 s.)"""
BEAM = 5
"""Beam of the passes that a final transcript is made of; the partials are greedy."""
PASSES = 2
"""Passes that run at once: a partial one and a full one."""
FINAL_TIMEOUT = 30.0
"""Seconds after which a final pass counts as failed."""


@dataclass(frozen=True)
class Partial:
    """The text so far is `stable + tentative`; `stable` only grows. `at` = time of the audio that it
    covers."""

    stable: str
    tentative: str
    at: float

    @property
    def text(self) -> str:
        return self.stable + self.tentative


@dataclass(frozen=True)
class Transcript:
    """The final text of a turn; empty for silence and noise.

    `confidence` is exp(mean log probability of the tokens), `no_speech` a probability, `ms` the time from
    asking to having it, `audio_seconds` the length of the audio behind it.
    """

    text: str
    confidence: float
    no_speech: float
    ms: float
    audio_seconds: float


class Recogniser:
    """A loaded and warmed model; passes run in two worker threads of its own.

    `model`: None for the embedded tiny.en, a folder, or a name (see `stretto.audio.whisper.find_model`).
    `device`: "cpu", "cuda", or "auto" for a GPU if there is one. Raises `ModelError`.
    """

    def __init__(
        self, model: str | PathLike[str] | None = None, threads: int = 1, device: str = "cpu"
    ) -> None:
        self.whisper = Whisper(model, threads, device, PASSES)
        self._workers = ThreadPoolExecutor(PASSES, thread_name_prefix="recognise")

    def open(self, bias: Sequence[str] = ()) -> Recognition:
        """Begin a caller's turn. `bias`: names and words that are likely, the most likely first."""
        return Recognition(self, bias)

    def submit(self, call: Callable[[], Pass]) -> Future[Pass]:
        """Run a pass in a worker thread."""
        return self._workers.submit(call)

    def close(self) -> None:
        """End the worker threads; a pass that runs is finished, waiting ones are dropped."""
        self._workers.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Running:
    future: Future[Pass]
    until: int
    """Sample of the turn up to which the pass hears; for a closing pass where the window is cut."""
    closes: bool = False


class Recognition:
    """One caller turn. `feed` never blocks; `final` may be called again when the caller went on."""

    def __init__(self, recogniser: Recogniser, bias: Sequence[str] = ()) -> None:
        self._recogniser = recogniser
        self._bias = prepared(tuple(bias)) if bias else None
        self.paused = False
        """While True no partial pass starts (the session drafts a reply and needs the core)."""
        self._audio = np.zeros(int(20 * RATE), np.float32)
        self._length = 0
        self._window = 0
        self._began = 0.0
        self._closed: list[Pass] = []
        self._settled: list[str] = []
        self._agreement = LocalAgreement()
        self._partial: _Running | None = None
        self._full: _Running | None = None
        self._due = int(CADENCE * RATE)
        self._latest: Pass | None = None
        self._heard = 0
        self._heard_fully = 0
        """Samples up to which the newest pass, and the newest full one, hear."""
        self._reported = 0
        """Sample up to which the newest partial goes."""
        self._finals = 0
        self._ready: list[Partial] = []
        self._ended = False

    def feed(self, frame: Frame) -> list[Partial]:
        """Take the next frame; the partials that became ready since the last one.

        A partial pass starts every 400 ms of audio; while one runs none is queued.
        """
        if self._length == 0:
            self._began = frame.at
        count = len(frame.pcm)
        if self._length + count > len(self._audio):
            self._audio = np.concatenate([self._audio, np.zeros(len(self._audio), np.float32)])
        self._audio[self._length : self._length + count] = to_float(frame.pcm)
        self._length += count
        self._collect()
        if not self.paused and not self._ended:
            self._start()
        return self._take()

    def _start(self) -> None:
        """Start the passes that are due."""
        window = self._length - self._window
        free = self._full is None and self._finals == 0
        if free and window > WINDOW * RATE:
            self._start_closing(self._length)
        elif free and self._fell_silent():
            self._full = self._begun(full=True)
            self._heard_fully = self._length
        due = self._length >= self._due and window <= LONGEST * RATE and not self._silent_since(self._heard)
        if self._partial is None and due:
            self._partial = self._begun(full=False)

    def _begun(self, full: bool) -> _Running:
        """A pass over the window up to now; the next one is due a while later."""
        self._heard = self._length
        self._due = self._length + int(CADENCE * RATE)
        return _Running(self._submit(self._window, self._length, full), self._length)

    def _fell_silent(self) -> bool:
        """Sound just ended and no full pass has heard it to its end: one now may be the final one."""
        if self._length - self._window < MINIMUM * RATE or self._silent_since(self._heard_fully):
            return False
        return self._quiet(self._length - int(HUSH * RATE), self._length)

    def _silent_since(self, heard: int) -> bool:
        """Nothing new to hear for a pass, when one has heard up to that sample."""
        return heard > 0 and self._quiet(heard - int(HUSH * RATE), self._length)

    def _quiet(self, start: int, stop: int) -> bool:
        """All between two samples is far below the loud parts of the last 3 s, or near the steady noise."""
        if stop <= start:
            return True
        before = _levels(self._audio[max(0, stop - 3 * RATE) : stop])
        limit = max(0.1 * np.percentile(before, 90), 1.3 * np.percentile(before, 5))
        return bool(np.max(_levels(self._audio[start:stop])) < limit)

    async def settled(self) -> list[Partial]:
        """Wait for the passes that run, if any; the partials that are ready then."""
        running = [asyncio.wrap_future(run.future) for run in (self._partial, self._full) if run is not None]
        if running:
            await asyncio.wait(running, timeout=FINAL_TIMEOUT)
        self._collect()
        return self._take()

    async def final(self, end: float | None = None) -> Transcript:
        """The transcript of the turn up to `end` (seconds on the frames' clock; None: all that was fed).

        A little audio after `end` is heard too. Raises `TimeoutError` when a pass takes over 30 s, and
        whatever error the model raises.
        """
        asked = time.perf_counter()
        limit = self._length
        if end is not None:
            limit = min(limit, max(0, round((end + MARGIN - self._began) * RATE)))
        self._finals += 1
        try:
            if self._full is not None and self._full.closes:
                self._ready.extend(await self.settled())
            elif self._full is not None and self._hears_all(end, limit):
                await asyncio.wait([asyncio.wrap_future(self._full.future)], timeout=FINAL_TIMEOUT)
                self._collect()
            while limit - self._window > LONGEST * RATE:
                self._start_closing(min(self._length, self._window + int(LONGEST * RATE)))
                self._ready.extend(await self.settled())
            last, closed = SILENT, list(self._closed)  # a window that closes meanwhile is in the last pass
            if self._full is None and self._latest is not None and self._hears_all(end, limit):
                last = self._latest
            elif limit > self._window:
                future = self._submit(self._window, limit, full=True)
                last = await asyncio.wait_for(asyncio.wrap_future(future), FINAL_TIMEOUT)
        finally:
            self._finals -= 1
        passes = [p for p in [*closed, last] if p.text]
        words = [len(p.text.split()) for p in passes]
        return Transcript(
            text=" ".join(p.text for p in passes),
            confidence=sum(n * p.confidence for n, p in zip(words, passes, strict=True)) / max(1, sum(words)),
            no_speech=min((p.no_speech for p in passes), default=last.no_speech),
            ms=(time.perf_counter() - asked) * 1000,
            audio_seconds=limit / RATE,
        )

    def _hears_all(self, end: float | None, limit: int) -> bool:
        """The latest full pass heard all of the speech, and only quiet follows: it is the final one too."""
        heard = self._heard_fully
        if heard <= self._window or heard > limit:
            return False
        past = end is None or self._began + heard / RATE >= end
        return past and self._quiet(heard - int(HUSH * RATE), limit)

    def close(self) -> None:
        """The turn is over: no more passes; one that runs is dropped when it ends."""
        self._ended = True
        for run in (self._partial, self._full):
            if run is not None:
                run.future.cancel()
        self._partial = self._full = None

    def _take(self) -> list[Partial]:
        ready, self._ready = self._ready, []
        return ready

    def _submit(self, start: int, stop: int, full: bool) -> Future[Pass]:
        """A pass in a worker thread: a full one searches wider and looks for the likely names."""
        audio, whisper, bias = self._audio[start:stop].copy(), self._recogniser.whisper, self._bias
        if not full:
            return self._recogniser.submit(lambda: whisper.recognise(audio))
        return self._recogniser.submit(lambda: whisper.recognise(audio, BEAM, bias))

    def _start_closing(self, until: int) -> None:
        """Transcribe the window up to a pause before sample `until`, and begin the next one there."""
        audio = self._audio[self._window : until]
        seconds = len(audio) / RATE
        cut = self._window + int(cut_at_pause(audio, EARLIEST_CUT, seconds - LATEST_CUT) * RATE)
        self._full = _Running(self._submit(self._window, cut, full=True), cut, closes=True)

    def _collect(self) -> None:
        partial, full = self._partial, self._full
        if partial is not None and partial.future.done():
            self._partial = None
            if (result := self._result(partial)) is not None:
                self._report(result.text, partial.until)
        # A partial pass that still runs hears the window as it was: it is not moved under it.
        if full is None or not full.future.done() or (full.closes and self._partial is not None):
            return
        self._full = None
        if (result := self._result(full)) is None:
            return
        if full.closes:
            self._closed.append(result)
            self._window = full.until
            self._latest, self._heard_fully = None, 0
            self._settled.extend(self._agreement.close(result.text))
            return
        self._latest = result
        self._report(result.text, full.until)

    def _result(self, run: _Running) -> Pass | None:
        """What a pass that is done has heard; None for one that was lost."""
        if not run.future.cancelled() and run.future.exception() is None:
            return run.future.result()
        self._heard = self._heard_fully = 0
        # A lost partial is no loss, a broken model shows at `final`; but no window is tried forever.
        return run.future.result() if run.closes and not run.future.cancelled() else None

    def _report(self, text: str, until: int) -> None:
        """A new partial, unless a pass that heard more was faster."""
        if until <= self._reported:
            return
        self._reported = until
        self._agreement.feed(text)
        stable = " ".join([*self._settled, *self._agreement.confirmed])
        rest = " ".join(self._agreement.rest)
        tentative = f" {rest}" if stable and rest else rest
        self._ready.append(Partial(stable, tentative, self._began + until / RATE))


def _levels(audio: Float32) -> Float32:
    """RMS of every 20 ms."""
    step = min(RATE // 50, len(audio))
    blocks = audio[: len(audio) // step * step].reshape(-1, step)
    return cast(Float32, np.sqrt(np.mean(np.square(blocks), axis=1)))
