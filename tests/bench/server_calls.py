"""Calls at the same time over the WebSocket, each with a recorded caller: all answered, and how fast.

    python tests/bench/server_calls.py [--calls 3] [--rounds 3] [--out FILE]

Starts `stretto serve` with the embedded models in its own process. The callers are recorded beforehand (their
voices would else take the processors that are measured). Every client sends its caller's audio in real time
(a telephone line with noise), plays what comes at once, and measures from the last sample of the caller's
speech to the first audible one of the agent's.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from stretto.agent.timeline import summary
from stretto.audio.pcm import RATE, Int16
from stretto.demo.caller_voice import AUDIBLE, CallerVoice
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedOK

WIRE = 24_000
FRAME_MS = 20
CALLERS = (
    (
        "Hello, I would like to book a table for two people.",
        "Tomorrow evening at seven, please.",
        "An Italian one, if you have it.",
        "That sounds good. My name is Anna Miller.",
        "No, that is all. Thank you, goodbye.",
    ),
    (
        "Good morning. I need a taxi to the airport.",
        "From the Grand Hotel.",
        "On Friday at nine in the morning.",
        "There are three of us.",
        "Thank you very much. Bye.",
    ),
    (
        "Hi, can you cancel my order, please?",
        "The number is four two seven one.",
        "Yes, please go ahead.",
        "Then what about a hotel in the centre for two nights?",
        "No thank you, goodbye.",
    ),
)
PATIENCE_S = 25.0
"""An answer that has not begun by then counts as missing."""


class Caller:
    """One client: sends 20 ms every 20 ms, hears, and speaks when the agent has finished."""

    def __init__(self, socket: ClientConnection, noise: Int16) -> None:
        self.socket = socket
        self.noise = noise
        self.speech: Int16 | None = None
        self.ended = 0.0
        self.first: float | None = None
        self.until = 0.0
        self.over = asyncio.Event()

    async def send(self) -> None:
        size, count, began = WIRE * FRAME_MS // 1000, 0, time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, began + (count + 1) * FRAME_MS / 1000 - time.monotonic()))
            frame = np.take(self.noise, range(count * size, (count + 1) * size), mode="wrap").astype(np.int32)
            count += 1
            if self.speech is not None:
                piece, self.speech = self.speech[:size], self.speech[size:]
                frame[: len(piece)] += piece
                if not len(self.speech):
                    self.speech = None
                    self.ended = began + (count - 1) * FRAME_MS / 1000 + len(piece) / WIRE
            audio = base64.b64encode(np.clip(frame, -32768, 32767).astype("<i2").tobytes()).decode()
            try:
                await self.socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            except ConnectionClosedOK:
                return  # the agent hung up

    async def hear(self) -> None:
        """Play at once what comes; the first audible sample of an answer counts."""
        async for text in self.socket:
            event = json.loads(text)
            if event["type"] == "response.output_audio.delta":
                pcm = np.frombuffer(base64.b64decode(event["delta"]), "<i2").astype(np.int32)
                start = max(time.monotonic(), self.until)
                self.until = start + len(pcm) / WIRE
                loud = np.flatnonzero(np.abs(pcm) > AUDIBLE)
                if self.first is None and self.speech is None and len(loud) and self.ended:
                    self.first = start + int(loud[0]) / WIRE
            elif event["type"] == "response.done":
                self.over.set()
            elif event["type"] == "error":
                print("error:", event["error"]["message"], file=sys.stderr)

    async def turn(self, speech: Int16) -> float | None:
        """Say it and wait for the end of the answer; ms from voice to voice."""
        self.first, self.ended = None, 0.0
        self.over.clear()
        self.speech = speech
        limit = time.monotonic() + len(speech) / WIRE + PATIENCE_S
        while time.monotonic() < limit:
            await asyncio.sleep(0.05)
            quiet = time.monotonic() - self.until > 0.7
            if self.first is not None and self.over.is_set() and quiet:
                return (self.first - self.ended) * 1000
        return None if self.first is None else (self.first - self.ended) * 1000


@dataclass
class Recorded:
    """A caller: noise of the line, and what is said turn by turn; int16 at `WIRE`."""

    noise: Int16
    turns: list[Int16]


async def record(number: int, lines: tuple[str, ...]) -> Recorded:
    """A caller of one voice says these lines."""
    voice = CallerVoice(number, pause_share=0.0)
    try:
        said = [(await voice.speak(text, turn, turn)).pcm for turn, text in enumerate(lines)]
        return Recorded(
            soxr.resample(voice.noise(), RATE, WIRE), [soxr.resample(pcm, RATE, WIRE) for pcm in said]
        )
    finally:
        voice.close()


async def call(url: str, number: int, recorded: Recorded) -> list[float | None]:
    """One whole call; a turn's time is None where no answer came."""
    found: list[float | None] = []
    address = f"{url}/v1/realtime?stretto=greet".replace("http", "ws")
    async with connect(address, compression=None) as socket, asyncio.TaskGroup() as group:
        caller = Caller(socket, recorded.noise)
        tasks = [group.create_task(work()) for work in (caller.send, caller.hear)]
        await asyncio.wait_for(caller.over.wait(), 30)  # the greeting
        await asyncio.sleep(max(0.0, caller.until - time.monotonic()) + 0.5 + 0.3 * number)
        for speech in recorded.turns:
            if any(task.done() for task in tasks):
                break  # the agent hung up
            found.append(await caller.turn(speech))
        for task in tasks:
            task.cancel()
    return found


async def measure(url: str, calls: int, rounds: int) -> list[dict[str, Any]]:
    """So many rounds of calls at the same time."""
    result = []
    for each in range(rounds):
        lines = [CALLERS[n % len(CALLERS)] for n in range(calls)]
        callers = [await record(each * 10 + n, said) for n, said in enumerate(lines)]
        times = await asyncio.gather(*(call(url, n, said) for n, said in enumerate(callers)))
        for said, found in zip(lines, times, strict=True):
            # Behind the last words the agent may hang up without any.
            asked = len(said) - 1
            complete = len(found) >= asked and all(ms is not None for ms in found[:asked])
            shown = [None if ms is None else round(ms) for ms in found]
            result.append({"round": each, "complete": complete, "voice_to_voice_ms": shown})
            print(f"round {each}: {'complete' if complete else 'NOT complete'} {shown}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=str(Path(__file__).with_name("results") / "server_calls.json"))
    args = parser.parse_args()
    command = [sys.executable, "-W", "ignore", "-m", "stretto.agent.cli", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            calls = asyncio.run(measure(url, args.calls, args.rounds))
        finally:
            server.send_signal(signal.SIGTERM)
    times = [ms for each in calls for ms in each["voice_to_voice_ms"] if ms is not None]
    result = {
        "machine": {"system": platform.platform(terse=True), "processors": os.cpu_count()},
        "calls_at_once": args.calls,
        "complete": sum(each["complete"] for each in calls),
        "calls": len(calls),
        "answers": len(times),
        "voice_to_voice_ms": summary(times),
        "each": calls,
    }
    Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "each"}, indent=1))


if __name__ == "__main__":
    main()
