"""Settings: types and defaults, the page of reference, calls and keys made of them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from stretto.agent.call import SessionOptions
from stretto.agent.canned import CONCIERGE, Canned
from stretto.agent.reference import page
from stretto.agent.setting_types import is_secret, section_of, sections_of, variable
from stretto.agent.settings import (
    CallSettings,
    CannedSettings,
    McpSettings,
    MqttSettings,
    RemoteSettings,
    ServeSettings,
    Settings,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("STRETTO_")]:
        monkeypatch.delenv(name)


def test_the_page_of_reference_is_that_of_the_types() -> None:
    committed = (ROOT / "agent" / "CONFIGURATION.md").read_text(encoding="utf-8")
    assert committed == page(), "run: python -m stretto.agent.reference > agent/CONFIGURATION.md"


def test_every_key_is_described_and_stands_on_the_page() -> None:
    shown = page()
    kinds = (CallSettings, CannedSettings, ServeSettings, RemoteSettings, MqttSettings, McpSettings)
    for kind in (Settings, *kinds):
        for name, field in kind.model_fields.items():
            if section_of(field) is None:
                assert field.description and field.description.endswith("."), name
                assert sections_of(field) or f"| `{name}` |" in shown
    assert "| `port` | whole number, 0 to 65535 | `8080` | `STRETTO_SERVE__PORT` | TCP port; 0 for" in shown
    assert "| `keys` | list of texts *(secret)* | none | `STRETTO_SERVE__KEYS` |" in shown
    assert "| `draft_deadline_ms` | number above 0 | none |" in shown
    assert '`minimal`, `low`, `medium`, `high` | `"medium"` | `STRETTO_EFFORT`' in shown


def test_a_call_has_every_option_of_a_session_and_its_defaults() -> None:
    left = {"system", "effort"}  # at the top of the file
    left |= {"rate", "respond", "tool_choice", "observers"}  # of the way in
    options = {field.name for field in dataclasses.fields(SessionOptions)} - left
    assert set(CallSettings.model_fields) == options
    assert set(CannedSettings.model_fields) == {field.name for field in dataclasses.fields(Canned)}
    made = Settings().session_options("Be brief.", rate=24_000)
    assert made == SessionOptions(system="Be brief.", rate=24_000)


def test_sentences_that_are_set_win_over_those_of_the_tools() -> None:
    made = Settings().session_options("", CONCIERGE)
    assert made.canned == CONCIERGE
    settings = Settings(call={"canned": {"apology": "Oh dear."}, "silence_prompt_s": 3}, effort="low")
    made = settings.session_options("", CONCIERGE)
    assert made.canned == dataclasses.replace(CONCIERGE, apology="Oh dear.")
    assert (made.silence_prompt_s, made.effort) == (3.0, "low")


def test_a_remote_model_is_asked_as_its_options_say_and_with_their_defaults() -> None:
    remote = pytest.importorskip("stretto.llm.remote")
    assert RemoteSettings().options() == remote.RemoteOptions()
    made = RemoteSettings(draft_s=3, effort="mercury", diffusing=True).options()
    assert (made.draft_s, made.diffusing, made.efforts["minimal"]) == (3.0, True, "instant")
    assert RemoteSettings(model="a b").url("http://host/v1") == "http://host/v1#a%20b"
    assert RemoteSettings(model="a").url("http://host/v1#b") == "http://host/v1#b"
    assert RemoteSettings().url("http://host/v1") == "http://host/v1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"effort": "much"},
        {"device": "gpu"},
        {"serve": {"port": 65536}},
        {"serve": {"port": True}},
        {"serve": {"max_sessions": 0}},
        {"serve": {"idle_timeout_s": float("inf")}},
        {"serve": {"prot": 1}},
        {"serve": {"keys": ["two words"]}},
        {"serve": {"keys": ["clé"]}},
        {"remote": {"key": ""}},
        {"call": {"p_end_sure": 1.5}},
        {"call": {"silence_prompts": -1}},
        {"call": {"soft_end_ms": 900}},  # longer than the silence that ends a turn
        {"call": {"canned": {"hello": "hi"}}},
        {"nonsense": 1},
    ],
)
def test_a_value_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_lists_may_come_as_one_text() -> None:
    for text in ("a,b", "a b", " a , b ", '["a", "b"]'):
        assert ServeSettings(keys=text).all_keys() == ["a", "b"], text
        assert ServeSettings(origins=text).origins == ["a", "b"], text
    with pytest.raises(ValidationError) as caught:
        ServeSettings(keys='["sk-hidden')
    assert "sk-hidden" not in str(caught.value)


def test_keys_come_from_settings_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# ours\none\n\n  two  \n")
    assert ServeSettings(keys=["zero"], key_file=file).all_keys() == ["zero", "one", "two"]
    for bad, told in (
        ("# none\n", "no keys"),
        ("a key\n", "visible ASCII"),
        ("schlüssel\n", "visible ASCII"),
    ):
        file.write_text(bad)
        with pytest.raises(ValueError, match=told) as caught:
            ServeSettings(key_file=file).all_keys()
        assert "a key\n" not in str(caught.value) and "schlüssel" not in str(caught.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="no text"):
        ServeSettings(key_file=file).all_keys()
    with pytest.raises(ValueError, match="No such file"):
        ServeSettings(key_file=tmp_path / "none").all_keys()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_this_machine_alone_needs_no_key(host: str) -> None:
    assert ServeSettings(host=host).required_keys() == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_any_other_address_needs_keys(host: str) -> None:
    with pytest.raises(ValueError, match="STRETTO_SERVE__KEYS"):
        ServeSettings(host=host).required_keys()
    assert ServeSettings(host=host, keys=["k"]).required_keys() == ["k"]


def test_secrets_are_not_shown() -> None:
    settings = Settings(serve={"keys": ["sk-hidden"]}, remote={"key": "sk-hidden"})
    for shown in (repr(settings), str(settings), settings.model_dump_json(), page()):
        assert "sk-hidden" not in shown
    secret = {
        (kind.__name__, name)
        for kind in (Settings, CallSettings, ServeSettings, RemoteSettings)
        for name, field in kind.model_fields.items()
        if is_secret(field)
    }
    assert secret == {("ServeSettings", "keys"), ("RemoteSettings", "key")}
    assert isinstance(settings.remote.key, SecretStr)


def test_variables_have_the_names_of_the_keys() -> None:
    assert variable(["effort"]) == "STRETTO_EFFORT"
    assert variable(["call", "canned", "greeting"]) == "STRETTO_CALL__CANNED__GREETING"
