"""Models are loaded once for the whole room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from stretto.audio.pcm import Int16, Resampler
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Synthesiser, clauses


@pytest.fixture(scope="session")
def recogniser() -> Iterator[Recogniser]:
    recogniser = Recogniser()
    yield recogniser
    recogniser.close()


@pytest.fixture(scope="session")
def synthesiser() -> Iterator[Synthesiser]:
    synthesiser = Synthesiser(deterministic=True)
    yield synthesiser
    synthesiser.close()


@pytest.fixture(scope="session")
def say(synthesiser: Synthesiser) -> Callable[..., Int16]:
    """Speech at 16 kHz, with seconds of silence before and after."""

    def speak(text: str, before: float = 0.5, after: float = 0.5) -> Int16:
        resampler = Resampler(synthesiser.rate, 16_000)
        spoken = [
            resampler.feed(chunk.pcm) for clause in clauses(text) for chunk in synthesiser.synthesise(clause)
        ]
        silence = [np.zeros(int(seconds * 16_000), np.int16) for seconds in (before, after)]
        return np.concatenate([silence[0], *spoken, resampler.flush(), silence[1]])

    return speak


@pytest.fixture(scope="session")
def clips() -> dict[Path, str]:
    """Human speech: path -> what is said."""
    folder = Path(__file__).parent / "clips"
    lines = (folder / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    return {folder / name: text for name, text in (line.split("\t") for line in lines)}
