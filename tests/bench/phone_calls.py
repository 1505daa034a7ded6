"""Calls by telephone over both protocols, each with the simulated caller: goals met, and how fast.

    python tests/bench/phone_calls.py [--calls 20] [--ways twilio audiosocket] [--loss 0.0] [--out FILE]

Every call has the caller of a seed (tests/bench/seeds.py), a database of its own and a server that is
reached over real sockets by a simulated telephone (`demo/phone.py`); the models are the embedded ones. All is
measured at the telephone, that is with the way there and back: from the last sample of the caller's speech to
the first audible one of the agent's. `apart_ms`: how much later the server's recording has a side than the
telephone itself, in the first and in the second half of the call. A call takes one to two minutes. The result
is written after every call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import runpy
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from stretto.agent.canned import CONCIERGE
from stretto.agent.realtime.connection import Service
from stretto.agent.realtime.wire_voice import WireVoice
from stretto.agent.server.audiosocket_door import AudioSocketDoor
from stretto.agent.server.server import Server
from stretto.agent.session import Session, SessionOptions
from stretto.agent.simulate import BENCH_NOW, staged
from stretto.agent.timeline import summary
from stretto.agent.ways_in.bias import names_in
from stretto.agent.ways_in.speech import Speech
from stretto.audio.pcm import RATE, Frame, Int16, Resampler
from stretto.audio.recognise import Recogniser
from stretto.audio.synthesise import Synthesiser
from stretto.audio.threads import limit_threads
from stretto.demo.caller_voice import CallerVoice
from stretto.demo.phone import FRAME, PHONE_RATE, Phone, audiosocket_phone, twilio_phone
from stretto.demo.spoken_caller import SpokenCaller
from stretto.demo.voice_to_voice import answers_ms
from stretto.demo.warm_up import warm_up
from stretto.llm.language_model import LanguageModel
from stretto.llm.local import LocalModel
from stretto.tools.concierge.caller import TextCaller
from stretto.tools.concierge.success import check
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.concierge.wording import Style

WAYS = ("twilio", "audiosocket")
LONGEST_S = 400.0
STEP_MS = 5
"""Envelopes are compared in such steps."""


class Microphone:
    """Where the simulated caller's frames go: to the telephone's line, 8 kHz, as they come."""

    def __init__(self, phone: Phone, loss: float, seed: int) -> None:
        self._phone = phone
        self._loss, self._rng = loss, random.Random(f"loss/{seed}")
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()

    def hear(self, frame: Frame) -> None:
        self._frames.put_nowait(frame)

    async def hang_up(self) -> None:
        await self._phone.hang_up()

    async def send(self) -> None:
        """Until the line is gone."""
        narrow, rest, number = Resampler(RATE, PHONE_RATE), np.zeros(0, np.int16), 0
        began: float | None = None
        while True:
            frame = await self._frames.get()
            began = frame.at if began is None else began
            rest = np.concatenate([rest, narrow.feed(frame.pcm)])
            while len(rest) >= FRAME:
                pcm, rest = rest[:FRAME], rest[FRAME:]
                self._phone.sent.append((began + number * FRAME / PHONE_RATE, pcm))
                if self._rng.random() >= self._loss:
                    try:
                        await self._phone.line.packet(pcm, number)
                    except Exception:  # whatever the protocol's client raises when the line is gone
                        self._phone.over.set()
                        return
                number += 1


def recorded(folder: Path) -> Int16:
    """Both sides as the server kept them, int16 of shape (n, 2)."""
    (path,) = folder.glob("*.wav")
    samples, rate = soundfile.read(str(path), dtype="int16", always_2d=True)
    assert rate == PHONE_RATE
    return samples


def apart_ms(recorded: Int16, true: Int16) -> list[float | None]:
    """How much later a side was recorded, ms: in both halves of the call; None where it is silent."""
    size, step = min(len(recorded), len(true)), PHONE_RATE * STEP_MS // 1000
    found: list[float | None] = []
    for part in (slice(0, size // 2), slice(size // 2, size)):
        sides = [np.abs(each[part].astype(float)) for each in (recorded, true)]
        a, b = (each[: len(each) // step * step].reshape(-1, step).mean(axis=1) for each in sides)
        if not a.any() or not b.any():
            found.append(None)
            continue
        likeness = np.correlate(a - a.mean(), b - b.mean(), "full")
        found.append(float(int(np.argmax(likeness)) - (len(b) - 1)) * STEP_MS)
    return found


async def call(
    model: LanguageModel, speech: Speech, way: str, seed: int, loss: float, folder: Path
) -> dict[str, Any]:
    """One call from its first ring to its end."""
    database, goal, rng = staged(seed, BENCH_NOW)
    before = database.snapshot()
    held: asyncio.Queue[Session] = asyncio.Queue()
    service = Service(
        model, speech.recogniser, lambda speed: WireVoice(speech.synthesiser),
        SessionOptions(system=system_text(BENCH_NOW), canned=CONCIERGE, observers=(held.put_nowait,)),
        tuple(concierge(database, lambda: BENCH_NOW)), bias=tuple(names_in(database)),
    )  # fmt: skip
    door = AudioSocketDoor("127.0.0.1", 0)
    server = Server(service, record=folder, audiosocket=door)
    voice = CallerVoice(seed)
    try:
        async with server.listening() as url:
            if way == "twilio":
                dialled = twilio_phone(url.replace("http", "ws") + "/twilio", open_microphone=False)
            else:
                dialled = audiosocket_phone(*door.address, open_microphone=False)
            async with dialled as phone:
                session = await held.get()
                heard = session.events()
                mic = Microphone(phone, loss, seed)
                caller = SpokenCaller(
                    TextCaller(goal, Style.draw(rng, held_out=True), rng), voice, mic, time.monotonic,
                    rng=random.Random(f"gaps/{seed}"), sent=lambda pcm, at: None,
                )  # fmt: skip
                phone.ear.heard = lambda pcm, at: caller.hear_agent(pcm, at, PHONE_RATE)
                async with asyncio.TaskGroup() as group:
                    works = (mic.send(), caller.send(), caller.listen(heard), caller.converse())
                    tasks = [group.create_task(each) for each in works]
                    async with asyncio.timeout(LONGEST_S):
                        await phone.over.wait()
                    for task in tasks:
                        task.cancel()
    finally:
        voice.close()
    true = phone.stereo(session.started)
    kept = recorded(folder)
    ends = [(turn.end - session.started) * 1000 for turn in caller.turns]
    starts = [(turn.start - session.started) * 1000 for turn in caller.turns]
    outcome = check(database, before, goal)
    return {
        "way": way,
        "seed": seed,
        "goal_met": outcome.met,
        "why": outcome.why,
        "ended": session.record.ended,
        "seconds": round(session.record.seconds, 1),
        "turns": len(caller.turns),
        "voice_to_voice_ms": [
            None if ms is None else round(ms) for ms in answers_ms(true[:, 1], PHONE_RATE, ends, starts)
        ],
        "apart_ms": {side: apart_ms(kept[:, n], true[:, n]) for n, side in enumerate(("caller", "agent"))},
        "caller_said": [turn.text for turn in caller.turns],
        "said": [{"caller": turn.caller, "agent": turn.agent} for turn in session.record.turns],
    }


def total(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the calls of one protocol."""
    answers = [ms for each in calls for ms in each["voice_to_voice_ms"] if ms is not None]
    apart = [abs(ms) for each in calls for side in each["apart_ms"].values() for ms in side if ms is not None]
    return {
        "calls": len(calls),
        "completed": sum(each["ended"] in ("hang_up", "transfer", "caller") for each in calls),
        "goal_met": sum(each["goal_met"] for each in calls),
        "answers": len(answers),
        "voice_to_voice_ms": summary(answers),
        "recording_apart_ms": summary(apart),
    }


def write(out: str, result: dict[str, Any]) -> None:
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    seeds = runpy.run_path(str(Path(__file__).with_name("seeds.py")))["BENCH_SEEDS"][: args.calls]
    limit_threads()
    model = LocalModel()
    speech = Speech(Recogniser(), Synthesiser())
    result: dict[str, Any] = {
        "machine": {"system": platform.platform(terse=True), "processors": os.cpu_count()},
        "loss": args.loss,
        "each": [],
    }
    try:
        await warm_up(model, speech, "medium")
        for seed in seeds:
            for way in args.ways:
                with tempfile.TemporaryDirectory() as folder:
                    found = await call(model, speech, way, seed, args.loss, Path(folder))
                result["each"].append(found)
                for each in args.ways:
                    result[each] = total([one for one in result["each"] if one["way"] == each])
                write(args.out, result)
                met = "met" if found["goal_met"] else f"NOT met ({found['why']})"
                print(
                    f"{way} {seed}: {met}, {found['voice_to_voice_ms']} ms, {found['apart_ms']}", flush=True
                )
    finally:
        speech.close()
        model.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20, help="over each protocol")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--loss", type=float, default=0.0, help="share of the caller's packets that is lost")
    parser.add_argument("--out", default=str(Path(__file__).with_name("results") / "phone_calls.json"))
    result = asyncio.run(measure(parser.parse_args()))
    print(json.dumps({name: value for name, value in result.items() if name != "each"}, indent=1))


if __name__ == "__main__":
    main()
