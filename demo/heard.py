"""Training dialogues whose callers are spoken and recognised, so that a model learns to read mistakes.

`python -m stretto.demo.heard --count N --seed S --out FILE.jsonl.gz`

Every caller's turn is synthesised over a noisy telephone line, half of them with a pause in the middle, and
recognised by the embedded Whisper, as in a call. The oracle answers what was heard: where a value stood, the
words heard in its place are copied; a value that is gone is asked for, and so is the whole turn where too
little was left of it.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein
from stretto.agent.ways_in.bias import names_in
from stretto.audio.agreement import key
from stretto.audio.bias import Bias
from stretto.audio.pcm import RATE, Int16, to_float
from stretto.audio.whisper import Whisper
from stretto.demo.caller_voice import CallerVoice
from stretto.tools.concierge.dialogues import City, flags, generate
from stretto.tools.concierge.wording import Act, Utterance
from stretto.tools.concierge.wording_values import words
from stretto.tools.spoken_number import SpokenNumberError, resolve_number
from stretto.tools.spoken_time import SpokenTimeError, resolve_date, resolve_time

VOICES = ((0.95, 0.98), (1.05, 1.1), (1.16, 1.04), (1.22, 1.12))
"""Pitch and speed of the callers."""
BEFORE_S = 0.4
AFTER_S = (0.12, 0.5)
"""Seconds of the line's noise heard before the words and after them."""
BEAM = 5
LONGER = 3
"""Words that a value may be longer as heard: "6:30" -> "6 30 p.m."."""
ALIKE = 62.0
"""Least likeness (0..100) of what was said and what was heard, in letters and digits."""
LOST = (Act("garbled"),)
CHECKED = frozenset(("people", "nights", "date", "time"))
"""Slots whose values the tools can read or not; names are always taken as they are."""


class Ears:
    """Speaks what a caller says and recognises it; the same seed and words give the same."""

    def __init__(self, seed: int, threads: int = 1) -> None:
        self._whisper = Whisper(threads=threads)
        self._rng = random.Random(f"heard/{seed}")
        self._voices = [
            CallerVoice(seed + number, pause_share=0.5, pitch=pitch, speed=speed)
            for number, (pitch, speed) in enumerate(VOICES)
        ]
        self._noises = [voice.noise() for voice in self._voices]
        self._turn = 0
        self.turns = self.lost = 0
        """Turns of which something was heard, and those among them with nothing left to act on."""

    def __call__(self, said: Utterance, city: City) -> Utterance:
        """The utterance as heard; see `stretto.tools.concierge.dialogues.Hear`."""
        self._turn += 1
        which = self._rng.randrange(len(self._voices))
        spoken = self._voices[which].synthesise(said.text, self._turn, self._turn // 2)
        bias = _bias(tuple(names_in(city.database)))
        heard = self._recognised(spoken.pcm, which, bias)
        pauses = []
        for pause in spoken.pauses:
            before = self._recognised(spoken.pcm[: int(pause.start_ms * RATE / 1000)], which, bias)
            if before:
                pauses.append((before, said.text[len(pause.after) :].strip()))
        if not heard:
            return replace(said, pauses=tuple(pauses))
        changed = as_heard(said, heard, city.now)
        self.turns += 1
        self.lost += changed.acts == LOST
        return replace(changed, pauses=tuple(pauses))

    def _recognised(self, pcm: Int16, which: int, bias: Bias) -> str:
        before, after = (int(s * RATE) for s in (BEFORE_S, self._rng.uniform(*AFTER_S)))
        line = np.concatenate([np.zeros(before, np.int16), pcm, np.zeros(after, np.int16)]).astype(np.int32)
        start = self._rng.randrange(len(self._noises[which]))
        noise = np.take(self._noises[which], range(start, start + len(line)), mode="wrap")
        line += (noise * self._rng.choice((0.3, 1.0, 1.0, 2.0))).astype(np.int32)
        audio = to_float(np.clip(line, -32768, 32767).astype(np.int16))
        return self._whisper.recognise(audio, BEAM, bias).text


@lru_cache(maxsize=4)
def _bias(names: tuple[str, ...]) -> Bias:
    return Bias(names)


def as_heard(said: Utterance, heard: str, now: datetime) -> Utterance:
    """The utterance with its words and the values in its acts as they were heard.

    A value that is gone takes its act along; what is another sentence, or has no act left, is `LOST`.
    """
    acts: list[Act] = []
    expected = said.written
    for act in said.acts:
        value = act.value
        if act.kind == "inform" and value in said.written:
            found = counterpart(value, said.written, heard)
            if found is None or (_understood(act.slot, value, now) and not _understood(act.slot, found, now)):
                continue
            if act.slot in CHECKED:  # "815 AM" for "eight fifteen a m" is no sign of another sentence
                expected = expected.replace(value, found, 1)
            value = found
        elif _stands(value, said.written) and not _stands(value, heard):
            continue
        acts.append(replace(act, value=value))
    likeness = max(
        fuzz.ratio(key(text.replace(" ", "")), key(heard.replace(" ", "")))
        for text in (said.text, said.written, expected)
    )
    return replace(said, written=heard, acts=tuple(acts) if acts and likeness >= ALIKE else LOST)


def _stands(value: str, text: str) -> bool:
    """Whether what is looked for (a food, "4" stars, the "centre") is named in a text."""
    forms = {value, words(int(value))} if value.isdigit() else {value, value.replace("tre", "ter")}
    return any(form.lower() in text.lower() for form in forms)


def _understood(slot: str, value: str, now: datetime) -> bool:
    """Whether the tools can make a number, a day or a time of it."""
    try:
        if slot in ("people", "nights"):
            resolve_number(value)
        elif slot == "date":
            resolve_date(value, now)
        elif slot == "time":
            resolve_time(value)
    except (SpokenNumberError, SpokenTimeError):
        return False
    return True


def counterpart(value: str, written: str, heard: str) -> str | None:
    """The words of `heard` in the place of `value`, part of `written`; None where that is unclear."""
    source, target = [key(word) for word in written.split()], [key(word) for word in heard.split()]
    first = len(written[: written.index(value)].split())
    count = len(value.split())
    start, stop = _edge(first, source, target, False), _edge(first + count, source, target, True)
    if start is None or stop is None or not 0 < stop - start <= count + LONGER:
        return None
    found = " ".join(heard.split()[start:stop]).strip(" ,?!;:\"'")
    return (found if found.lower().endswith(".m.") else found.rstrip(".")) or None


def _edge(edge: int, source: list[str], target: list[str], ends: bool) -> int | None:
    """Where a boundary between words of `source` lies in `target`; what differs counts to the value."""
    found: int | None = None
    block_source = block_target = 0  # where the stretch that differs began
    for op in [*Levenshtein.opcodes(source, target), None]:
        if op is not None and op.tag != "equal":
            continue
        here_source, here_target = (op.src_start, op.dest_start) if op else (len(source), len(target))
        if block_source <= edge <= here_source and found is None:
            if edge == here_source and (ends or block_source < here_source):
                found = here_target
            elif edge == block_source:
                found = block_target
            elif here_source - block_source == here_target - block_target:
                found = block_target + edge - block_source
            else:
                return None
        if op is not None:
            if op.src_start < edge < op.src_end:
                found = op.dest_start + edge - op.src_start
            block_source, block_target = op.src_end, op.dest_end
    return found


def main(argv: list[str] | None = None) -> int:
    """Write recognised dialogues to a packed file."""
    parser = flags("Make concierge dialogues with recognised callers.")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    ears = Ears(args.seed, args.threads)
    with gzip.open(args.out, "wt") as file:
        for dialogue in generate(args.seed, args.count, args.valid, ears):
            file.write(json.dumps(dialogue, ensure_ascii=False) + "\n")
            file.flush()
    print(f"{ears.turns} turns, nothing understood in {ears.lost}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
