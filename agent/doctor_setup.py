"""What `stretto doctor` checks of the set-up: settings, keys, port, folders, facts, tools, model, devices."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from stretto.agent.brain import check_tools, load_model, load_tool_set, start_servers
from stretto.agent.config import FILE, ConfigError, read_file, settings_of, variables
from stretto.agent.facts import FactsError, facts_tool, load_facts
from stretto.agent.setting_types import PREFIX, section_of, variable
from stretto.agent.settings import Settings
from stretto.audio.doctor import Check

OPTIONAL_SETUP = {"variables", "port", "microphone", "speaker", "extras"}
"""Checks of the set-up that a call between files and programs does without."""
REMOTE_S = 3.0
"""Seconds that a remote model has for telling which models it offers."""
BROKER_S = 5.0
"""Seconds that a broker has for letting us in."""
MODEL_KEY = "STRETTO_MODEL_KEY"


def current_settings(args: argparse.Namespace) -> tuple[Settings, str]:
    """The settings, and what is wrong with them; then they are the defaults and what is typed."""
    wrong = str(getattr(args, "settings_error", ""))
    try:
        return settings_of(args), wrong
    except ConfigError as error:
        plain = Settings.model_construct()
        for name in ("model", "device", "stt", "voice", "tools", "facts"):
            if (value := getattr(args, name, None)) is not None:
                setattr(plain, name, value)
        return plain, wrong or str(error)


def setup_checks(args: argparse.Namespace, settings: Settings, wrong: str = "") -> Iterator[Check]:
    """One after the other; `wrong`: what `current_settings` found."""
    if wrong:
        fix = "Correct it; agent/CONFIGURATION.md lists every key with what it may be."
        yield Check(name="settings", ok=False, detail=wrong, fix=fix)
    else:
        yield checked("settings", lambda: _settings(args), "Name a TOML file that can be read by --config.")
    if strange := _strange():
        fix = "Unset it, or give it the name of a setting: agent/CONFIGURATION.md."
        yield Check(name="variables", ok=False, detail="; ".join(strange), fix=fix)
    yield checked(
        "keys",
        lambda: _keys(settings),
        f"Set {PREFIX}SERVE__KEYS, or [serve] key_file to a file with one key a line, or host to 127.0.0.1.",
    )
    yield checked(
        "port",
        lambda: _port(settings),
        "stretto serve needs it: stop what holds it, or choose another --port.",
    )
    if settings.serve.record is not None:
        fix = "stretto serve keeps recordings there: name a folder that you may write into by [serve] record."
        yield checked("recordings", lambda: _recordings(settings.serve.record), fix)
    if settings.facts is not None:
        yield checked("facts", lambda: _facts(settings.facts), "Name a text or Markdown file by --facts.")
    if settings.tools is not None:
        yield checked("tools", lambda: _tools(args, settings), "Correct --tools, or leave it out.")
    if settings.mcp:
        yield checked(
            "MCP servers", lambda: _mcp(settings), "Correct [mcp.NAME] of stretto.toml: tools/MCP.md."
        )
    if is_url(settings.model):
        yield checked(
            "remote model",
            lambda: _remote(settings),
            f"Check --model, that the server runs, and its key in {PREFIX}REMOTE__KEY.",
        )
    if settings.mqtt.url is not None:
        fix = "Check [mqtt] url, username and password, and that the broker runs (Debian: mosquitto)."
        yield checked("broker", lambda: _broker(settings), fix)
    fix = "Only stretto talk needs one. Debian/Ubuntu: apt-get install libportaudio2; connect a device."
    yield checked("microphone", lambda: _device("microphone", args), fix)
    yield checked("speaker", lambda: _device("speaker", args), fix)
    yield checked("packages", _packages, "Reinstall Stretto: pip install --upgrade stretto")
    yield checked("extras", _extras, "Install what you need, as in: pip install 'stretto[mic]'")


def checked(name: str, test: Callable[[], str], fix: str) -> Check:
    """Run a test; what it returns is the detail, what it raises the reason why the check failed."""
    try:
        return Check(name=name, ok=True, detail=test(), fix="")
    except Exception as error:
        kind = type(error)
        told = kind in (RuntimeError, ValueError) or kind.__module__.startswith("stretto.")
        return Check(name=name, ok=False, detail=f"{error}" if told else f"{kind.__name__}: {error}", fix=fix)


def _mcp(settings: Settings) -> str:
    """Each server with its tools, those left out among them. Raises RuntimeError where one is not reached."""
    with contextlib.ExitStack() as stack:
        servers = start_servers(settings, stack)
        states = servers.states() if servers is not None else []
    told = []
    for state in states:
        left = f", left out: {'; '.join(state.refused)}" if state.refused else ""
        told.append(f"{state.name}: {state.problem or ', '.join(state.tools) or 'no tools'}{left}")
    if any(state.problem for state in states):
        raise RuntimeError("; ".join(told))
    return "; ".join(told)


def is_url(model: str | None) -> bool:
    """Whether the model is somewhere else."""
    return model is not None and model.lower().startswith(("http://", "https://"))


def _settings(args: argparse.Namespace) -> str:
    file = read_file(getattr(args, "config", None))
    found = f"{file.path}: {', '.join(_keys_of(file.table)) or 'empty'}" if file.path else f"no {FILE} here"
    return "; ".join([found, *sorted(variables().values())])


def _keys_of(table: dict[str, object], names: tuple[str, ...] = ()) -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _keys_of(value, (*names, name))
        else:
            yield ".".join((*names, name))


def _strange() -> list[str]:
    """Variables that look like settings and are none, with what they may have been meant to be."""
    known = {MODEL_KEY}
    for name, field in Settings.model_fields.items():
        section = section_of(field)
        known |= (
            {variable([name, inner]) for inner in section.model_fields} if section else {variable([name])}
        )
    told = []
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in {*known, *variables()}:
            near = get_close_matches(name.upper(), sorted(known), 1, 0.85)
            told.append(f"{name} is no setting" + (f", {near[0]} is" if near else ""))
    return told


def _keys(settings: Settings) -> str:
    count = len(settings.serve.required_keys())
    return f"{count} for {settings.serve.host}" if count else f"none needed on {settings.serve.host}"


def _port(settings: Settings) -> str:
    host, port = settings.serve.host.strip("[]"), settings.serve.port
    if port == 0:
        return "any that is free"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise RuntimeError(f"{port} on {host}: {error.strerror or error}") from None
    return f"{port} on {host} is free"


def _facts(path: Path | None) -> str:
    assert path is not None
    return f"{path}: {len(load_facts(path).passages)} passages"


def _recordings(folder: Path | None) -> str:
    assert folder is not None
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise RuntimeError(f"{there} cannot be written into ({error.strerror or error})") from None
    return f"{folder} can be written" if there == folder else f"{folder} can be made"


def _tools(args: argparse.Namespace, settings: Settings) -> str:
    """They load, and the model takes them as it does before a call."""
    tools = list(load_tool_set(argparse.Namespace(tools=settings.tools, system=None, facts=None)).tools)
    named = f"{settings.tools}: {', '.join(tool.spec.name for tool in tools)}"
    if settings.facts is not None:
        with contextlib.suppress(FactsError):  # a finding of its own
            tools.append(facts_tool(settings.facts))
    config = getattr(args, "config", None)
    model = load_model(argparse.Namespace(model=settings.model, device=settings.device, config=config))
    try:
        check_tools(model, tools)
    finally:
        model.close()
    return named


def _remote(settings: Settings) -> str:
    from openai import APIConnectionError, APIStatusError, OpenAI
    from stretto.llm.remote import remote

    if "@" in urlsplit(settings.model or "").netloc:
        raise RuntimeError(f"a URL is written to logs: put the key into {PREFIX}REMOTE__KEY, not into it")
    url = remote(settings.remote.url(settings.model or ""), options=settings.remote.options()).url
    key = settings.remote.key
    secret = (key.get_secret_value() if key else os.environ.get(MODEL_KEY)) or "none"
    try:
        with OpenAI(base_url=url, api_key=secret, timeout=REMOTE_S, max_retries=0) as client:
            offered = [model.id for model in client.models.list().data]
    except APIStatusError as error:
        if error.status_code in (404, 405, 501):
            return f"{url} answers, and lists no models"
        reason = "it refuses the key" if error.status_code in (401, 403) else "it fails"
        raise RuntimeError(f"{url} answers {error.status_code}: {reason}") from None
    except APIConnectionError as error:
        raise RuntimeError(f"{url} cannot be reached ({error.__cause__ or error})") from None
    return f"{url} offers {', '.join(offered[:5]) or 'nothing'}"


def _broker(settings: Settings) -> str:
    from stretto.tools.mqtt.connection import BrokerConnection

    options = settings.mqtt.options()
    assert options is not None

    async def ask() -> str:
        async with BrokerConnection(replace(options, will=None, session_expiry_s=0)) as broker:
            try:
                async with asyncio.timeout(BROKER_S):
                    await broker.connected.wait()
            except TimeoutError:
                raise RuntimeError(f"{options.url} cannot be used ({broker.problem})") from None
            return f"{options.url} speaks MQTT {'5' if broker.version_5 else '3.1.1'}"

    return asyncio.run(ask())


def _device(kind: Literal["microphone", "speaker"], args: argparse.Namespace) -> str:
    from stretto.audio.devices import find, portaudio

    device = find(kind, getattr(args, kind, None))
    library = portaudio()
    check = library.check_input_settings if kind == "microphone" else library.check_output_settings
    check(device=device.number, channels=1, dtype="int16", samplerate=device.rate)
    return f"{device.name}, {device.rate} Hz"


def _packages() -> str:
    missing = _missing()[""]
    if missing:
        raise RuntimeError(f"not installed, or too old: {', '.join(missing)}")
    return f"all that stretto {metadata.version('stretto')} needs"


def _extras() -> str:
    offered = [
        extra for extra in metadata.metadata("stretto").get_all("Provides-Extra", []) if extra != "dev"
    ]
    missing = _missing()
    lacking = [f"{extra} ({', '.join(missing[extra])})" for extra in offered if missing[extra]]
    if lacking:
        raise RuntimeError(f"not installed: {', '.join(lacking)}")
    return f"{', '.join(offered)}: installed"


def _missing() -> dict[str, list[str]]:
    """Requirements that are not met, by extra; "" for those of every installation."""
    from packaging.requirements import Requirement

    missing: dict[str, list[str]] = defaultdict(list)
    extras = metadata.metadata("stretto").get_all("Provides-Extra", [])
    for text in metadata.requires("stretto") or []:
        need = Requirement(text)
        marker = need.marker
        always = marker is None or marker.evaluate({"extra": ""})
        asking = [""] if always else [x for x in extras if marker is None or marker.evaluate({"extra": x})]
        try:
            met = need.specifier.contains(metadata.version(need.name), prereleases=True)
        except metadata.PackageNotFoundError:
            met = False
        for extra in asking if not met else ():
            missing[extra].append(str(need.name))
    return missing
