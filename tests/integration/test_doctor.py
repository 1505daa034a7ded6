"""`stretto doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from stretto.agent import cli
from stretto.agent.doctor import OPTIONAL, register
from stretto.agent.doctor_setup import current_settings, setup_checks
from stretto.audio.doctor import Check


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("STRETTO_")]:
        monkeypatch.delenv(name)


def found(**flags: Any) -> dict[str, Check]:
    """The checks of the set-up by name, without those of models."""
    args = argparse.Namespace(command="doctor", config=None, **flags)
    settings, wrong = current_settings(args)
    return {check["name"]: check for check in setup_checks(args, settings, wrong)}


class Answering(BaseHTTPRequestHandler):
    """A model server that lists two models to whoever has the key."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer sk-hidden"
        status = 404 if self.path != "/v1/models" else 200 if allowed else 401
        body: dict[str, Any] = {"error": {"message": f"not {self.headers['Authorization']}"}}
        if status == 200:
            body = {"object": "list", "data": [{"id": "one", "object": "model"}, {"id": "two"}]}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def report(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_all_is_well_with_a_model(
    command: Callable[..., int], tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "doctor", "--model", str(tiny_weights), "--json") == 0
    found = report(capsys)
    checks = {check["name"]: check for check in found["checks"]}
    names = {"weights", "voice", "recogniser", "voice activity", "database", "PyTorch"}
    names |= {"settings", "keys", "port", "microphone", "speaker", "packages", "extras"}
    assert found["ok"] and names <= set(checks) and "sound device" not in checks
    assert len(checks) == len(found["checks"])
    assert "parameters" in checks["weights"]["detail"] and "rows" in checks["database"]["detail"]
    for check in found["checks"]:
        assert set(check) == {"name", "ok", "detail", "fix"} and check["detail"]
        assert check["ok"] or (check["name"] in OPTIONAL and check["fix"])


def test_missing_weights_and_voices_are_told_with_a_way_out(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "doctor", "--model", str(tmp_path), "--voice", "nobody", "--json") == 1
    found = report(capsys)
    wrong = {
        check["name"]: check for check in found["checks"] if not check["ok"] and check["name"] not in OPTIONAL
    }
    assert not found["ok"] and set(wrong) == {"weights", "voice"}
    assert "config.json" in wrong["weights"]["detail"] and "--model" in wrong["weights"]["fix"]
    assert "nobody" in wrong["voice"]["detail"]


def test_a_gpu_that_is_asked_for_must_be_there(
    command: Callable[..., int],
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 0)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert command(register, "doctor", "--model", str(tiny_weights), "--device", "cuda", "--json") == 1
    wrong = {check["name"] for check in report(capsys)["checks"] if not check["ok"]} - OPTIONAL
    assert wrong == {"weights", "voice", "recogniser"}


def test_people_read_it(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(register, "doctor", "--model", str(tmp_path)) == 1
    shown = capsys.readouterr().out
    assert "✗ weights" in shown and "✓ database" in shown and "stretto llm train" in shown
    assert command(register, "doctor", "--model", str(tmp_path), "--quiet") == 1
    assert capsys.readouterr().out == ""


def test_settings_are_told_by_name_and_never_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found()["settings"]["detail"] == "no stretto.toml here"
    Path("stretto.toml").write_text('effort = "low"\n[remote]\nkey = "sk-hidden"\n[serve]\nport = 0')
    monkeypatch.setenv("STRETTO_SERVE__KEYS", "sk-hidden")
    checks = found()
    assert checks["settings"]["ok"]
    assert checks["settings"]["detail"] == "stretto.toml: effort, remote.key, serve.port; STRETTO_SERVE__KEYS"
    assert checks["port"]["detail"] == "any that is free" and checks["keys"]["detail"] == "1 for 127.0.0.1"
    assert "sk-hidden" not in json.dumps(checks)


def test_a_broken_file_is_a_finding_and_the_rest_is_checked(
    tiny_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("stretto.toml").write_text("[serve]\nprot = 1\n[remote]\nkey = 'sk-hidden'")
    monkeypatch.setattr("stretto.agent.doctor.speech_checks", lambda *_: [])
    assert cli.main(["doctor", "--json", "--model", str(tiny_weights)]) == 1
    shown = capsys.readouterr()
    checks = {check["name"]: check for check in json.loads(shown.out.splitlines()[-1])["checks"]}
    assert checks["settings"]["detail"] == "stretto.toml: [serve] prot is no setting: did you mean port?"
    assert "CONFIGURATION.md" in checks["settings"]["fix"] and checks["weights"]["ok"]
    assert "sk-hidden" not in shown.out + shown.err


def test_a_value_that_cannot_be_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRETTO_SERVE__PORT", "many")
    checks = found()
    assert not checks["settings"]["ok"] and "STRETTO_SERVE__PORT must be" in checks["settings"]["detail"]


def test_variables_that_mean_nothing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "variables" not in found()
    monkeypatch.setenv("STRETTO_MODEL_KEY", "sk-hidden")
    monkeypatch.setenv("STRETTO_SERVE__PORT", "0")
    assert "variables" not in found()
    monkeypatch.setenv("STRETTO_SERVE_PORT", "9000")
    told = found()["variables"]
    assert told["detail"] == "STRETTO_SERVE_PORT is no setting, STRETTO_SERVE__PORT is"
    assert "variables" in OPTIONAL and not told["ok"]


def test_whoever_listens_to_others_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found()["keys"]["ok"]
    monkeypatch.setenv("STRETTO_SERVE__HOST", "0.0.0.0")
    monkeypatch.setenv("STRETTO_SERVE__PORT", "0")
    told = found()["keys"]
    assert not told["ok"] and "STRETTO_SERVE__KEYS" in told["fix"] and "keys" not in OPTIONAL
    monkeypatch.setenv("STRETTO_SERVE__KEY_FILE", "keys.txt")
    assert "No such file" in found()["keys"]["detail"]
    Path("keys.txt").write_text("one\ntwo\n")
    assert found()["keys"]["detail"] == "2 for 0.0.0.0"


def test_a_port_that_is_taken_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        monkeypatch.setenv("STRETTO_SERVE__PORT", str(holder.getsockname()[1]))
        told = found()["port"]
        assert not told["ok"] and "in use" in told["detail"] and "port" in OPTIONAL
    assert found()["port"]["ok"]


def test_facts_and_tools_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not {"facts", "tools"} & set(found())
    Path("facts.md").write_text("# Parking\n\nBehind the house.")
    code = "from stretto.tools.tool import tool\n@tool\ndef ring(room: str) -> str:\n    return room\n"
    Path("mine.py").write_text(code)
    checks = found(facts="facts.md", tools="mine.py")
    assert (
        checks["facts"]["detail"] == "facts.md: 1 passages" and checks["tools"]["detail"] == "mine.py: ring"
    )
    monkeypatch.setenv("STRETTO_FACTS", "none.md")
    monkeypatch.setenv("STRETTO_TOOLS", "none.py")
    checks = found()
    assert "No such file" in checks["facts"]["detail"] and "--facts" in checks["facts"]["fix"]
    assert "no file none.py" in checks["tools"]["detail"]
    assert not {"facts", "tools"} & OPTIONAL


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("@tool\ndef hang_up() -> str:\n    return ''\n", "hang_up is built in"),
        ("@tool\ndef find_information(words: str) -> str:\n    return ''\n", "two tools are called find_"),
        ("@tool\ndef seat(people: Annotated[int, Field(ge=5, le=3)]) -> str:\n    return ''\n", "at least 5"),
    ],
)
def test_tools_that_a_call_would_refuse_are_a_finding(code: str, told: str, tiny_weights: Path) -> None:
    imports = ("typing import Annotated", "pydantic import Field", "stretto.tools.tool import tool")
    Path("mine.py").write_text("\n".join([*(f"from {each}" for each in imports), code]))
    Path("facts.md").write_text("# Parking\n\nBehind the house.")
    check = found(tools="mine.py", facts="facts.md", model=str(tiny_weights))["tools"]
    assert not check["ok"] and told in check["detail"] and "--tools" in check["fix"]


def test_the_folder_of_recordings_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "recordings" not in found()
    monkeypatch.setenv("STRETTO_SERVE__RECORD", "calls/of/mine")
    assert found()["recordings"]["detail"] == "calls/of/mine can be made" and not Path("calls").exists()
    Path("calls/of/mine").mkdir(parents=True)
    assert found()["recordings"]["detail"] == "calls/of/mine can be written"
    assert list(Path("calls/of/mine").iterdir()) == []
    Path("file").touch()
    monkeypatch.setenv("STRETTO_SERVE__RECORD", "file/below")
    told = found()["recordings"]
    assert not told["ok"] and "file cannot be written into" in told["detail"] and "recordings" not in OPTIONAL


def test_a_remote_model_is_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "remote model" not in found(model="folder")
    monkeypatch.setenv("STRETTO_REMOTE__KEY", "sk-hidden")
    assert found(model=server)["remote model"]["detail"] == f"{server}/v1 offers one, two"
    assert "lists no models" in found(model=f"{server}/other")["remote model"]["detail"]
    monkeypatch.setenv("STRETTO_REMOTE__KEY", "sk-hidden-wrong")
    told = found(model=server)["remote model"]
    assert not told["ok"] and "refuses the key" in told["detail"] and "STRETTO_REMOTE__KEY" in told["fix"]
    assert "sk-hidden" not in json.dumps(told)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    told = found(model=f"http://127.0.0.1:{port}/v1")["remote model"]
    assert "cannot be reached" in told["detail"] and "remote model" not in OPTIONAL
    told = found(model="http://me:sk-hidden@127.0.0.1/v1")["remote model"]
    assert not told["ok"] and "sk-hidden" not in json.dumps(told)


def test_no_sound_card_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stretto.audio.devices.devices", lambda: [])
    checks = found()
    for name in ("microphone", "speaker"):
        assert not checks[name]["ok"] and f"no {name}" in checks[name]["detail"]
        assert "libportaudio2" in checks[name]["fix"] and name in OPTIONAL


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["numpy>=1", "torch>=900", "nobodys-package", "nobodys-sound>=1; extra == 'mic'"]
    monkeypatch.setattr(metadata, "requires", lambda name: [*needs, "nobodys-linter; extra == 'dev'"])
    checks = found()
    assert checks["packages"]["detail"] == "not installed, or too old: torch, nobodys-package"
    assert "pip install" in checks["packages"]["fix"] and "packages" not in OPTIONAL
    assert checks["extras"]["detail"] == "not installed: mic (nobodys-sound)"
    assert "stretto[mic]" in checks["extras"]["fix"] and "extras" in OPTIONAL
