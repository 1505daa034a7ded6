"""What goes wrong on a line: frames too long, clients that vanish or take nothing, a server told to stop."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from rich.console import Console
from stretto.agent import serve_command
from stretto.agent.cli import UsageError
from stretto.agent.server import held_calls
from stretto.agent.server.server import Limits
from stretto.agent.session import Session
from stretto.demo.phone import audiosocket_phone
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def run(work, timeout=200):
    return asyncio.run(asyncio.wait_for(work, timeout))


def address(url: str, query: str = "") -> str:
    return f"{url}/v1/realtime?model=x{query}".replace("http", "ws")


def test_frames_that_are_too_long(house):
    house.limits = Limits(frame=100_000, json=5000)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            audio = base64.b64encode(bytes(40_000)).decode()
            await talk.connection.input_audio_buffer.append(audio=audio)  # audio may be long
            await talk.connection.send({"type": "session.update", "session": {"instructions": "x" * 6000}})
            assert (await talk.until("error")).error.code == "event_too_long"
            for audio in ("x" * 300_000, "ö" * 60_000):  # bytes count, not characters
                text = json.dumps({"type": "input_audio_buffer.append", "audio": audio}, ensure_ascii=False)
                await talk.connection._connection.send(text)
                assert (await talk.until("error")).error.code == "event_too_long"
            await talk.connection.session.update(session={"type": "realtime", "instructions": "Short."})
            await talk.until("session.updated")
            with pytest.raises(ConnectionClosed) as closed:  # that much is never read
                await talk.connection.input_audio_buffer.append(audio="x" * 500_000)
                await talk.until("response.done")
            assert closed.value.rcvd.code == 1009

    run(work())


def test_a_client_that_vanishes_in_mid_word_leaves_a_transcript_and_no_task(house, tmp_path):
    house.record = tmp_path
    house.brain.policy = lambda t: "This is a long story. " * 30

    async def work():
        async with house.serving() as url:  # asserts that no task is left
            async with house.client(url) as talk:
                await talk.say(house.spoken("Tell me a story, please."))
                await talk.until("response.output_audio.delta")
                await asyncio.sleep(1.5)
                await talk.say(house.spoken("And then, what did", silence_s=0.0))
                talk.connection._connection.transport.abort()
            async with asyncio.timeout(20):
                while house.server.doors.sessions:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    run(work())
    (transcript,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in transcript.read_text().splitlines()]
    assert [line["role"] for line in lines][:3] == ["system", "user", "assistant"]
    assert "story" in lines[1]["content"].lower() and lines[2]["content"].startswith("This is a long story.")
    assert len(lines[2]["content"]) < len("This is a long story. " * 30)  # only what was played
    (recording,) = tmp_path.glob("*.wav")
    assert recording.stat().st_size > 100_000


def test_a_client_that_takes_no_events_is_left(house, monkeypatch):
    from stretto.agent.realtime import wire

    monkeypatch.setattr(wire, "MOST_WAITING", 50)

    async def work():
        async with (
            house.serving() as url,
            connect(address(url, "&stretto=events"), compression=None, max_queue=1) as line,
        ):
            for _ in range(300):
                await line.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "x" * 900}))
            async with asyncio.timeout(60):
                while house.server.doors.sessions:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    monkeypatch.setattr(wire, "SEND_TIMEOUT_S", 1.0)
    run(work())


def test_who_says_nothing_is_hung_up_on(house):
    house.limits = Limits(idle_s=0.5)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            assert (await talk.until("error")).error.code == "session_expired"

    run(work())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_call_that_does_not_end_is_broken_off_and_the_port_was_not_taken(
    house, monkeypatch, capsys, caplog
):
    async def never(self):
        await asyncio.Event().wait()

    monkeypatch.setattr(held_calls, "CLOSE_S", 0.3)
    monkeypatch.setattr(Session, "hang_up", never)

    async def work():
        serving = asyncio.create_task(
            serve_command.serve(house.made(), "127.0.0.1", 0, True, Console(quiet=True))
        )
        while not (line := capsys.readouterr().out):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        ready = json.loads(line)
        async with connect(address(ready["url"])) as line:
            assert json.loads(await line.recv())["type"] == "session.created"
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                await line.recv()
            await serving

    run(work(), 60)
    assert "does not end (TimeoutError)" in caplog.text


def test_a_port_that_is_taken_is_told(house):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="cannot listen"):
        port = taken.getsockname()[1]
        run(serve_command.serve(house.made(), "127.0.0.1", port, True, Console(quiet=True)), 20)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_ends_calls_and_keeps_what_was_said(tmp_path):
    """The command itself, with the embedded models."""
    command = [sys.executable, "-m", "stretto.agent.cli", "serve", "--port", "0", "--json"]
    process = subprocess.Popen(
        [*command, "--record", str(tmp_path), "--audiosocket", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["ready"]

        async def work():
            host, _, port = ready["audiosocket"].rpartition(":")
            web = connect(address(ready["url"], "&stretto=greet"))
            async with audiosocket_phone(host, int(port)) as phone, web as line:
                kinds = []
                async with asyncio.timeout(60):
                    while "response.output_audio.done" not in kinds:
                        kinds.append(json.loads(await line.recv())["type"])
                    await asyncio.sleep(1.5)
                    process.send_signal(signal.SIGTERM)
                    with pytest.raises(ConnectionClosed):
                        while True:
                            await line.recv()
                    await phone.over.wait()

        run(work())
        began = time.monotonic()
        assert process.wait(30) == 0 and time.monotonic() - began < 30
    finally:
        process.kill()
        process.communicate()
    transcripts = sorted(tmp_path.glob("*.jsonl"))
    assert [path.name.split("_")[0] for path in transcripts] == ["phone", "sess"]
    for transcript in transcripts:
        lines = [json.loads(line) for line in transcript.read_text().splitlines()]
        assert lines[0]["role"] == "system" and lines[1]["content"].startswith("Harbor City")
