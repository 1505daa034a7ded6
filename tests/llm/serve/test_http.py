"""HTTP as it really comes: paths, keys, other pages, broken requests, bodies without end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.llm.language_model import Draft
from stretto.llm.serve import listening
from stretto.llm.serve.completions import Limits

PATIENCE_S = 30.0
PATH = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello."}]}


def fine(conversation: Any) -> Any:
    return [Draft("Fine.", forwards=1, tokens=3)]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def patient() -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await work

    return asyncio.run(patient())


async def raw(url: str, data: bytes, then: bytes = b"") -> bytes:
    """Send bytes; what comes back until the server hangs up."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await writer.drain()
    if then:
        await asyncio.sleep(0)
        writer.write(then)
    answer = await reader.read()
    writer.close()
    return answer


async def asked(
    url: str, method: str = "POST", path: str = PATH, body: bytes = b"", headers: str = ""
) -> tuple[int, Any]:
    """Status and JSON (or text) of an answer."""
    host = "" if "Host:" in headers else f"Host: {url.removeprefix('http://')}\r\n"
    head = (
        f"{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = await raw(url, head.encode() + body)
    head_, _, content = answer.partition(b"\r\n\r\n")
    status = int(head_.split()[1])
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content.decode()


def test_paths(serving: Any) -> None:
    async def work() -> None:
        async with serving(fine) as place:
            assert await asked(place.url, "GET", "/healthz") == (200, {"ok": True, "model": "house"})
            status, page = await asked(place.url, "GET", "/metrics")
            assert status == 200
            assert "stretto_llm_requests_total" in page
            status, told = await asked(place.url, "GET", "/v1/completions")
            assert status == 404
            assert "/v1/chat/completions" in told["error"]["message"]
            status, told = await asked(place.url, "GET")
            assert status == 405
            assert told["error"]["type"] == "invalid_request_error"
            status, told = await asked(place.url, body=json.dumps(HELLO).encode())
            assert (status, told["choices"][0]["message"]["content"]) == (200, "Fine.")

    run(work())


def test_a_key_is_needed_where_there_are_keys(serving: Any) -> None:
    async def work() -> None:
        async with serving(fine, keys=("first", "second")) as place:
            assert (await place.ask()).choices[0].message.content == "Fine."
            for key in ("second", "wrong", "sécond"):
                status, told = await asked(
                    place.url, "GET", "/v1/models", headers=f"Authorization: Bearer {key}\r\n"
                )
                assert status == (200 if key == "second" else 401)
            place.client.api_key = "wrong"
            with pytest.raises(openai.AuthenticationError, match="not known"):
                await place.ask()
            for path in ("/v1/models", "/v1/models/house", "/metrics"):
                status, told = await asked(place.url, "GET", path)
                assert (status, told["error"]["code"]) == (401, "invalid_api_key")
            assert (await asked(place.url, "GET", "/healthz"))[0] == 200
            elsewhere = "Host: example.com\r\nAuthorization: Bearer first\r\n"
            assert (await asked(place.url, "GET", "/v1/models", headers=elsewhere))[0] == 200

    run(work())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Host: evil.example\r\n", 403),
        ("Host: 127.0.0.1.evil.example:80\r\n", 403),
        ("Host: 10.0.0.1\r\n", 403),
        ("Host: localhost:80\r\n", 200),
        ("Host: [::1]:80\r\n", 200),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: http://localhost:3000\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
        ("Host: localhost:80\r\nOrigin: http://localhost:80\r\n", 200),
    ],
)
def test_without_keys_only_this_machine_may_ask(serving: Any, headers: str, status: int) -> None:
    async def work() -> None:
        async with serving(fine) as place:
            for method, path in (("POST", PATH), ("GET", "/v1/models"), ("GET", "/metrics")):
                body = json.dumps(HELLO).encode() if method == "POST" else b""
                assert (await asked(place.url, method, path, body, headers))[0] == status

    run(work())


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /" + b"a" * 100_000,
    ],
)
def test_what_is_no_http_is_refused(serving: Any, data: bytes) -> None:
    async def work() -> None:
        async with serving(fine) as place:
            assert (await raw(place.url, data)).startswith(b"HTTP/1.1 400 ")
            assert (await place.ask()).choices[0].message.content == "Fine."

    run(work())


@pytest.mark.parametrize("length", [b"Content-Length: 5000", b"Transfer-Encoding: chunked"])
def test_a_body_that_is_too_long_is_not_kept(serving: Any, length: bytes) -> None:
    async def work() -> None:
        async with serving(fine, limits=Limits(body=1000)) as place:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + length
            body = b"x" * 5000 if b"Length" in length else b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n"
            answer = await raw(place.url, head + b"\r\n\r\n" + body)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"at most 1000 bytes" in answer

    run(work())


def test_a_body_that_does_not_come_is_not_waited_for(serving: Any) -> None:
    async def work() -> None:
        async with serving(fine, limits=Limits(body_s=0.05)) as place:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
            assert (await raw(place.url, head)).startswith(b"HTTP/1.1 408 ")

    run(work())


@pytest.mark.parametrize("data", [b"", b"POST /v1/chat/comp"])
def test_a_head_that_does_not_come_is_not_waited_for(
    serving: Any, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.05)

    async def work() -> None:
        async with serving(fine) as place:
            assert await raw(place.url, data) == b""
            once = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            answer = await raw(place.url, once, then=b"GET /hea")
            assert answer.count(b"HTTP/1.1 200") == 1

    run(work())


def test_a_long_answer_is_no_slow_head(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.05)

    async def work() -> None:
        async with serving(lambda _: [asyncio.sleep(0.2), Draft("Fine.")]) as place:
            assert (await place.ask()).choices[0].message.content == "Fine."
            assert (await place.ask()).choices[0].message.content == "Fine."

    run(work())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
BODIES = (
    st.binary(max_size=30)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(["tools", "stop", "tool_choice", "response_format", "seed", "model", "stream"]), JSON
    ).map(lambda fields: json.dumps(HELLO | fields).encode())
)


def test_no_body_breaks_the_server(serving: Any) -> None:
    async def work() -> None:
        async with serving(fine) as place:
            loop = asyncio.get_running_loop()

            @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
            @given(BODIES)
            def ask(body: bytes) -> None:
                status, told = asyncio.run_coroutine_threadsafe(asked(place.url, body=body), loop).result(20)
                assert status == 200 or (400 <= status < 500 and told["error"]["message"])

            await asyncio.to_thread(ask)

    run(work())


def test_a_port_that_is_taken_is_said(serving: Any) -> None:
    async def work() -> None:
        async with serving(fine) as place:
            port = int(place.url.rsplit(":", 1)[1])
            with pytest.raises(OSError, match="in use"):
                async with listening.listening(place.client, "127.0.0.1", port):
                    pass

    run(work())
