"""An agent of your own parts, all three: it hears a word, spells it, and says the letters in Morse code.

`python -m stretto.demo.spell_back`, then open http://127.0.0.1:8080 and say a word.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
from stretto.agent import Agent, SessionOptions
from stretto.audio.pcm import RATE, Frame, to_float, to_int16
from stretto.audio.recognise import Partial, Transcript
from stretto.audio.synthesise import Chunk, Word
from stretto.audio.whisper import LONGEST, Whisper
from stretto.llm.language_model import AUTO, Canvas, Draft, Effort, Settled, ToolChoice, ToolSpec, TurnSignal

MORSE = """
.- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..
"""
CODE = dict(zip("abcdefghijklmnopqrstuvwxyz", MORSE.split(), strict=True))
UNIT_S = 0.06


class Ears:
    """The recogniser: an engine that knows whole recordings only, asked when the turn may be over."""

    def __init__(self) -> None:
        self.engine = Whisper()  # yours: from samples to text

    def open(self, bias: Sequence[str] = ()) -> "Turn":
        return Turn(self.engine)


class Turn:
    paused = False

    def __init__(self, engine: Whisper) -> None:
        self.engine = engine
        self.frames: list[Frame] = []

    def feed(self, frame: Frame) -> list[Partial]:
        self.frames.append(frame)
        return []  # words that are heard so far, if the engine can tell

    async def final(self, end: float | None = None) -> Transcript:
        began, pcm = time.monotonic(), np.concatenate([frame.pcm for frame in self.frames])
        heard = await asyncio.to_thread(self.engine.recognise, to_float(pcm[-int(LONGEST * RATE) :]))
        took_ms = (time.monotonic() - began) * 1000
        return Transcript(heard.text, heard.confidence, heard.no_speech, took_ms, len(pcm) / RATE)

    def close(self) -> None:
        self.frames.clear()


class Speller:
    """The language model: the caller's last word, letter by letter."""

    def open(self, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO) -> "Spelling":
        return Spelling()


class Spelling:
    words = ""

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        self.words = stable + tentative
        return TurnSignal(p_end=0.9, p_say=1.0, p_call=0.0)

    async def draft(
        self, effort: Effort = "medium", deadline_ms: float | None = None, revise: Draft | None = None
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        letters = [letter for letter in (self.words.split() or ["what"])[-1].lower() if letter in CODE]
        yield Draft(" ".join(letters))

    async def commit(self, draft: Draft, heard: str | None = None) -> None: ...
    async def say(self, text: str) -> None: ...
    async def tool_result(self, call_id: str, content: str) -> None: ...
    async def restore(self, messages: Sequence[Mapping[str, Any]]) -> None: ...
    def close(self) -> None: ...


class Key:
    """The voice: a telegraph key. It tells where each word lies: what a caller who interrupts has heard."""

    rate = 8000

    async def speak(self, clause: str) -> AsyncIterator[Chunk]:
        units: list[int] = []  # 1: sound
        words = []
        for word in clause.split():
            start = len(units)
            for sign in "".join(CODE.get(letter, "") for letter in word.lower()):
                units += [1] * (1 if sign == "." else 3) + [0]
            words.append(Word(word, start * UNIT_S, len(units) * UNIT_S))
            units += [0] * 2
        loud = np.repeat(units, int(UNIT_S * self.rate))
        tone = np.sin(2 * np.pi * 700 / self.rate * np.arange(len(loud)))
        yield Chunk(to_int16(0.3 * loud * tone), self.rate, tuple(words))


def agent() -> Agent:
    options = SessionOptions(greeting="")
    return Agent(model=Speller(), recogniser=Ears(), voice=Key(), options=options)


async def main() -> None:
    async with agent() as spelling, spelling.serving(port=8080) as url:
        print(f"ready: {url}")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
