"""Who may call by telephone: signatures, addresses, limits, the webhook, and how a call is ended."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from xml.etree import ElementTree as Xml

import pytest
from pydantic import ValidationError
from rich.console import Console
from stretto.agent import serve_command
from stretto.agent.call import SessionOptions
from stretto.agent.cli import UsageError
from stretto.agent.server.audiosocket_door import AudioSocketDoor
from stretto.agent.server.doors import Doors, Refused
from stretto.agent.server.opening import server_for
from stretto.agent.server.serve_settings import ServeSettings
from stretto.agent.server.twilio_door import TwilioDoor, signature
from stretto.agent.ways_in.audiosocket import HANG_UP, UUID, SocketFrame, read_frame
from stretto.demo.phone import twilio_phone
from stretto.llm.language_model import Call
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

TOKEN = "12345"


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 120))


def get(url: str, **headers: str) -> tuple[int, str, str]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def test_a_signature_is_made_as_twilio_documents_it():
    """The example of https://www.twilio.com/docs/usage/security."""
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+12349013030",
        "Digits": "1234",
        "From": "+12349013030",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature(TOKEN, url, form) == "0/KCTR6DLpKmkAf8muzZqo1nDgQ="


def test_only_what_is_signed_is_let_in(phones):
    phones.twilio = TwilioDoor(TOKEN, "https://calls.example.com")
    right = signature(TOKEN, "wss://calls.example.com/twilio")
    wrong = [
        None, "", "nonsense", right[:-2] + "A=", signature("other", "wss://calls.example.com/twilio"),
        signature(TOKEN, "wss://calls.example.com/other"),
    ]  # fmt: skip

    async def work():
        async with phones.serving() as url:
            address = url.replace("http", "ws") + "/twilio"
            for given in wrong:
                with pytest.raises(InvalidStatus) as refused:
                    async with twilio_phone(address, signature=given):
                        pass
                assert refused.value.response.status_code == 403, given
            assert phones.server.doors.sessions == 0
            for given in (right, signature(TOKEN, "wss://calls.example.com/twilio/")):
                async with twilio_phone(address, signature=given):
                    await phones_held(phones, 1)
                await phones.quiet()
            page = phones.server.metrics.page().decode()
            assert f'stretto_refused_total{{status="403"}} {float(len(wrong))}' in page

    run(work())


async def phones_held(phones: Any, count: int) -> None:
    async with asyncio.timeout(60):
        while len(phones.calls()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_without_a_token_only_this_machine_may_call(phones):
    async def work():
        async with phones.serving() as url:
            for path in ("/twilio", "/twilio/voice"):
                status, _, told = await asyncio.to_thread(
                    lambda path=path: get(url + path, Host="calls.example.com")
                )
                assert status == 403 and "keys" in told
            assert (await asyncio.to_thread(get, f"{url}/twilio"))[0] == 426
            twice = [("X-Twilio-Signature", "a"), ("X-Twilio-Signature", "b"), ("Upgrade", "x")]
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url.replace("http", "ws") + "/twilio", additional_headers=twice):
                    pass
            assert refused.value.response.status_code == 426

    run(work())


def test_the_webhook_answers_with_a_stream_that_knows_who_calls(phones):
    phones.twilio, phones.doors = TwilioDoor(TOKEN, "https://calls.example.com"), Doors(max_sessions=1)
    asked = {"From": "+15550100", "To": "+15550199", "CallSid": "CA7", "shop": 'a "b" <c>', "from": "me"}
    path = f"/twilio/voice?{urllib.parse.urlencode(asked)}"
    right = {"X-Twilio-Signature": signature(TOKEN, f"https://calls.example.com{path}")}

    async def work():
        async with phones.serving() as url:
            status, kind, body = await asyncio.to_thread(lambda: get(url + path, **right))
            assert (status, kind.split(";")[0]) == (200, "text/xml")
            stream = Xml.fromstring(body).find("./Connect/Stream")
            assert stream is not None and stream.get("url") == "wss://calls.example.com/twilio"
            given = {each.get("name"): each.get("value") for each in stream}
            assert given == {"from": "+15550100", "to": "+15550199", "shop": 'a "b" <c>'}
            status, _, told = await asyncio.to_thread(lambda: get(url + path + "&a=b", **right))
            assert status == 403 and "public_url" in told
            key = signature(TOKEN, "wss://calls.example.com/twilio")
            async with twilio_phone(url.replace("http", "ws") + "/twilio", signature=key):
                await phones_held(phones, 1)
                body = (await asyncio.to_thread(lambda: get(url + path, **right)))[2]
                reject = Xml.fromstring(body).find("./Reject")
                assert reject is not None and reject.get("reason") == "busy"

    run(work())


class Rest(BaseHTTPRequestHandler):
    """Twilio's REST interface, as far as it is needed."""

    status = 200
    asked: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.asked.append((self.path, self.headers["Authorization"], form))
        body = json.dumps({"status": "completed"}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def rest() -> Iterator[str]:
    Rest.status = 200
    Rest.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("ends", "status"), [("hang_up", 200), ("transfer", 200), ("hang_up", 500)])
def test_what_the_agent_does_at_the_end_is_done_by_rest(phones, rest, says, caplog, ends, status):
    Rest.status = status
    phones.twilio = TwilioDoor(TOKEN, None, "AC1", "+15550111", rest)
    phones.options = SessionOptions(system="Be brief.", greeting="")
    phones.brain.policy = lambda thought: Call("a", ends, {})

    async def work():
        async with phones.serving() as url:
            key = signature(TOKEN, url.replace("http", "wss") + "/twilio")
            address = url.replace("http", "ws") + "/twilio"
            async with twilio_phone(address, signature=key, call_sid="CA9") as phone:
                await phones_held(phones, 1)
                (call,) = phones.calls()
                await call.session.picked_up()
                await phone.say(says("That is all.", 8000, 0.0))
                await asyncio.wait_for(phone.over.wait(), 60)
            await phones.quiet()
            assert call.session.record.ended == ends

    run(work())
    ((path, authorization, form),) = Rest.asked
    assert path == "/2010-04-01/Accounts/AC1/Calls/CA9.json"
    assert authorization == "Basic QUMxOjEyMzQ1"  # AC1:12345
    if ends == "transfer":
        assert form == {"Twiml": "<Response><Dial>+15550111</Dial></Response>"}
    else:
        assert form == {"Status": "completed"}
    assert ("Twilio does not take it" in caplog.text) == (status == 500)


def test_a_caller_who_hangs_up_costs_no_rest_call(phones, rest):
    phones.twilio = TwilioDoor(TOKEN, None, "AC1", None, rest)

    async def work():
        async with phones.serving() as url:
            key = signature(TOKEN, url.replace("http", "wss") + "/twilio")
            async with twilio_phone(url.replace("http", "ws") + "/twilio", signature=key):
                await phones_held(phones, 1)
            await phones.quiet()

    run(work())
    assert Rest.asked == []


def test_audiosocket_is_for_named_addresses_and_as_many_calls_as_there_are_lines(phones):
    phones.doors = Doors(max_sessions=1)

    async def ring() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*phones.audiosocket.address)
        writer.write(SocketFrame(UUID, uuid.uuid4().bytes).encode())
        return reader, writer

    async def work():
        async with phones.serving():
            _, first = await ring()
            await phones_held(phones, 1)
            reader, second = await ring()
            frame = await asyncio.wait_for(read_frame(reader), 10)
            assert frame is not None and frame.kind == HANG_UP
            assert await asyncio.wait_for(read_frame(reader), 10) is None
            first.close()
            second.close()
            await phones.quiet()
            page = phones.server.metrics.page().decode()
            assert 'stretto_refused_total{status="503"} 1.0' in page

    run(work())


@pytest.mark.parametrize(
    ("peer", "peers", "welcome"),
    [
        ("127.0.0.1", (), True),
        ("::1", (), True),
        ("::ffff:127.0.0.1", (), True),
        ("10.0.0.5", (), False),
        ("10.0.0.5", ("10.0.0.5",), True),
        ("::ffff:10.0.0.5", ("10.0.0.0/24",), True),
        ("10.0.1.5", ("10.0.0.0/24", "fd00::/8"), False),
        ("fd00::1", ("10.0.0.0/24", "fd00::/8"), True),
        ("nonsense", ("10.0.0.0/8",), False),
    ],
)
def test_addresses_of_asterisks(peer, peers, welcome):
    assert AudioSocketDoor("0.0.0.0", 0, peers)._welcome((peer, 1)) is welcome


def test_phones_count_as_requests_but_not_as_calls_of_a_key():
    doors = Doors(keys=["k" * 20], sessions_per_key=1, requests_per_minute=2)
    with doors.session("twilio"), doors.session("twilio"):
        assert doors.sessions == 2
    doors.admit_line("twilio", 0.0)
    doors.admit_line("twilio", 1.0)
    with pytest.raises(Refused, match="too many"):
        doors.admit_line("twilio", 2.0)
    assert doors.admit_line("audiosocket", 2.0) == "audiosocket"


def test_settings_of_the_telephone(house):
    made = ServeSettings(
        audiosocket="127.0.0.1:9092",
        twilio={"auth_token": TOKEN, "public_url": "https://a.example/", "account_sid": "AC1"},
    )
    server = server_for(house.made().service, made)
    assert server.twilio == TwilioDoor(TOKEN, "https://a.example", "AC1")
    assert server.audiosocket is not None and (server.audiosocket.host, server.audiosocket.port) == (
        "127.0.0.1", 9092,
    )  # fmt: skip
    assert TOKEN not in repr(made)
    with pytest.raises(ValueError, match="AUDIOSOCKET_PEERS"):
        ServeSettings(audiosocket="0.0.0.0:9092").audiosocket_address()
    opened = ServeSettings(audiosocket="0.0.0.0:9092", audiosocket_peers="10.0.0.5, 10.1.0.0/16")
    assert opened.audiosocket_address() == ("0.0.0.0", 9092)
    assert ServeSettings(audiosocket="[::1]:9092").audiosocket_address() == ("::1", 9092)
    for wrong in (
        {"audiosocket": "9092"},
        {"audiosocket": "host:99999"},
        {"audiosocket_peers": ["nowhere"]},
        {"twilio": {"account_sid": "AC1"}},
        {"twilio": {"transfer_to": "+1", "auth_token": TOKEN}},
        {"twilio": {"public_url": "calls.example.com"}},
    ):
        with pytest.raises(ValidationError):
            ServeSettings(**wrong)


def test_a_stream_that_does_not_start_is_closed(phones, monkeypatch):
    monkeypatch.setattr("stretto.agent.ways_in.twilio_call.START_S", 0.2)
    monkeypatch.setattr("stretto.agent.ways_in.audiosocket.START_S", 0.2)

    async def work():
        async with phones.serving() as url:
            async with connect(url.replace("http", "ws") + "/twilio") as socket:
                await socket.send('{"event": "connected"}')
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(socket.recv(), 20)
            reader, writer = await asyncio.open_connection(*phones.audiosocket.address)
            frame = await asyncio.wait_for(read_frame(reader), 20)
            assert frame is not None and frame.kind == HANG_UP
            writer.close()
            await phones.quiet()

    run(work())


def test_a_port_that_is_taken_is_told_by_its_flag(phones):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        phones.audiosocket = AudioSocketDoor("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:\d+ .*--audiosocket"):
            run(serve_command.serve(phones.made(), "127.0.0.1", 0, True, Console(quiet=True)))
