"""Doors and metrics as they are met on the wire."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import pytest
from stretto.agent.server.doors import Doors, mint
from stretto.llm.language_model import Call
from stretto.tools.tool import tool
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


def run(work, timeout=200):
    return asyncio.run(asyncio.wait_for(work, timeout))


def address(url: str, query: str = "") -> str:
    return f"{url}/v1/realtime?model=x{query}".replace("http", "ws")


def get(url: str, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_doors_on_the_wire(house):
    house.doors = Doors(keys=["secret-key"], max_sessions=1)

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
            borrowed = {"Authorization": f"Bearer {token}"}
            assert (await asyncio.to_thread(lambda: get(url, "/v1/models", **borrowed)))[0] == 200
            for path in ("/token", "/metrics"):  # a token cannot renew itself, nor see what others do
                status, body = await asyncio.to_thread(lambda path=path: get(url, path, **borrowed))
                assert status == 403 and b"the key itself" in body
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


def test_keys_are_guessed_slowly_and_only_under_this_machines_name(house):
    async def status(url: str, path: str, **headers: str) -> int:
        return (await asyncio.to_thread(lambda: get(url, path, **headers)))[0]

    async def work():
        async with house.serving() as url:
            for path in ("/metrics", "/v1/models", "/token"):
                assert await status(url, path) == 200
                assert await status(url, path, Host="evil.example:8080") == 403
        house.doors = Doors(keys=["secret-key"], requests_per_minute=5)
        async with house.serving() as url:
            assert await status(url, "/v1/models", Authorization="Bearer secret-key") == 200
            told = [await status(url, "/v1/models", Authorization=f"Bearer guess-{n}") for n in range(7)]
            assert told == [401] * 5 + [429] * 2
            assert await status(url, "/v1/models", Authorization="Bearer secret-key") == 200

    run(work())


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


def test_metrics_count_the_time_of_tools_and_of_the_reply_after_them(house):
    @tool
    async def open_door(name: str) -> str:
        """Open a door."""
        return "open"

    house.tools = (open_door,)
    house.brain.policy = lambda t: "It is open." if t.results else Call("id1", "open_door", {"name": "front"})

    async def work():
        async with house.serving() as url, house.client(url) as talk:
            await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            for _ in range(2):  # the draft of the next turn has no results to read
                content = [{"type": "input_text", "text": "Open it."}]
                item = {"type": "message", "role": "user", "content": content}
                await talk.connection.conversation.item.create(item=item)
                await talk.connection.response.create()
                await talk.until("response.done")
                house.brain.policy = lambda t: "Once is enough."
            page = house.server.metrics.page().decode()
            for stage in ("tool", "draft_after_tools"):
                assert f'stretto_stage_seconds_count{{stage="{stage}"}} 1.0' in page
            assert 'stretto_tool_calls_total{outcome="ok",tool="open_door"} 1.0' in page

    run(work())
