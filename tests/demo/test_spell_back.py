"""The example of an agent of one's own parts: it runs, and what it says is what it heard."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from stretto.audio.synthesise import Synthesiser
from stretto.demo.spell_back import CODE, UNIT_S, agent


def signs(path: Path) -> str:
    """What the agent keyed: the length of each tone, and of the silence behind it, says which sign it is."""
    both, rate = soundfile.read(path)
    step = int(UNIT_S / 3 * rate)
    loud = np.abs(both[: len(both) // step * step, 1]).reshape(-1, step).max(1) > 0.1
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud, [0]])))
    keyed = ""
    for start, end, following in zip(edges[::2], edges[1::2], [*edges[2::2], edges[-1]], strict=True):
        keyed += "." if end - start < 6 else "-"
        keyed += " " if following - end > 5 else ""
    return keyed


def test_the_last_word_is_spelt_in_morse_code(throat: Synthesiser, tmp_path: Path) -> None:
    pcm = np.concatenate([chunk.pcm for chunk in throat.synthesise("Please spell the word table.")])
    soundfile.write(tmp_path / "caller.wav", pcm, throat.rate)

    async def work() -> Any:
        async with agent() as spelling:
            return await spelling.answer(tmp_path / "caller.wav", tmp_path / "call.wav")

    (turn,) = [turn for turn in asyncio.run(work()).turns if turn.caller]
    assert turn.caller.lower().strip(" .").endswith("table") and turn.failures == []
    assert turn.agent == turn.heard == "t a b l e"
    assert signs(tmp_path / "call.wav") == " ".join(CODE[letter] for letter in "table")
