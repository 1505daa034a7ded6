"""Streaming recognition against the same model offline: word error rate, final latency, gaps between
partials.

    python tests/bench/recognition.py [--no-pacing] [--audio FOLDER]

FOLDER holds audio files and `transcripts.tsv` (name, tab, what is said); default: the human speech in the
tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from stretto.audio.cli import transcribe
from stretto.audio.pcm import FRAME, RATE, Int16, frames, read_audio, to_float
from stretto.audio.recognise import Recogniser
from stretto.audio.vad import VAD, SpeechStarted

FILLERS = ("um", "uh", "hmm", "mm", "er")
CLIPS = Path(__file__).parents[1] / "audio" / "clips"


def plain(text: str) -> str:
    """Words only, in lower case and without fillers, which recognisers leave out."""
    words = re.sub(r"[^a-z0-9' ]", "", text.lower().replace("-", " ").replace("alright", "all right"))
    joined = re.sub(r"\b(thy|my|your) self\b", r"\1self", " ".join(words.split()))
    return " ".join(word for word in joined.split() if word not in FILLERS)


def speech_between(pcm: Int16, at_ms: list[float]) -> list[float]:
    """Milliseconds of speech between each two partials; while nobody speaks there is none to come."""
    vad, speaking = VAD(), np.zeros(len(pcm) // FRAME + 1, bool)
    started: float | None = None
    for frame in frames(pcm):
        for event in vad.feed(frame):
            if isinstance(event, SpeechStarted):
                started = event.at
            elif started is not None:
                speaking[int(started * 50) : int(event.at * 50)] = True
                started = None
    if started is not None:
        speaking[int(started * 50) :] = True
    return [20.0 * float(speaking[int(a / 20) : int(b / 20)].sum()) for a, b in pairwise(at_ms)]


def measure(folder: Path, pacing: bool) -> dict[str, Any]:
    recogniser = Recogniser()
    lines = (folder / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    expected, streaming, offline, latencies, gaps = [], [], [], [], []
    seconds = 0.0
    try:
        for name, text in (line.split("\t") for line in lines):
            pcm = read_audio(folder / name)
            seconds += len(pcm) / RATE
            result = asyncio.run(transcribe(recogniser, pcm, pacing, [], lambda line: None))
            segments, _ = recogniser.whisper.model.transcribe(to_float(pcm), language="en")
            expected.append(plain(text))
            streaming.append(plain(result["text"]))
            offline.append(plain(" ".join(segment.text for segment in segments)))
            if result["final_latency_ms"] is not None:
                latencies.append(result["final_latency_ms"])
            gaps += speech_between(pcm, [partial["at_ms"] for partial in result["partials"]])
    finally:
        recogniser.close()
    return {
        "files": len(lines),
        "seconds": round(seconds, 1),
        "wer_streaming": round(100 * jiwer.wer(expected, streaming), 2),
        "wer_offline": round(100 * jiwer.wer(expected, offline), 2),
        "final_latency_ms": {
            "p50": round(float(np.percentile(latencies, 50)), 1),
            "max": round(max(latencies), 1),
        },
        "speech_between_partials_ms": {
            f"p{p}": round(float(np.percentile(gaps, p)), 1) for p in (50, 90, 99, 100)
        },
        "paced": pacing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-pacing", action="store_true")
    parser.add_argument("--audio", type=Path, default=CLIPS)
    args = parser.parse_args()
    print(json.dumps(measure(args.audio, not args.no_pacing), indent=2))


if __name__ == "__main__":
    main()
