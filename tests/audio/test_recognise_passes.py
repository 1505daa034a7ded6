"""Passes that run at once: partial ones beside full ones, in whatever order they end. The model is a fake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import cast

import numpy as np
import pytest
from stretto.audio.pcm import RATE, Frame
from stretto.audio.recognise import BEAM, Recogniser, Recognition
from stretto.audio.whisper import Pass

STEP = 320


class Model:
    """Stands for the recogniser: its passes end when the test says so, and tell what they heard."""

    def __init__(self) -> None:
        self.whisper = self
        self.passes: list[tuple[str, Future[Pass]]] = []

    def recognise(self, audio: np.ndarray, beam: int = 1, bias: object = None) -> Pass:
        kind = "full" if beam == BEAM else "part"
        return Pass(f"{kind} {len(audio) / RATE:.1f}", 0.9, 0.0, 1.0)

    def submit(self, call: Callable[[], Pass]) -> Future[Pass]:
        future: Future[Pass] = Future()
        self.passes.append((call().text, future))
        return future

    def waiting(self, kind: str) -> list[tuple[str, Future[Pass]]]:
        return [(text, future) for text, future in self.passes if text.startswith(kind) and not future.done()]

    def end(self, kind: str) -> str:
        """The oldest pass of a kind ends."""
        text, future = self.waiting(kind)[0]
        future.set_result(Pass(text, 0.9, 0.0, 1.0))
        return text


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def recognition(model: Model) -> Recognition:
    return Recognition(cast(Recogniser, model))


def speak(recognition: Recognition, seconds: float, loud: bool = True) -> list[str]:
    """Feed a sound as restless as speech, or silence; the partials that came."""
    rng = np.random.default_rng(0)
    texts = []
    for number in range(round(seconds * RATE / STEP)):
        at = recognition._length / RATE
        pcm = rng.normal(0, (3000 if number % 2 else 300) if loud else 1, STEP).astype(np.int16)
        texts += [partial.text for partial in recognition.feed(Frame(pcm, at))]
    return texts


def test_partials_go_on_while_a_window_is_closed(model: Model, recognition: Recognition) -> None:
    for _ in range(40):
        speak(recognition, 0.4)
        if model.waiting("part"):
            model.end("part")
        if model.waiting("full"):
            break
    ((closing, _),) = model.waiting("full")
    texts = []
    for _ in range(4):
        texts += speak(recognition, 0.4)
        model.end("part")
    assert len(texts) >= 3 and model.waiting("full")
    model.end("full")
    speak(recognition, 0.4)
    shortest = min(float(text.split()[1]) for text, _ in model.waiting("part"))
    assert shortest < 15.0 - float(closing.split()[1]) + 4.0  # the next window began at the cut


def test_a_window_that_closes_during_the_final_pass_is_not_said_twice(
    model: Model, recognition: Recognition
) -> None:
    while not model.waiting("full"):
        speak(recognition, 0.4)
        if model.waiting("part") and not model.waiting("full"):
            model.end("part")

    async def run() -> str:
        final = asyncio.create_task(recognition.final())
        await asyncio.sleep(0)
        model.end("part")
        speak(recognition, 0.42)  # the next partial pass begins before the closing one ends
        closing = model.end("full")
        for _ in range(50):
            await asyncio.sleep(0)
            for kind in ("part", "full"):
                if model.waiting(kind) and final.done() is False:
                    model.end(kind)
            speak(recognition, 0.02)
        text = (await asyncio.wait_for(final, 5)).text
        assert closing in text or text.count("full") == 1
        return text

    text = asyncio.run(run())
    heard = sum(float(word) for word in text.split() if word[0].isdigit())
    assert heard == pytest.approx(recognition._length / RATE, abs=2.0) and "part" not in text


def test_a_full_pass_that_ends_late_does_not_take_newer_words_back(
    model: Model, recognition: Recognition
) -> None:
    speak(recognition, 1.0)
    model.end("part")
    speak(recognition, 0.2, loud=False)  # a pause starts a full pass
    assert len(model.waiting("full")) == 1
    texts = []
    for _ in range(3):
        if model.waiting("part"):
            newest = model.end("part")
        texts += speak(recognition, 0.5)
    assert texts[-1] == newest > "part 1.3"
    model.end("full")
    assert speak(recognition, 0.02) == []


def test_the_final_does_not_wait_for_a_partial_pass(model: Model, recognition: Recognition) -> None:
    speak(recognition, 1.0)
    assert model.waiting("part") and not model.waiting("full")

    async def run() -> str:
        final = asyncio.create_task(recognition.final())
        await asyncio.sleep(0)
        assert model.end("full") == "full 1.0"
        return (await asyncio.wait_for(final, 5)).text

    assert asyncio.run(run()) == "full 1.0" and model.waiting("part")
