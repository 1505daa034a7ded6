"""What a URL on the command line says of a model server, and what it must not say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from stretto.llm.remote import EFFORTS, RemoteOptions, remote


@pytest.mark.parametrize(
    ("url", "address", "name"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1", None),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1", None),
        ("https://host/api/v1/chat/completions#a/b:c", "https://host/api/v1", "a/b:c"),
        ("https://host?model=mercury-2", "https://host/v1", "mercury-2"),
        ("http://[::1]:8000/v1#x%20y", "http://[::1]:8000/v1", "x y"),
    ],
)
def test_a_url_names_server_and_model(url: str, address: str, name: str | None) -> None:
    model = remote(url)
    assert model.url == address
    if name is not None:
        assert asyncio.run(model.name()) == name


def test_a_url_may_hold_settings() -> None:
    options = remote("https://h/v1?effort=mercury&diffusing=true#m", options=RemoteOptions(retries=7)).options
    assert (options.efforts, options.diffusing, options.retries) == (EFFORTS["mercury"], True, 7)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("", "no URL of a model server"),
        ("localhost:8000", "no URL of a model server"),
        ("ftp://host/v1", "no URL of a model server"),
        ("http:///v1", "no URL of a model server"),
        ("http://a b/v1", "no URL of a model server"),
        ("http://[::1/v1", "cannot be used: Invalid IPv6 URL"),
        ("http://host:port/v1", "cannot be used: Port could not be cast"),
        ("http://me:secret@host/v1", "put the key into STRETTO_MODEL_KEY"),
        ("http://host?modell=x", "modell is no setting"),
        ("http://host?model=x#y", "names two models, x and y"),
        ("http://host?effort=much", "use openai or mercury"),
        ("http://host?diffusing=1", "use true or false"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(url: str, match: str) -> None:
    with pytest.raises(ValueError, match=match) as error:
        remote(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("options", [{"draft_s": 0}, {"retries": -1}, {"characters": 0}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RemoteOptions(**options)
