"""The programs on a real broker: `stretto call` and `serve` tell it of their calls, `doctor` asks it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as paho
import soundfile
from paho.mqtt.enums import CallbackAPIVersion
from stretto.agent.call_command import register as register_call
from stretto.agent.doctor import register as register_doctor
from websockets.sync.client import connect


@contextlib.contextmanager
def witness(port: int, pattern: str) -> Iterator[list[tuple[str, bytes]]]:
    """All that is published there, in order: topics and payloads."""
    heard: list[tuple[str, bytes]] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda client, data, message: heard.append((message.topic, message.payload))
    client.connect("127.0.0.1", port)
    client.subscribe(pattern, qos=1)
    client.loop_start()
    try:
        yield heard
    finally:
        client.loop_stop()


def until(condition: Callable[[], Any]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def test_stretto_call_tells_a_broker_and_doctor_asks_it(
    mosquitto, command, monkeypatch, says, tmp_path, capsys
):
    soundfile.write(tmp_path / "caller.wav", says("Good morning.", 16_000), 16_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRETTO_MQTT__URL", mosquitto.url)
    monkeypatch.setenv("STRETTO_MQTT__TOPIC", "shop/phone")
    with witness(mosquitto.port, "shop/phone/#") as heard:
        assert command(register_call, "call", "--input", "caller.wav", "--json") == 0
    kinds = {topic.rsplit("/", 1)[1] for topic, _ in heard}
    assert {"status", "state", "SessionStarted", "CallerFinal", "AgentSpeaking", "HangUp"} <= kinds
    capsys.readouterr()
    command(register_doctor, "doctor", "--json")
    assert f"{mosquitto.url} speaks MQTT 5" in capsys.readouterr().out
    mosquitto.kill()
    assert command(register_doctor, "doctor", "--json") == 1
    assert "cannot be used" in capsys.readouterr().out


def test_a_server_that_is_killed_in_a_call_is_told_of_by_the_broker(mosquitto, tiny_weights):
    command = ["serve", "--model", str(tiny_weights), "--port", "0", "--json", "--quiet"]
    with (
        witness(mosquitto.port, "stretto/#") as heard,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "stretto.agent", *command],
            env=os.environ | {"STRETTO_MQTT__URL": mosquitto.url},
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        try:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            with connect(f"{ready['url'].replace('http', 'ws')}/v1/realtime") as line:
                name = json.loads(line.recv())["session"]["id"]
                until(lambda: f"stretto/{name}/event/SessionStarted" in [topic for topic, _ in heard])
                server.kill()
        finally:
            server.kill()
        status = [b"online", b"offline"]
        until(lambda: [payload for topic, payload in heard if topic == "stretto/status"] == status)
        assert f"stretto/{name}/event/HangUp" not in [topic for topic, _ in heard]
