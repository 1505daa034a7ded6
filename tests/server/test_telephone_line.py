"""What happens to a line, over real sockets: it is recorded in time, loses packets, and is cut."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stretto.demo.phone import Network

WAYS = ("twilio", "audiosocket")


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 250))


def recorded(path: Path) -> np.ndarray:
    """Both sides of a recording, int16 of shape (n, 2) at 8 kHz."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)


def shift_ms(one: np.ndarray, other: np.ndarray, step_ms: int = 20, alike: float = 0.7) -> float:
    """How much later `one` has the same sound, by its envelope in steps; asserts that it is the same."""
    step = 8 * step_ms
    size = min(len(one), len(other)) // step * step
    a, b = (np.abs(each[:size].astype(float)).reshape(-1, step).mean(axis=1) for each in (one, other))
    a, b = a - a.mean(), b - b.mean()
    likeness = np.correlate(a, b, "full") / np.sqrt((a @ a) * (b @ b))
    assert likeness.max() > alike, likeness.max()
    return float((int(np.argmax(likeness)) - (len(b) - 1)) * step_ms)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_held_recorded_and_kept(phones, way, says, tmp_path):
    speech = says("I would like to have a table for two people.", 8000, 0.0)

    async def work():
        async with phones.serving() as url, phones.phoning(way, url) as caller:
            await caller.answered()
            await caller.phone.say(speech)
            await caller.answered(2)
            session = caller.call.session
            stereo, words = caller.phone.stereo(session.started), list(session.history.messages)
            # What the session took for the end of speech is what the microphone knows.
            end_s = session.record.turns[-1].speech_end_ms / 1000 + session.started
            assert end_s == pytest.approx(caller.phone.said[-1][1], abs=0.3)
        return caller.call.id, stereo, [message["content"] for message in words]

    name, stereo, words = run(work())
    assert words[1] == "Hello, who is there?"
    assert "table for two" in words[2].lower() and "table for two" in words[3].lower()
    kept = recorded(tmp_path / f"{name}.wav")
    for channel in (0, 1):  # in time with what microphone and ear had
        assert abs(shift_ms(kept[:, channel], stereo[:, channel])) < 80, channel
    lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert [line["content"] for line in lines] == words
    assert words[2] in (tmp_path / f"{name}.html").read_text()


@pytest.mark.timeout(250)
@pytest.mark.parametrize("way", WAYS)
def test_a_bad_network_is_borne_and_the_recording_stays_in_time(phones, way, says, tmp_path):
    """5 % of the packets are lost; Twilio's come up to 60 ms late and overtake each other."""
    speech = [
        says(text, 8000, 0.0)
        for text in ("I would like to book a table.", "For two people on Monday evening please.")
    ]
    network = Network(loss=0.05, jitter_ms=60 if way == "twilio" else 0, seed=5)

    async def work():
        async with phones.serving() as url, phones.phoning(way, url, network=network) as caller:
            for number, pcm in enumerate(speech):
                await caller.answered(number + 1)
                await caller.phone.say(pcm)
            await caller.answered(len(speech) + 1)
            session, packets = caller.call.session, caller.call.packets
            heard = " ".join(turn.caller for turn in session.record.turns).lower()
            stereo = caller.phone.stereo(session.started)
            assert "table" in heard and "monday" in heard and packets.lost > 0
        return caller.call.id, stereo

    name, stereo = run(work())
    kept = recorded(tmp_path / f"{name}.wav")
    # What is lost without a trace shifts the stream by some ten ms until it is set right: coarser steps.
    coarse: dict[str, Any] = {"step_ms": 40, "alike": 0.6}
    assert abs(shift_ms(kept[:, 1], stereo[:, 1], **coarse)) < 120
    half = len(stereo) // 2
    for part in (slice(0, half), slice(half, len(stereo))):  # no drift from one end to the other
        if (np.abs(stereo[part, 0].astype(int)) > 500).sum() > 800:
            assert abs(shift_ms(kept[part, 0], stereo[part, 0], **coarse)) < 120
    page = phones.server.metrics.page().decode().splitlines()
    (lost,) = [line for line in page if line.startswith("stretto_phone_lost_seconds_total")]
    assert way in lost and float(lost.split()[-1]) > 0.1
