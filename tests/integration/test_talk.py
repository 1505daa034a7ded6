"""`stretto talk` over real sound devices: a PulseAudio server of its own with null sinks, no sound card.

paplay -> [mic_in] -> mic -> stretto talk -> [speaker] -> parec
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest
import soundfile
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from stretto.agent import events
from stretto.agent.session import SessionOptions
from stretto.agent.talk_command import TalkSettings, register, talk
from stretto.agent.ways_in.live import LiveCall
from stretto.agent.ways_in.speech import Speech
from stretto.audio.pcm import RATE, Int16, write_wav
from stretto.demo.caller_voice import CallerVoice
from stretto.llm.checkpoint import EMBEDDED
from stretto.llm.language_model import Call
from stretto.tools.tool import tool

pytestmark = pytest.mark.skipif(
    not (shutil.which("pulseaudio") and shutil.which("pactl") and shutil.which("paplay")),
    reason="needs PulseAudio: apt-get install pulseaudio pulseaudio-utils libasound2-plugins libportaudio2",
)

SAID = "I would like to book a table for four people, please."
LATENCY_S = 0.2
"""A loaded machine needs more than a device suggests; a virtual one has no hardware buffer."""
GREETING = "Hello, this is the restaurant on the market square. What can I do for you today?"


class Pulse:
    """One server. `env`: what a program needs to find it."""

    def __init__(self, folder: Path) -> None:
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        self.env = {
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(folder),
            "PULSE_SERVER": f"unix:{folder / 'server'}",
            "PULSE_COOKIE": str(folder / "cookie"),
        }
        modules = [
            f"module-native-protocol-unix auth-anonymous=1 socket={folder / 'server'}",
            "module-suspend-on-idle timeout=1",
            "module-null-sink sink_name=speaker rate=48000 channels=1",
            "module-null-sink sink_name=mic_in rate=48000 channels=1",
            "module-remap-source master=mic_in.monitor source_name=mic",
        ]
        command = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "-n", "--log-level=error"]
        for module in modules:
            command += ["-L", module]
        self.server = subprocess.Popen(
            command, env={**os.environ, **self.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(100):
            if self.control("info", check=False).returncode == 0:
                break
            time.sleep(0.1)
        self.control("set-default-sink", "speaker")
        self.control("set-default-source", "mic")

    def control(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *command],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=30,
            check=check,
        )

    def speak(self, path: Path) -> subprocess.Popen[bytes]:
        """Play a file into the microphone."""
        command = ["paplay", "--device=mic_in", "--latency-msec=2000", str(path)]
        return subprocess.Popen(command, env={**os.environ, **self.env})

    def listen(self, path: Path) -> subprocess.Popen[bytes]:
        """Record what the speaker plays, int16 at 24 kHz, until terminated."""
        command = ["parec", "--device=speaker.monitor", "--format=s16le", "--rate=24000", "--channels=1"]
        return subprocess.Popen(command, env={**os.environ, **self.env}, stdout=path.open("wb"))

    def close(self) -> None:
        self.server.send_signal(signal.SIGCONT)
        self.server.terminate()
        self.server.wait(10)


@pytest.fixture
def pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulse]:
    """A fresh server, and PortAudio looking at it."""
    sounddevice = pytest.importorskip("sounddevice")
    folder = tmp_path / "pulse"
    folder.mkdir(mode=0o700)
    server = Pulse(folder)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    # PortAudio looks for devices when it is initialised, and only then.
    sounddevice._terminate()
    sounddevice._initialize()
    try:
        if not sounddevice.query_devices():
            pytest.skip("PortAudio does not see PulseAudio: apt-get install libasound2-plugins")
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A caller's sentence; a suspended device loses the first moments, so silence comes first."""
    voice = CallerVoice(2)
    path = tmp_path_factory.mktemp("caller") / "caller.wav"
    silence = np.zeros(RATE, np.int16)
    write_wav(path, np.concatenate([silence, voice.synthesise(SAID, 0, 9).pcm, silence]), RATE)
    voice.close()
    return path


class Watch(LiveCall):
    """Keeps the events, and does things when they happen."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.seen: list[events.Event] = []
        self.when: list[tuple[type[events.Event], Callable[[], Any]]] = []

    def event(self, event: events.Event) -> None:
        self.seen.append(event)
        for kind, do in self.when:
            if isinstance(event, kind):
                do()
                self.when.remove((kind, do))
                break

    def of(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]


def later(seconds: float, do: Callable[[], Any]) -> Callable[[], None]:
    def start() -> None:
        threading.Timer(seconds, do).start()

    return start


async def held(*args: Any) -> tuple[dict[str, Any], list[Any]]:
    """The call, and the tasks that are left after it."""
    fields = await talk(*args)
    return fields, [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def silent_model(conversation: Any) -> tuple[str, list[Call]]:
    return "I see.", []


def loud(pcm: Int16, rate: int) -> list[float]:
    """Seconds in which something is heard, in steps of 0.1 s."""
    blocks = pcm[: len(pcm) // (rate // 10) * (rate // 10)].reshape(-1, rate // 10).astype(float)
    return [number / 10 for number, block in enumerate(blocks) if np.sqrt(np.mean(block**2)) > 300]


def test_a_call_over_microphone_and_speaker(
    pulse: Pulse, caller: Path, speech: Speech, scripted: Callable[..., Any], tmp_path: Path
) -> None:
    booked: list[int] = []

    @tool
    async def book_table(people: int) -> dict[str, int]:
        """Book a table."""
        booked.append(people)
        return {"table": 7}

    def policy(conversation: Any) -> tuple[str, list[Call]]:
        if conversation.results:
            return "It is table seven. Goodbye.", [Call("2", "hang_up", {})]
        people = 4 if "four" in conversation.caller.lower() or "4" in conversation.caller else 0
        return "", [Call("1", "book_table", {"people": people})]

    out = tmp_path / "out"
    out.mkdir()
    watch = Watch()
    watch.when.append((events.AgentHeard, lambda: pulse.speak(caller)))
    ear = pulse.listen(tmp_path / "heard.raw")
    options = SessionOptions(greeting="Hello.", rate=24_000)
    fields, left = asyncio.run(
        held(scripted(policy), speech, [book_table], options, (), TalkSettings(out, latency=LATENCY_S), watch)
    )
    time.sleep(1)
    ear.terminate()
    ear.wait(10)
    assert left == [] and booked == [4]
    greeting, turn = fields["turns"]
    assert greeting["agent"] == greeting["heard"] == "Hello." and "table" in turn["caller"].lower()
    assert turn["heard"] == "It is table seven. Goodbye." and fields["ended"] == "hang_up"
    assert fields["error"] is None and not fields["interrupted"]
    assert turn["speech_end_ms"] < turn["committed_ms"] < turn["first_audio_ms"]
    assert [each["kind"] for each in fields["devices"]] == ["microphone", "speaker"]
    # What came out of the speaker: the greeting, then the answer.
    heard = loud(np.frombuffer((tmp_path / "heard.raw").read_bytes(), np.int16), 24_000)
    gaps = [after - before for before, after in pairwise(heard)]
    assert len(heard) >= 12 and max(gaps) > 2, f"two utterances with the caller between them: {heard}"
    # The files.
    assert sorted(path.name for path in out.iterdir()) == [
        *("call.html", "call.json", "call.wav", "tools.jsonl")
    ]
    assert json.loads((out / "call.json").read_text()) == fields
    page = (out / "call.html").read_text(encoding="utf-8")
    assert "The agent hung up" in page and "book_table(<i>people</i> 4)" in page
    assert "It is table seven. Goodbye." in page and turn["caller"] in page
    both, rate = soundfile.read(out / "call.wav", dtype="int16")
    said, answered = loud(both[:, 0], rate), loud(both[:, 1], rate)
    assert rate == 24_000 and len(said) >= 15
    assert abs(said[-1] * 1000 - turn["speech_end_ms"]) < 400
    assert any(abs(at * 1000 - turn["first_audio_ms"]) < 200 for at in answered)


def test_the_agents_own_voice_in_the_room_does_not_interrupt_it(
    pulse: Pulse, speech: Speech, scripted: Callable[..., Any], tmp_path: Path
) -> None:
    """What the speaker plays goes into the microphone. A machine that stood still in the middle of it (the
    speaker ran dry) says nothing of echo cancelling: once more, then."""
    pulse.control(
        "load-module", "module-loopback", "source=speaker.monitor", "sink=mic_in", "latency_msec=200"
    )
    options = SessionOptions(greeting=f"{GREETING} We are open from six to eleven.", rate=24_000)
    settings = TalkSettings(tmp_path, latency=LATENCY_S)
    for _ in range(4):
        watch = Watch()
        watch.when.append((events.AgentHeard, lambda: os.kill(os.getpid(), signal.SIGINT)))
        fields, left = asyncio.run(held(scripted(silent_model), speech, [], options, (), settings, watch))
        assert left == []
        if not fields["underruns"]:
            break
    assert fields["turns"][0]["heard"] == options.greeting and not watch.of(events.BargeIn)
    assert fields["interrupted"] and fields["ended"] == "caller"


def test_a_device_that_goes_away_ends_the_call_with_the_transcript_kept(
    pulse: Pulse, caller: Path, speech: Speech, scripted: Callable[..., Any], tmp_path: Path
) -> None:
    def unload() -> None:
        # Sinks bring sources with them; where one is left, PulseAudio moves the call there.
        pulse.control("unload-module", "module-remap-source")
        pulse.control("unload-module", "module-null-sink")

    def answers() -> None:
        watch.when.append((events.AgentSpeaking, later(1.0, unload)))
        pulse.speak(caller)

    watch = Watch()
    watch.when.append((events.AgentHeard, answers))
    model = scripted(lambda conversation: (f"{GREETING} {GREETING}", []))
    settings = TalkSettings(tmp_path, latency=LATENCY_S)
    options = SessionOptions(greeting="Hello.", rate=24_000)
    fields, left = asyncio.run(held(model, speech, [], options, (), settings, watch))
    assert left == [] and fields["ended"] == "line" and "is gone" in fields["error"]
    greeting, turn = fields["turns"]
    assert greeting["heard"] == "Hello." and "table" in turn["caller"].lower()
    assert GREETING not in turn["heard"]
    assert [m["role"] for m in fields["messages"]][:3] == ["system", "assistant", "user"]
    assert json.loads((tmp_path / "call.json").read_text())["error"] == fields["error"]
    page = (tmp_path / "call.html").read_text(encoding="utf-8")
    assert "The call broke off" in page and "is gone" in page
    both, _ = soundfile.read(tmp_path / "call.wav", dtype="int16")
    assert loud(both[:, 0], 24_000) and loud(both[:, 1], 24_000)


def program(model: Path, *flags: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """`stretto talk --json` as a user starts it, up to the agent's first words."""
    command = ["-m", "stretto.agent", "talk", "--model", str(model), "--json", *flags]
    running = subprocess.Popen(
        [sys.executable, "-u", "-W", "ignore", *command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_agent(running)
    return running


def wait_for_agent(running: subprocess.Popen[str]) -> None:
    """Until the agent begins to say something."""
    assert running.stderr is not None
    told = []
    for line in running.stderr:
        told.append(line)
        if "agent" in line:
            return
    raise AssertionError("".join(told))


def test_the_embedded_models_answer_over_microphone_and_speaker(
    pulse: Pulse, says: Callable[..., Int16], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program as it comes; the silence before the caller's words is the greeting's."""
    monkeypatch.setenv("STRETTO_CALL__GREETING", "Hello.")
    said = says("Hello, I would like to book a table for four people.", RATE)
    write_wav(tmp_path / "caller.wav", np.concatenate([np.zeros(3 * RATE, np.int16), said]), RATE)
    running = program(EMBEDDED, "--out", str(tmp_path / "out"))
    speaking = pulse.speak(tmp_path / "caller.wav")
    ear = pulse.listen(tmp_path / "heard.raw")
    assert speaking.wait(60) == 0
    wait_for_agent(running)
    time.sleep(3)
    ear.terminate()
    ear.wait(10)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    fields = json.loads((tmp_path / "out" / "call.json").read_text())
    turn = next(turn for turn in fields["turns"] if turn["caller"])
    assert {"table", "four"} <= set(turn["caller"].lower().replace("4", "four").strip(".").split())
    assert turn["heard"] and turn["agent"].startswith(turn["heard"]) and not turn["canned"]
    # The greeting, and after the caller's words the answer.
    heard = loud(np.frombuffer((tmp_path / "heard.raw").read_bytes(), np.int16), 24_000)
    assert len([at for at in heard if at > heard[0] + 3]) >= 5, heard


def test_an_interrupt_hangs_up_and_keeps_the_files(pulse: Pulse, tiny_weights: Path, tmp_path: Path) -> None:
    running = program(tiny_weights, "--out", str(tmp_path / "out"))
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    fields = json.loads(said.splitlines()[-1])
    assert fields["ended"] == "caller" and fields["interrupted"] and fields["turns"][0]["canned"]
    assert fields == json.loads((tmp_path / "out" / "call.json").read_text())
    assert (tmp_path / "out" / "call.wav").exists() and (tmp_path / "out" / "call.html").exists()


def test_nothing_is_kept_of_a_call_that_is_not_to_be(
    pulse: Pulse, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    running = program(tiny_weights, "--no-record", cwd=tmp_path / "here")
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    fields = json.loads(said.splitlines()[-1])
    assert fields["ended"] == "caller" and fields["out"] is fields["recording"] is fields["page"] is None
    assert list((tmp_path / "here").iterdir()) == []


def test_a_broker_is_told_of_the_call_and_may_end_it(
    pulse: Pulse, tiny_weights: Path, tmp_path: Path, mosquitto: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRETTO_MQTT__URL", mosquitto.url)
    heard: dict[str, bytes] = {}
    witness = paho.Client(CallbackAPIVersion.VERSION2)
    witness.on_message = lambda client, data, message: heard.update({message.topic: message.payload})
    witness.connect("127.0.0.1", mosquitto.port)
    witness.subscribe("stretto/#", qos=1)
    witness.loop_start()
    try:
        running = program(tiny_weights, "--no-record")
        for _ in range(600):
            started = [topic for topic in list(heard) if topic.endswith("/event/SessionStarted")]
            if started and heard.get("stretto/status") == b"online":
                break
            time.sleep(0.1)
        (topic,) = started
        call = topic.split("/")[1]
        witness.publish(f"stretto/{call}/command/hang_up", b'{"text": "Goodbye."}', qos=1)
        said, _ = running.communicate(timeout=60)
        assert running.returncode == 0 and json.loads(said.splitlines()[-1])["ended"] == "hang_up"
        assert f"stretto/{call}/event/HangUp" in heard and heard["stretto/status"] == b"offline"
    finally:
        witness.loop_stop()


def test_a_sound_server_that_hangs_does_not_hold_the_program_up(
    pulse: Pulse, tiny_weights: Path, tmp_path: Path
) -> None:
    running = program(tiny_weights, "--out", str(tmp_path / "out"))
    pulse.server.send_signal(signal.SIGSTOP)
    said, told = running.communicate(timeout=60)
    assert running.returncode == 1 and "is gone" in told and str(tmp_path / "out") in told
    fields = json.loads(said.splitlines()[-1])
    assert fields["ended"] == "line" and fields == json.loads((tmp_path / "out" / "call.json").read_text())


def test_the_devices_are_listed(
    pulse: Pulse, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "talk", "--devices", "--json") == 0
    told = capsys.readouterr()
    listed = json.loads(told.out)["devices"]
    assert "pulse" in [each["name"] for each in listed] and any(each["microphone"] for each in listed)
    assert "pulse" in told.err


def test_what_cannot_be_used_is_told_before_any_model_loads(
    pulse: Pulse, command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for flags, told in (
        (("--microphone", "nobody's"), "nobody's"),
        (("--speaker", "99"), "no speaker '99'"),
        (("--push-to-talk",), "must be a terminal"),
        (("--out", str(tmp_path / "file" / "below")), "--out"),
        (("--out", str(tmp_path), "--no-record"), "--no-record"),
    ):
        assert command(register, "talk", "--model", "/nowhere", *flags) == 2
        said = capsys.readouterr().err
        assert told in said and "/nowhere" not in said
