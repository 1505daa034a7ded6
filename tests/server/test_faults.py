"""What goes wrong on a line: garbage, clients that vanish or take nothing, a server that is told to stop."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.agent.realtime import client_events
from stretto.agent.realtime.errors import RequestError
from stretto.agent.server.doors import Doors, mint
from stretto.agent.server.server import Limits
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

KINDS = [
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.truncate",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "response.create",
    "response.cancel",
    "output_audio_buffer.clear",
]
FIELDS = (
    "type session item item_id audio previous_item_id content_index audio_end_ms response response_id "
    "event_id id role content text call_id output instructions tools turn_detection output_modalities "
    "metadata input"
).split()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)
frames = st.one_of(
    st.text(max_size=60),
    st.binary(max_size=60),
    values.map(json.dumps),
    st.builds(
        lambda kind, fields: json.dumps({**fields, "type": kind}),
        st.sampled_from(KINDS),
        st.dictionaries(st.sampled_from(FIELDS), values, max_size=5),
    ),
)


def run(work, timeout=200):
    return asyncio.run(asyncio.wait_for(work, timeout))


def address(url: str, query: str = "") -> str:
    return f"{url}/v1/realtime?model=x{query}".replace("http", "ws")


@given(frames)
@settings(max_examples=500, deadline=None)
def test_any_frame_is_an_event_or_refused(frame):
    try:
        event, _ = client_events.parse(frame)
    except RequestError as error:
        assert str(error) and error.code
    else:
        assert event.type in KINDS


def drawn(count: int) -> list[str | bytes]:
    """So many frames of the strategy."""
    found: list[str | bytes] = []

    calm = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=count, derandomize=True, **calm)
    @given(frames)
    def collect(frame):
        found.append(frame)

    collect()
    rng = random.Random(1)
    while len(found) < count:  # hypothesis stops early where it finds nothing new
        text = rng.choice(found)
        cut = rng.randrange(len(text) + 1)
        found.append(text[:cut] + text[cut + 1 :])
    return found[:count]


@pytest.mark.timeout(400)
def test_ten_thousand_malformed_frames_hurt_nobody(house):
    """On one connection after the other; a call beside them goes on."""
    bad = drawn(10_000)
    house.limits = Limits(json=2000)

    async def attack(url: str, share: list[str | bytes]) -> int:
        refused, sent = 0, 0
        while sent < len(share):
            async with connect(address(url), compression=None) as socket:

                async def read(socket=socket) -> int:
                    errors = 0
                    try:
                        async for text in socket:
                            errors += json.loads(text)["type"] == "error"
                    except ConnectionClosed:
                        pass
                    return errors

                reader = asyncio.create_task(read())
                try:
                    while sent < len(share):
                        await socket.send(share[sent])
                        sent += 1
                        if sent % 500 == 0:
                            break
                    await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
                    await asyncio.sleep(0.3)
                except ConnectionClosed:
                    pass
                await socket.close()
                refused += await reader
        return refused

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            async with asyncio.TaskGroup() as group:
                attacks = [group.create_task(attack(url, bad[n::2])) for n in range(2)]
                answered = 0
                while not all(task.done() for task in attacks):
                    text = {"type": "input_text", "text": f"Number {answered}."}
                    await talk.connection.conversation.item.create(
                        item={"type": "message", "role": "user", "content": [text]}
                    )
                    await talk.connection.response.create()
                    done = await talk.until("response.done")
                    assert done.response.output[0].content[0].text == f"You said Number {answered}."
                    answered += 1
                    await asyncio.sleep(0.2)
            assert answered > 1
            assert sum(task.result() for task in attacks) > 5000
        assert house.server.doors.sessions == 0

    run(work(), 380)


def test_frames_that_are_too_long(house):
    house.limits = Limits(frame=100_000, json=5000)

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            audio = base64.b64encode(bytes(40_000)).decode()
            await talk.connection.input_audio_buffer.append(audio=audio)  # audio may be long
            await talk.connection.send({"type": "session.update", "session": {"instructions": "x" * 6000}})
            assert (await talk.until("error")).error.code == "event_too_long"
            await talk.connection.session.update(session={"type": "realtime", "instructions": "Short."})
            await talk.until("session.updated")
            with pytest.raises(ConnectionClosed) as closed:
                await talk.connection.send(
                    {"type": "session.update", "session": {"instructions": "x" * 200_000}}
                )
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
            connect(address(url, "&stretto=events"), compression=None, max_queue=1) as socket,
        ):
            for _ in range(300):
                await socket.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "x" * 900}))
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


def test_the_doors_on_the_wire(house):
    house.doors = Doors(keys=["secret-key"], max_sessions=1)

    def get(url: str, path: str, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    async def work():
        async with house.serving() as url:
            assert (await asyncio.to_thread(get, url, "/healthz"))[0] == 200
            for path in ("/metrics", "/token", "/v1/models", "/v1/realtime"):
                status, body = await asyncio.to_thread(get, url, path)
                assert status == 401 and b"Bearer" in body, path
            key = {"Authorization": "Bearer secret-key"}
            status, body = await asyncio.to_thread(lambda: get(url, "/token", **key))
            token = json.loads(body)["token"]
            assert status == 200 and token.startswith("stk_")
            assert (await asyncio.to_thread(lambda: get(url, "/v1/realtime", **key)))[0] == 426
            assert (await asyncio.to_thread(lambda: get(url, "/nothing", **key)))[0] == 404
            with pytest.raises(InvalidStatus) as refused:
                async with connect(address(url)):
                    pass
            assert refused.value.response.status_code == 401
            offered = ["realtime", f"openai-insecure-api-key.{token}"]
            async with connect(address(url), subprotocols=offered) as socket:  # as a browser does
                assert socket.subprotocol == "realtime"
                assert json.loads(await socket.recv())["type"] == "session.created"
                with pytest.raises(InvalidStatus) as busy:
                    async with connect(address(url), additional_headers=key):
                        pass
                assert busy.value.response.status_code == 503
            with pytest.raises(InvalidStatus) as foreign:
                async with connect(address(url), additional_headers=key, origin="https://evil.example"):
                    pass
            assert foreign.value.response.status_code == 403
            status, page = await asyncio.to_thread(lambda: get(url, "/metrics", **key))
            assert b'stretto_refused_total{status="401"}' in page and b"stretto_stage_seconds" in page

    run(work())
    assert mint("secret-key") != mint("other")


def test_metrics_count_what_happened(house):
    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.say(house.spoken("What time is it?"))
            await talk.until("response.done")
            async with asyncio.timeout(20):
                while b"stretto_forwards_count 1.0" not in house.server.metrics.page():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            page = house.server.metrics.page().decode()
            assert 'stretto_voice_to_voice_seconds_count{tools="no"} 1.0' in page
            for stage in ("soft_end", "transcript", "draft", "audio", "commit", "first_audio"):
                assert f'stretto_stage_seconds_count{{stage="{stage}"}} 1.0' in page
            assert "stretto_sessions 1.0" in page

    run(work())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_ends_calls_and_keeps_what_was_said(tmp_path):
    """The command itself, with the embedded models."""
    command = [sys.executable, "-m", "stretto.agent.cli", "serve", "--port", "0", "--json"]
    process = subprocess.Popen(
        [*command, "--record", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["ready"]

        async def work():
            async with connect(address(ready["url"], "&stretto=greet")) as socket:
                kinds = []
                async with asyncio.timeout(60):
                    while "response.output_audio.done" not in kinds:
                        kinds.append(json.loads(await socket.recv())["type"])
                    await asyncio.sleep(1.5)
                    process.send_signal(signal.SIGTERM)
                    with pytest.raises(ConnectionClosed):
                        while True:
                            await socket.recv()

        run(work())
        began = time.monotonic()
        assert process.wait(30) == 0 and time.monotonic() - began < 30
    finally:
        process.kill()
        process.communicate()
    (transcript,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in transcript.read_text().splitlines()]
    assert lines[0]["role"] == "system" and lines[1]["content"].startswith("Harbor City")
