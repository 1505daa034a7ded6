"""The model behind a URL, against a real HTTP server on loopback that streams what each test scripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stretto.agent.answer import answer
from stretto.agent.turn import TurnOptions
from stretto.llm.breaker import Breaker, BreakerOptions, BreakerState
from stretto.llm.chat_history import STILL_RUNNING
from stretto.llm.language_model import AUTO, Canvas, Draft, Settled, ToolChoice, last_draft
from stretto.llm.remote import (
    EFFORTS,
    RemoteError,
    RemoteModel,
    RemoteOptions,
    RemoteUnavailable,
    remote,
)
from stretto.llm.remote_conversation import RemoteConversation
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import ToolError, ToolSpec, tool

DAY = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
BOOK = ToolSpec("book", "Book a table.", DAY)
CANCEL = ToolSpec("cancel", "Cancel a table.", DAY)
FAST = RemoteOptions(retry_s=0.001)
PATIENT = RemoteOptions(retry_s=0.001, first_chunk_s=1000, draft_s=1000)
DONE = b"data: [DONE]\n\n"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("STRETTO_MODEL_KEY", raising=False)


# ------------------------------------------------------------------ the server


@dataclass
class Exchange:
    """One request and the connection to answer it on."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def status(self, code: int, body: object = None, headers: str = "") -> None:
        text = json.dumps(body if body is not None else {"error": {"message": f"it is a {code}"}}).encode()
        head = (
            f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(text)}\r\n"
        )
        self.writer.write(head.encode() + b"\r\n" + text)
        await self.writer.drain()

    async def begin(self) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def left(self) -> None:
        """Return when the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(100):
                pass


Step = Callable[[Exchange], Awaitable[None]]


@dataclass
class Server:
    """Answers the n-th completion by the n-th step, and the last one for ever."""

    steps: Sequence[Step]
    models: object = field(default_factory=lambda: {"data": [{"id": "first-model"}, {"id": "other"}]})
    asked: list[Exchange] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(default_factory=dict)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            self.connections[task] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                path = head[0].split()[1]
                exchange = Exchange(path, headers, json.loads(content or "{}"), reader, writer)
                self.paths.append(path)
                if path.endswith("/models"):
                    await exchange.status(200 if self.models is not None else 404, self.models)
                    continue
                self.asked.append(exchange)
                await self.steps[min(len(self.asked), len(self.steps)) - 1](exchange)
                if writer.is_closing():
                    return
        writer.close()

    def messages(self, request: int = -1) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = self.asked[request].body["messages"]
        return told


@contextlib.asynccontextmanager
async def serving(*steps: Step, models: object = ...) -> AsyncIterator[Server]:
    server = Server(steps) if models is ... else Server(steps, models)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listening.close()
        for writer in server.connections.values():
            writer.close()
        if server.connections:
            await asyncio.wait(server.connections, timeout=2)


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def event(chunk: object) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def says(*pieces: str) -> Step:
    return sends(*(delta(content=piece) for piece in pieces), delta("stop"))


def sends(*chunks: object) -> Step:
    async def step(exchange: Exchange) -> None:
        await exchange.begin()
        for chunk in chunks:
            await exchange.send(event(chunk))
        await exchange.send(DONE)
        await exchange.end()

    return step


def calls(*written: tuple[str, str], text: str = "") -> Step:
    made = [
        {"index": i, "id": "same", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(written)
    ]
    return sends(delta(content=text), *(delta(tool_calls=[call]) for call in made), delta("tool_calls"))


def fails(code: int, headers: str = "") -> Step:
    return lambda exchange: exchange.status(code, headers=headers)


async def hangs(exchange: Exchange) -> None:
    await exchange.left()


async def disconnects(exchange: Exchange) -> None:
    exchange.writer.close()


def dies_after(*pieces: str) -> Step:
    async def step(exchange: Exchange) -> None:
        await exchange.begin()
        for piece in pieces:
            await exchange.send(event(delta(content=piece)))
        exchange.writer.close()

    return step


# ------------------------------------------------------------------ the client


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(limited())


@contextlib.asynccontextmanager
async def talking(
    server: Server, options: RemoteOptions = FAST, choice: ToolChoice = AUTO, **more: Any
) -> AsyncIterator[RemoteConversation]:
    model = RemoteModel(server.url, "m", options=options, **more)
    conversation = model.open("Be brief.", [BOOK, CANCEL], choice)
    await conversation.hear("A table,", "please.")
    try:
        yield conversation
    finally:
        conversation.close()
        await model.aclose()


def drafted(
    *steps: Step, options: RemoteOptions = FAST, deadline_ms: float | None = None
) -> tuple[list[Any], Server]:
    """All items of one draft."""

    async def work() -> tuple[list[Any], Server]:
        async with serving(*steps) as server, talking(server, options) as conversation:
            return [item async for item in conversation.draft("low", deadline_ms)], server

    result: tuple[list[Any], Server] = run(work())
    return result


def failing(*steps: Step, error: type[Exception], match: str, **options: Any) -> Server:
    """A draft that raises; the server."""

    async def work() -> Server:
        async with serving(*steps) as server, talking(server, options.pop("options", FAST)) as conversation:
            with pytest.raises(error, match=match):
                async for _ in conversation.draft(**options):
                    pass
        return server

    result: Server = run(work())
    return result


def test_words_settle_while_they_come() -> None:
    usage = {"choices": [], "usage": {"completion_tokens": 7}}
    pieces = [delta(content=piece) for piece in ("Your ta", "ble is ", "booked.")]
    items, server = drafted(sends(*pieces, delta("stop"), usage))
    assert items[:-1] == [Settled("Your"), Settled("Your table is"), Settled("Your table is booked.")]
    assert items[-1].text == "Your table is booked." and items[-1].calls == ()
    assert (items[-1].forwards, items[-1].revision, items[-1].tokens) == (1, 1, 7)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions" and asked.headers["authorization"] == "Bearer none"
    assert asked.body == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "A table, please."},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": DAY},
            }
            for t in (BOOK, CANCEL)
        ],
    }


def test_two_calls_come_back_parsed_with_ids_of_their_own() -> None:
    items, _ = drafted(calls(("book", '{"day": "Monday"}'), ("cancel", '{"day": "Friday"}'), text="Wait."))
    assert items[0] == Settled("Wait.") and items[-1].text == "Wait."
    assert [(c.name, c.arguments) for c in items[-1].calls] == [
        ("book", {"day": "Monday"}),
        ("cancel", {"day": "Friday"}),
    ]
    assert len({c.id for c in items[-1].calls}) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("book", '{"date": "Monday"}'), "'day' is a required property"),
        (("book", '{"day": '), "no JSON"),
        (("buy it", '{"day": "Monday"}'), "no tool 'buy it', only book, cancel"),
    ],
)
def test_a_wrong_call_is_asked_for_once_more(wrong: tuple[str, str], told: str) -> None:
    right = ("cancel", '{"day": "Friday"}')
    items, server = drafted(
        calls(wrong, right, text="One moment."), calls(("book", '{"day": "Monday"}'), text="Hold on.")
    )
    assert items[:-1] == [Settled("One"), Settled("One moment.")]
    assert items[-1].text == "One moment." and items[-1].forwards == 2
    assert [c.arguments for c in items[-1].calls] == [{"day": "Monday"}]
    agent, first, second = server.messages()[-3:]
    assert agent["content"] == "One moment." and told in first["content"]
    assert "again" in first["content"] and "not run" in second["content"]
    assert [c["id"] for c in agent["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    for call in agent["tool_calls"]:
        json.loads(call["function"]["arguments"])
        assert call["function"]["name"].replace("_", "").isalpha()


def test_a_call_that_stays_wrong_fails_the_draft() -> None:
    server = failing(
        calls(("fly", "{}")), error=RemoteError, match="wrong call twice: there is no tool 'fly'"
    )
    assert len(server.asked) == 2


BOOKING = ToolChoice("required", frozenset({"book"}))
NAMED = {"type": "function", "function": {"name": "book"}}
BOOKED = calls(("book", '{"day": "Monday"}'))


@pytest.mark.parametrize(
    ("choice", "sent", "offered"),
    [
        (AUTO, None, 2),
        (ToolChoice("none"), "none", 2),
        (ToolChoice("required"), "required", 2),
        (BOOKING, NAMED, 2),
        (ToolChoice("required", frozenset({"book", "cancel"})), "required", 2),
    ],
)
def test_the_server_is_told_which_tools_to_call(choice: ToolChoice, sent: object, offered: int) -> None:
    async def work() -> None:
        step = says("Fine.") if choice.mode == "none" else BOOKED
        async with serving(step) as server, talking(server, choice=choice) as conversation:
            await last_draft(conversation, "low")
            body = server.asked[0].body
            assert body.get("tool_choice") == sent and len(body["tools"]) == offered

    run(work())


def test_tools_that_would_not_count_are_not_offered_where_a_call_is_required() -> None:
    async def work() -> None:
        hang_up = ToolSpec("hang_up", "End the call.", {"type": "object", "properties": {}})
        choice = ToolChoice("required", frozenset({"book", "cancel"}))
        async with serving(BOOKED) as server:
            model = RemoteModel(server.url, "m", options=FAST)
            conversation = model.open("", [BOOK, CANCEL, hang_up], choice)
            await conversation.hear("A table.")
            await last_draft(conversation, "low")
            body = server.asked[0].body
            assert body["tool_choice"] == "required"
            assert [tool["function"]["name"] for tool in body["tools"]] == ["book", "cancel"]
            with pytest.raises(ValueError, match="no tool order"):
                model.open("", [BOOK], ToolChoice("required", frozenset({"order"})))
            await model.aclose()

    run(work())


def test_what_follows_a_result_is_free_until_the_caller_speaks_again() -> None:
    async def work() -> None:
        steps = (BOOKED, says("It is booked."), BOOKED)
        async with serving(*steps) as server, talking(server, choice=BOOKING) as conversation:
            first = await last_draft(conversation, "low")
            await conversation.commit(first)
            await conversation.tool_result(first.calls[0].id, '{"ok":true}')
            second = await last_draft(conversation, "low")
            await conversation.commit(second)
            await conversation.hear("Another one.")
            assert (await last_draft(conversation, "low")).calls
            assert second.text == "It is booked."
            assert [each.body.get("tool_choice") for each in server.asked] == [NAMED, None, NAMED]

    run(work())


@pytest.mark.parametrize(
    ("choice", "wrong", "right", "told"),
    [
        (BOOKING, says("No."), BOOKED, "no tool was called; call book now"),
        (BOOKING, calls(("cancel", '{"day": "Monday"}')), BOOKED, "cancel cannot be called now; call book"),
        (ToolChoice("none"), BOOKED, says("Which day?"), "book cannot be called now; answer in words"),
    ],
)
def test_a_server_that_does_not_heed_the_choice_is_asked_once_more(
    choice: ToolChoice, wrong: Step, right: Step, told: str
) -> None:
    async def work() -> None:
        async with serving(wrong, right) as server, talking(server, choice=choice) as conversation:
            draft = await last_draft(conversation, "low")
            assert [call.name for call in draft.calls] == ([] if choice.mode == "none" else ["book"])
            assert draft.text or choice.mode != "none"
            assert told in server.messages()[-1]["content"]
        async with serving(wrong) as server, talking(server, choice=choice) as conversation:
            with pytest.raises(RemoteError, match=f"wrong call twice: {told}"):
                await last_draft(conversation, "low")
            assert len(server.asked) == 2

    run(work())


def test_a_server_that_hangs_is_given_up_and_its_connection_closed() -> None:
    async def work() -> None:
        gone = asyncio.Event()

        async def step(exchange: Exchange) -> None:
            await exchange.left()
            gone.set()

        async with serving(step) as server:
            options = RemoteOptions(first_chunk_s=0.5)
            async with talking(server, options) as conversation:
                with pytest.raises(RemoteUnavailable, match=r"did not begin to answer within 0\.5 s"):
                    await last_draft(conversation, "low")
                await gone.wait()
            assert len(server.asked) == 1

    run(work())


def test_an_answer_that_does_not_end_is_given_up() -> None:
    async def step(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(event(delta(content="I am ")))
        await exchange.left()

    failing(
        step, error=RemoteUnavailable, match="did not finish its answer", options=RemoteOptions(draft_s=0.5)
    )


def test_an_answer_that_is_whole_need_not_end_its_stream() -> None:
    async def step(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(event(delta("stop", content="Yes, it is.")))
        await exchange.left()

    assert drafted(step, options=PATIENT)[0][-1].text == "Yes, it is."


@pytest.mark.parametrize("ended", [True, False])
def test_a_server_that_dies_in_mid_stream_is_not_asked_again(ended: bool) -> None:
    async def stops(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(event(delta(content="Your table ")))
        await exchange.send(DONE)
        await exchange.end()

    async def work() -> None:
        step = stops if ended else dies_after("Your table ")
        async with serving(step) as server, talking(server) as conversation:
            items: list[Any] = []
            with pytest.raises(RemoteUnavailable, match="broke off in the middle"):
                async for item in conversation.draft():
                    items.append(item)
            assert items == [Settled("Your table")] and len(server.asked) == 1

    run(work())


@pytest.mark.parametrize(
    "first",
    [fails(429, "Retry-After: 0\r\n"), fails(503), disconnects, dies_after()],
    ids=["429", "503", "disconnects", "dies before the first chunk"],
)
def test_what_may_pass_is_tried_again_before_the_first_chunk(first: Step) -> None:
    items, server = drafted(first, says("Fine."))
    assert items[-1].text == "Fine." and items[-1].forwards == len(server.asked) == 2


def test_a_server_that_asks_for_a_long_wait_is_not_waited_for() -> None:
    step = fails(429, "Retry-After: 60\r\n")
    server = failing(step, error=RemoteUnavailable, match=r"asked too much \(429\).*it is a 429")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (401, r"refused the key \(401\): set STRETTO_MODEL_KEY"),
        (403, "does not let this key"),
        (404, "check the URL, and the model's name"),
        (400, r"refused the request \(400\): it is a 400"),
    ],
)
def test_what_will_not_pass_is_told_at_once(code: int, match: str) -> None:
    assert len(failing(fails(code), error=RemoteError, match=match).asked) == 1


def test_a_server_that_is_not_there_is_told() -> None:
    async def work() -> None:
        async with serving(says("Hi.")) as server:
            pass
        async with talking(server) as conversation:
            with pytest.raises(RemoteUnavailable, match="cannot be reached: is it running"):
                await last_draft(conversation, "low")

    run(work())


async def _garbage(exchange: Exchange) -> None:
    await exchange.begin()
    await exchange.send(b"data: {oh no\n\n")
    await exchange.end()


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (_garbage, "cannot be read"),
        (sends(5), "no answer of a chat"),
        (sends({"error": {"message": "out of memory"}}), "reports an error: out of memory"),
        (sends(delta(content="I "), {"error": {"message": "out of memory"}}), "reports an error"),
    ],
)
def test_answers_of_another_kind_are_told(step: Step, match: str) -> None:
    failing(step, error=RemoteError, match=match)


def test_a_failing_server_is_left_alone_and_found_again() -> None:
    async def work() -> None:
        now = [0.0]
        breaker = Breaker(BreakerOptions(failures=4, pause_s=5.0))
        async with serving(*[fails(500)] * 5, says("Back.")) as server:
            model = RemoteModel(server.url, "m", options=FAST, breaker=breaker, clock=lambda: now[0])
            one, other = model.open("", []), model.open("", [])
            for conversation in (one, other):
                with pytest.raises(RemoteUnavailable, match=r"failed \(500\)"):
                    await last_draft(conversation, "low")
            assert len(server.asked) == 4, "three tries, and one more that opened the breaker"
            for conversation in (one, other):
                with pytest.raises(RemoteUnavailable, match=r"left alone: it is tried again in 5\.0 s"):
                    await last_draft(conversation, "low")
            now[0] = 5.0
            with pytest.raises(RemoteUnavailable, match=r"failed \(500\)"):
                await last_draft(one, "low")
            assert len(server.asked) == 5
            now[0] = 10.0
            assert (await last_draft(one, "low")).text == "Back."
            assert breaker.state is BreakerState.CLOSED
            await model.aclose()

    run(work())


def test_a_try_that_is_left_early_does_not_keep_the_breaker_shut() -> None:
    async def work() -> None:
        now = [0.0]
        breaker = Breaker(BreakerOptions(failures=1))
        async with (
            serving(fails(500), hangs, says("Back.")) as server,
            talking(server, PATIENT, breaker=breaker, clock=lambda: now[0]) as conversation,
        ):
            with pytest.raises(RemoteUnavailable):
                await last_draft(conversation, "low")
            now[0] = 60.0
            with pytest.raises(RemoteUnavailable, match="said nothing by the deadline"):
                async for _ in conversation.draft(deadline_ms=100):
                    pass
            assert (await last_draft(conversation, "low")).text == "Back."

    run(work())


def test_canvases_of_a_diffusing_server_are_shown() -> None:
    meta = {"diffusion_meta": {"diffusion_content": True}}
    frames = [delta(content=text) | meta for text in ("Yo%r t", "Your tab#e is", "Your table is free.")]
    items, server = drafted(sends(*frames, delta("stop")), options=RemoteOptions(diffusing=True))
    assert server.asked[0].body["diffusing"] is True
    assert items[:2] == [Canvas(("Yo%r", " t"), 1), Canvas(("Your", " tab#e", " is"), 2)]
    assert items[3] == Settled("Your table is free.") and items[4].text == "Your table is free."


def test_the_effort_is_sent_only_when_asked_for_and_extra_fields_as_they_are() -> None:
    options = RemoteOptions(efforts=EFFORTS["mercury"], extra={"temperature": 0.7})

    async def work() -> None:
        async with serving(says("Hi.")) as server, talking(server, options) as conversation:
            await last_draft(conversation, "minimal")
            await last_draft(conversation, "high")
            bodies = [each.body for each in server.asked]
            assert [body["reasoning_effort"] for body in bodies] == ["instant", "high"]
            assert bodies[0]["temperature"] == 0.7

    run(work())


def test_the_next_request_holds_what_was_heard_and_every_result() -> None:
    async def work() -> None:
        steps = calls(
            ("book", '{"day": "Monday"}'), ("cancel", '{"day": "Friday"}'), text="One moment, I look."
        )
        async with serving(steps, says("Done.")) as server, talking(server) as conversation:
            draft = await last_draft(conversation, "low")
            await conversation.commit(draft)
            await conversation.tool_result(draft.calls[1].id, '{"ok":2}')
            await conversation.commit(draft, "One moment,")
            await conversation.hear("Wait!")
            await last_draft(conversation, "low")
            user, agent, one, two, later = server.messages()[1:]
            assert user["content"] == "A table, please." and agent["content"] == "One moment,"
            assert [c["id"] for c in agent["tool_calls"]] == [c.id for c in draft.calls]
            assert (one["tool_call_id"], one["content"]) == (draft.calls[0].id, STILL_RUNNING)
            assert (two["tool_call_id"], two["content"]) == (draft.calls[1].id, '{"ok":2}')
            assert later == {"role": "user", "content": "Wait!"}
            with pytest.raises(KeyError):
                await conversation.tool_result("other", "{}")

    run(work())


def test_a_history_can_be_restored_and_the_oldest_turns_are_dropped() -> None:
    async def work() -> None:
        options = RemoteOptions(exchanges=2)
        async with serving(says("Yes, it is.")) as server, talking(server, options) as conversation:
            told = [(role, f"{role} {n}") for n in range(5) for role in ("user", "assistant")]
            await conversation.restore([{"role": role, "content": text} for role, text in told])
            await last_draft(conversation, "low")
            assert server.messages() == [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "A table, please."},
            ]

    run(work())


@pytest.mark.parametrize("how", ["closed", "cancelled", "cancelled before the first chunk"])
def test_a_draft_that_is_left_early_closes_the_connection(how: str) -> None:
    async def work() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def step(exchange: Exchange) -> None:
            if how != "cancelled before the first chunk":
                await exchange.begin()
                await exchange.send(event(delta(content="I am still ")))
            asked.set()
            await exchange.left()
            gone.set()

        async with serving(step, says("Hi.")) as server, talking(server) as conversation:
            if how == "closed":
                items: Any = conversation.draft()
                assert await anext(items) == Settled("I am still")
                await items.aclose()
            else:
                task = asyncio.create_task(last_draft(conversation, "low"))
                await asked.wait()
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await gone.wait()
            assert (await last_draft(conversation, "low")).text == "Hi."

    run(work())


@pytest.mark.parametrize(
    ("pieces", "settled"),
    [
        (("It is", " booked. And then the"), ["It", "It is booked."]),
        (("It is booked. And", " then the. "), ["It is booked."]),
        (("It is booked. ",), ["It is booked."]),
    ],
)
def test_at_the_deadline_words_end_with_their_sentence(pieces: tuple[str, ...], settled: list[str]) -> None:
    async def step(exchange: Exchange) -> None:
        await exchange.begin()
        for piece in pieces:
            await exchange.send(event(delta(content=piece)))
            await asyncio.sleep(0.6)
        await exchange.left()

    items, _ = drafted(step, deadline_ms=400)
    assert [item.text for item in items[:-1]] == settled and items[-1].text == settled[-1]


def test_the_signal_counts_as_doubtful() -> None:
    async def work() -> None:
        async with serving() as server, talking(server) as conversation:
            p_end = (await conversation.hear("Hello.")).p_end
            assert TurnOptions.p_end_unfinished <= p_end < TurnOptions.p_end_sure
            assert server.paths == []

    run(work())


@pytest.mark.parametrize(
    ("models", "name"),
    [
        ({"data": [{"id": "first-model"}, {"id": "other"}]}, "first-model"),
        ({"data": []}, "default"),
        ("none", "default"),
        (None, "default"),
    ],
)
def test_the_model_is_the_first_that_the_server_offers(models: object, name: str) -> None:
    async def work() -> None:
        async with serving(says("Hi."), models=models) as server:
            model = remote(server.url, key="secret")
            conversation = model.open("", [])
            for _ in range(2):
                await last_draft(conversation, "low")
            assert [each.body["model"] for each in server.asked] == [name, name]
            assert server.paths.count("/v1/models") == 1
            assert server.asked[0].headers["authorization"] == "Bearer secret"
            assert "tools" not in server.asked[0].body
            await model.aclose()

    run(work())


def test_a_model_serves_one_loop_after_the_other_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRETTO_MODEL_KEY", "of the environment")
    model: list[RemoteModel] = []

    async def work() -> None:
        async with serving(says("Hi.")) as server:
            model.append(model[0] if model else RemoteModel(server.url, "m"))
            model[0].url = server.url
            for _ in range(2):
                assert (await last_draft(model[0].open("", []), "low")).text == "Hi."
            assert server.asked[0].headers["authorization"] == "Bearer of the environment"
            assert len(server.connections) == 1, "a connection is used again"

    run(work())
    run(work())
    model[0].close()
    with pytest.raises(RuntimeError, match="the model is closed"):
        run(last_draft(model[0].open("", []), "low"))


def test_a_closed_conversation_refuses() -> None:
    async def work() -> None:
        conversation = RemoteModel("http://127.0.0.1:9/v1", "m").open("", [])
        conversation.close()
        with pytest.raises(RuntimeError, match="the conversation is closed"):
            await last_draft(conversation, "low")

    run(work())


# ------------------------------------------------------------------ any chunking, and a whole turn


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def cut(data: Any, places: Sequence[int]) -> list[Any]:
    """The parts of some text or bytes, cut at the places."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(at)]


PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    days=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), max_size=2),
    deltas=PLACES,
    wire=PLACES,
)
def test_any_chunking_of_an_answer_gives_the_same_draft(
    loop: asyncio.Runner, text: str, days: list[str], deltas: list[int], wire: list[int]
) -> None:
    chunks = [delta(content=part) for part in cut(text, deltas)]
    for index, day in enumerate(days):
        name: str | None = "book"
        for part in cut(json.dumps({"day": day}), deltas):
            call = {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": part}}
            chunks.append(delta(tool_calls=[call]))
            name = None
    stream = b"".join(event(chunk) for chunk in [*chunks, delta("stop")]) + DONE

    async def step(exchange: Exchange) -> None:
        await exchange.begin()
        for part in cut(stream, wire):
            await exchange.send(part)
        await exchange.end()

    async def work() -> None:
        async with serving(step) as server, talking(server) as conversation:
            items = [item async for item in conversation.draft()]
        draft = items.pop()
        assert isinstance(draft, Draft) and draft.text == " ".join(text.split())
        assert [call.arguments for call in draft.calls] == [{"day": day} for day in days]
        settled = [item.text for item in items if isinstance(item, Settled)]
        assert len(settled) == len(items) and settled[-1:] == [draft.text] * bool(draft.text)
        assert all(b.startswith(f"{a} ") for a, b in pairwise(settled))

    loop.run(work())


def test_a_whole_turn_with_tools() -> None:
    @tool
    async def book(day: str) -> dict[str, str]:
        """Book a table."""
        if day == "Sunday":
            raise ToolError("Sunday is closed.")
        return {"booked": day}

    async def work() -> None:
        steps = (
            calls(("book", '{"day": "Monday"}'), ("book", '{"day": "Sunday"}'), text="One moment."),
            says("Monday is booked, ", "Sunday is closed."),
        )
        async with serving(*steps) as server:
            model = RemoteModel(server.url, "m", options=FAST)
            runner = ToolRunner([book])
            conversation = model.open("Be brief.", runner.specs)
            reply = await answer(conversation, runner, "Monday and Sunday.")
            assert reply.text == "One moment. Monday is booked, Sunday is closed." and not reply.canned
            assert [t["result"] for t in reply.tools] == [{"booked": "Monday"}, None]
            assert reply.forwards == 2
            assert [m["role"] for m in server.messages()] == ["system", "user", "assistant", "tool", "tool"]
            assert server.messages()[3]["content"] == '{"booked":"Monday"}'
            assert "closed" in server.messages()[4]["content"]
            await conversation.hear("Thanks.")
            await last_draft(conversation, "low")
            assert server.messages()[-2:] == [
                {"role": "assistant", "content": "Monday is booked, Sunday is closed."},
                {"role": "user", "content": "Thanks."},
            ]
            await model.aclose()

    run(work())
