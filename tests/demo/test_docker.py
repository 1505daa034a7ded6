"""The Dockerfile: parsed and held against the repository, for no daemon is there to build it."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import tomllib
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from stretto.agent.setting_types import section_of, variable
from stretto.agent.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "demo" / "docker" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined, comments left out."""
    lines = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (x.partition(" ") for x in joined.splitlines())
        if word
    ]


def of(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def copied() -> list[str]:
    """What is copied from the repository."""
    found = []
    for rest in of("COPY"):
        words = shlex.split(rest)
        if not words[0].startswith("--from="):
            assert not words[0].startswith("--")
            found += words[:-1]
    return found


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for rest in of("ENV") for word in shlex.split(rest))


def ignored(path: str) -> bool:
    """What .dockerignore says of a path: the last pattern that matches it or a folder above it decides."""
    parts = Path(path).parts
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    answer = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            names = [*above, parts[-1], *parts] if "**/" in line else above
            if any(
                fnmatch.fnmatchcase(name, pattern) and (name.count("/") == pattern.count("/"))
                for name in names
            ):
                answer = not line.startswith("!")
    return answer


def pip_installs(text: str) -> list[tuple[list[str], list[str]]]:
    """The `pip install` commands of a text: options, and what is installed without its extras."""
    found = []
    for command in re.findall(r"python -m pip install (.*)", text):
        words = [word for word in shlex.split(command) if word not in ("--quiet", "-e")]
        if "--config-settings" in words:  # of an editable installation
            at = words.index("--config-settings")
            del words[at : at + 2]
        at = words.index("-c") if "-c" in words else len(words)
        options, rest = words[at : at + 2], words[:at] + words[at + 2 :]
        if rest != ["--upgrade", "pip"]:
            found.append((options, [re.sub(r"\[.*\]", "", word) for word in rest]))
    return found


def test_all_that_is_copied_is_there_and_reaches_the_builder() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        files = [name for name in tracked if name == source or name.startswith(f"{source}/")]
        assert files, f"git has no {source}"
        assert not [name for name in files if ignored(name)], source


def test_the_installation_has_all_that_it_is_built_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {folder.split("/")[0] for folder in project["tool"]["setuptools"]["package-dir"].values()}
    files = {"pyproject.toml", "constraints.txt", project["project"]["readme"]}
    assert rooms | files | set(project["project"]["license-files"]) == set(copied())


def test_nothing_else_reaches_the_builder() -> None:
    for path in (".git/config", "stretto.toml", "keys.txt", ".env", "runs/x", "demo/out/call.wav", ".venv/x"):
        assert ignored(path), path
    assert ignored("agent/__pycache__/cli.cpython-311.pyc") and not ignored("llm/weights/config.json")


def test_it_is_installed_as_the_makefile_does_it() -> None:
    made = pip_installs((ROOT / "Makefile").read_text().replace("$(BIN)/", ""))
    run = "\n".join(of("RUN"))
    of_a_demo = (["-c", "constraints.txt"], ["--no-deps", "amqtt"])
    served = [(["-c", "constraints.txt"], ["torch"]), (["-c", "constraints.txt"], ["."])]
    assert made == [*served, of_a_demo] and pip_installs(run) == served
    assert run.count("pip install") == len(served)
    extras = set(re.findall(r"\[([a-z,]+)\]", run))
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for group in extras for name in group.split(",")} <= set(offered)
    # What the server needs is installed, wherever it stands.
    assert "serve" not in offered or any("serve" in group for group in extras)


def test_no_index_is_named_and_none_must_be() -> None:
    indices = {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"}
    assert {rest.split("=")[0] for rest in of("ARG")} == {*indices, "PYTHON_IMAGE"}
    assert {rest for rest in of("ARG") if rest.split("=")[0] in indices} == {f'{name}=""' for name in indices}
    last = max(at for at, (word, _) in enumerate(instructions()) if word == "FROM")
    assert not any(word == "ARG" for word, _ in instructions()[last:])  # none stays in the image
    assert set(re.findall(r"https?://([^/' ]*)", FILE.read_text())) == {"127.0.0.1:"}


def test_it_runs_as_nobody_in_particular_and_holds_no_key() -> None:
    last = max(at for at, (word, _) in enumerate(instructions()) if word == "FROM")
    (user,) = (rest for word, rest in instructions()[last:] if word == "USER")
    assert int(user) > 0 and f"--uid {user}" in "\n".join(of("RUN"))
    assert not [name for name in environment() if "KEY" in name]


def test_its_variables_are_settings_and_ask_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        variable([name, inner])
        for name, field in Settings.model_fields.items()
        if (section := section_of(field))
        for inner in section.model_fields
    }
    for name in [name for name in os.environ if name.upper().startswith("STRETTO_")]:
        monkeypatch.delenv(name)
    ours = {name: value for name, value in environment().items() if name.startswith("STRETTO_")}
    assert ours and set(ours) <= known
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="STRETTO_SERVE__KEYS"):
        Settings().serve.required_keys()
    monkeypatch.setenv("STRETTO_SERVE__KEYS", "one,two")
    serve = Settings().serve
    assert serve.required_keys() == ["one", "two"] and of("EXPOSE") == [str(serve.port)]


def test_it_starts_the_server() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (entry,) = map(json.loads, of("ENTRYPOINT"))
    (command,) = map(json.loads, of("CMD"))
    assert entry == ["stretto"] and entry[0] in scripts and command == ["serve"]


@contextmanager
def serving(status: int) -> Iterator[int]:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (404, False)])
def test_its_health_check_asks_the_server(status: int, healthy: bool) -> None:
    (check,) = of("HEALTHCHECK")
    words = json.loads(check[check.index("[") :])
    assert words[0] == "python" and "/healthz" in words[2]
    with serving(status) as port:
        # A proxy for others must not be asked about this machine.
        env = {**os.environ, "STRETTO_SERVE__PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
        done = subprocess.run([sys.executable, *words[1:]], env=env, capture_output=True, timeout=60)
    assert (done.returncode == 0) is healthy


# ------------------------------------------------------------------ its steps, without an engine


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image holds: a virtual environment into which the copied files alone were installed.

    Whatever else it needs lies where this interpreter has it, but for Stretto itself.
    """
    folder = tmp_path_factory.mktemp("image")
    for name in tracked(copied()):
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "src" / name)
    made = folder / "opt"
    venv.create(made, symlinks=True)
    (site,) = made.glob("lib/python*/site-packages")
    # Read after what is installed there; `.pth` files in these folders, an editable Stretto's, do not count.
    paths = sysconfig.get_paths()
    (site / "dependencies.pth").write_text(f"{paths['purelib']}\n{paths['platlib']}\n")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    # Weights hardly shrink, and packing them takes longer than all the rest.
    options += ["--config-settings", "--build-option=--compression=stored"]
    pip = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python"), "install", *options, "."]
    installed = subprocess.run(pip, cwd=folder / "src", env=plain(), capture_output=True, text=True)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return made


def tracked(paths: list[str]) -> list[str]:
    """The files that git has there, but for those that are about to go."""
    command = ["git", "ls-files", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def plain(**variables: str) -> dict[str, str]:
    """This environment without what would show the repository or settings to a program."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.upper().startswith("STRETTO_")}
    return {**kept, **variables}


def test_all_that_is_tracked_is_installed(image: Path) -> None:
    """But for what people read."""
    (site,) = image.glob("lib/python*/site-packages/stretto")
    rooms = [source for source in copied() if (ROOT / source).is_dir()]
    needed = [name for name in tracked(rooms) if Path(name).suffix not in (".md", ".svg", ".png")]
    assert [name for name in needed if not (site / name).exists()] == []


@pytest.mark.timeout(600)
def test_what_was_installed_answers_a_call(image: Path, tmp_path: Path) -> None:
    """In an empty folder, with the image's own variables, a key, and no other settings."""
    (command,) = map(json.loads, of("CMD"))
    variables = environment() | {"STRETTO_SERVE__KEYS": "open-sesame", "HOME": str(tmp_path)}
    variables |= {"STRETTO_SERVE__PORT": "0", "STRETTO_SERVE__HOST": "127.0.0.1"}
    variables["PATH"] = f"{image / 'bin'}:{os.environ['PATH']}"
    with subprocess.Popen(
        [image / "bin" / "stretto", *command, "--json"],
        cwd=tmp_path, env=plain(**variables), stdout=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            url = json.loads(running.stdout.readline())["url"]
            with urllib.request.urlopen(f"{url}/", timeout=10) as page:
                assert b"page.js" in page.read()
            with urllib.request.urlopen(f"{url}/page.js", timeout=10) as script:
                assert script.status == 200
            assert len(answered(url, "open-sesame", "I would like to see the dentist.").split()) > 1
            with pytest.raises(Exception, match="401"):
                answered(url, "wrong", "Hello?")
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 0
        finally:
            running.kill()


def answered(url: str, key: str, text: str) -> str:
    """What the server writes to who types this."""
    client = OpenAI(api_key=key, base_url=f"{url}/v1", websocket_base_url=f"{url}/v1".replace("http", "ws"))
    with client, client.realtime.connect(model="stretto") as connection:
        words: Any = {"type": "input_text", "text": text}
        connection.conversation.item.create(item={"type": "message", "role": "user", "content": [words]})
        connection.response.create(response={"output_modalities": ["text"]})
        for event in connection:
            if event.type == "response.output_text.done":
                return event.text
    return ""
