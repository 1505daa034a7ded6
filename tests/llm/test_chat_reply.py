"""Answers put together from chunks of every make, and calls checked against their schemas."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.llm.chat_reply import CallError, CallSchemas, ChatReply, ChatReplyError, WrittenCall, joined
from stretto.llm.language_model import Canvas, Settled
from stretto.tools.tool import ToolSpec

BOOK = ToolSpec(
    "book",
    "Book a table.",
    {
        "type": "object",
        "properties": {"day": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
        "required": ["day"],
        "additionalProperties": False,
    },
)
NOTHING = ToolSpec("hang_up", "End the call.", {"type": "object", "properties": {}, "required": []})


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def piece(index: Any, name: Any, arguments: Any, call_id: Any = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return chunk(tool_calls=[{"index": index, "id": call_id, "function": function}])


def read(*chunks: object, diffusing: bool = False) -> tuple[ChatReply, list[Canvas | Settled]]:
    reply = ChatReply(["book", "hang_up"], diffusing)
    items = [item for each in chunks for item in reply.feed(each)]
    return reply, items + reply.end()


def test_whole_words_settle_as_they_come() -> None:
    chunks = [chunk(content=text) for text in ("", "Your ta", "ble is", " booked", ".\n Good", "bye.")]
    reply, items = read(chunk(role="assistant"), *chunks, chunk("stop"))
    assert items == [
        Settled("Your"),
        Settled("Your table"),
        Settled("Your table is"),
        Settled("Your table is booked."),
        Settled("Your table is booked. Goodbye."),
    ]
    assert reply.finished and reply.text == "Your table is booked. Goodbye."


def test_what_is_not_finished_is_only_what_settled() -> None:
    reply, _ = read(chunk(content="It is booked. And the ta"))
    assert not reply.finished and reply.text == "It is booked. And the" and not reply.sentence_over
    reply, _ = read(chunk(content="It costs 3."))
    assert not reply.sentence_over, "5 may follow"
    reply, _ = read(chunk(content="It costs 3. An"))
    assert reply.sentence_over
    reply.feed(piece(0, "book", ""))
    assert not reply.sentence_over


def test_thoughts_are_no_words() -> None:
    reply, items = read(
        *(chunk(content=c) for c in "<think>\nHm, so. </think>\n\nYes, it is."), chunk("stop")
    )
    assert reply.text == "Yes, it is." and items[0] == Settled("Yes,")
    assert read(chunk(content="<think>For ever"), chunk("length"))[0].text == ""


@pytest.mark.parametrize(
    "chunks",
    [
        [piece(0, "book", "", "a"), piece(0, None, '{"day":'), piece(0, None, '"Monday"}')],
        [piece(0, "book", '{"day":', "a"), piece(0, "book", '"Monday"}', "a")],
        [piece(None, "book", '{"day":'), piece(None, "", '"Monday"}')],
        [piece(0, "bo", None, "a"), piece(0, "ok", {"day": "Monday"})],
        [piece(0, "book", '{"day":"Monday"}'), chunk(tool_calls=[None, 5, {"index": 0}])],
    ],
    ids=["as OpenAI", "name repeated", "no index", "an object", "odd pieces"],
)
def test_a_call_in_pieces_is_one_call(chunks: list[object]) -> None:
    reply, items = read(*chunks, chunk("tool_calls"))
    (call,) = reply.calls
    assert items == [] and call.name == "book" and json.loads(call.arguments) == {"day": "Monday"}


@pytest.mark.parametrize("indexes", [(0, 1), (0, 0)])
def test_two_calls_are_told_apart_by_index_or_id(indexes: tuple[int, int]) -> None:
    first = piece(indexes[0], "book", '{"day":"Monday"}', "a")
    second = [piece(indexes[1], "book", '{"day":', "b"), piece(indexes[1], None, '"Friday"}')]
    reply, _ = read(first, *second, chunk("tool_calls"))
    assert [json.loads(c.arguments)["day"] for c in reply.calls] == ["Monday", "Friday"]


def test_a_diffusing_answer_is_replaced_until_it_ends() -> None:
    meta = {"diffusion_meta": {"diffusion_content": True}}
    noise = chunk(content="I wYll b%ok") | meta
    reply, items = read(
        noise,
        noise | piece(0, "book", '{"day":', "a"),
        chunk("tool_calls", content="I will book it.") | meta,
        chunk("tool_calls"),
        diffusing=True,
    )
    assert [item.tokens for item in items if isinstance(item, Canvas)] == [
        ("I", " wYll", " b%ok"),
        ("I", " will", " book", " it."),
    ]
    assert items[-1] == Settled("I will book it.") == Settled(reply.text)
    assert sum(isinstance(item, Settled) for item in items) == 1
    assert reply.calls[0].arguments == '{"day":'


def test_a_server_that_says_that_its_chunks_add_up_is_believed() -> None:
    meta = {"diffusion_meta": {"diffusion_content": False}}
    reply, _ = read(chunk(content="I will ") | meta, chunk("stop", content="come.") | meta, diffusing=True)
    assert reply.text == "I will come."


def test_halves_of_a_character_in_two_chunks_are_put_together() -> None:
    reply, items = read(chunk(content="Fine \ud83d"), chunk("stop", content="\ude00"))
    assert reply.text == "Fine \U0001f600" == items[-1].text  # type: ignore[union-attr]
    assert read(chunk("stop", content="\ud83d"))[0].text == "\ufffd"


@pytest.mark.parametrize("bad", [None, 5, "x", []])
def test_a_chunk_that_is_no_object_is_refused(bad: object) -> None:
    with pytest.raises(ChatReplyError, match="no object"):
        read(bad)


def test_an_endless_answer_is_refused() -> None:
    with pytest.raises(ChatReplyError, match="longer than"):
        read(*[chunk(content="and " * 1000)] * 6)
    with pytest.raises(ChatReplyError, match="longer than"):
        read(*[piece(0, "book", " " * 5000)] * 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            "choices delta content tool_calls index id function name arguments finish_reason usage "
            "completion_tokens diffusion_meta".split()
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(JSON, max_size=5), st.booleans())
def test_any_json_is_read_or_refused(chunks: list[Any], diffusing: bool) -> None:
    try:
        reply, _ = read(*chunks, diffusing=diffusing)
    except ChatReplyError:
        return
    reply.text.encode()
    for call in reply.calls:
        with pytest.raises(CallError):
            CallSchemas([BOOK]).arguments(call)


def test_arguments_that_fit_come_back_parsed() -> None:
    schemas = CallSchemas([BOOK, NOTHING])
    assert schemas.arguments(WrittenCall("", "book", '{"day":"Monday","people":2}')) == {
        "day": "Monday",
        "people": 2,
    }
    for text in ("", " ", "null", "{}"):
        assert schemas.arguments(WrittenCall("", "hang_up", text)) == {}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cancel", "{}", "no tool 'cancel', only book"),
        ("book", '{"day":', "no JSON"),
        ("book", "{}", "'day' is a required property"),
        ("book", '{"day":5}', "do not fit at /day: 5 is not of type 'string'"),
        ("book", '{"day":"Monday","people":0}', "/people"),
        ("book", '{"day":"Monday","who":"Ana"}', "who"),
        ("book", "[]", "not of type 'object'"),
        ("book", '{"day":"Monday","people":NaN}', "no JSON"),
        ("book", '{"day":"Monday","people":1e999}', "/people"),
        ("book", "[" * 100_000, "no JSON"),
    ],
)
def test_a_call_that_does_not_fit_says_why(name: str, arguments: str, message: str) -> None:
    with pytest.raises(CallError, match=message):
        CallSchemas([BOOK]).arguments(WrittenCall("", name, arguments))


def test_arguments_can_always_be_sent_again() -> None:
    arguments = CallSchemas([BOOK]).arguments(WrittenCall("", "book", '{"day":"\\ud83d"}'))
    assert arguments == {"day": "\ufffd"}


def test_a_bad_schema_is_refused_and_nothing_is_fetched_for_one() -> None:
    with pytest.raises(ValueError, match="parameters of the tool bad are no JSON schema"):
        CallSchemas([ToolSpec("bad", "", {"type": "table"})])
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        away = ToolSpec("away", "", {"$ref": url})
        with pytest.raises(CallError, match="cannot be followed"):
            CallSchemas([away]).arguments(WrittenCall("", "away", "{}"))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("first", "second", "more", "whole"),
    [
        ("", "Done.", False, "Done."),
        ("One moment.", "One moment. I look.", True, "One moment. I look."),
        ("One moment.", "Just a second.", True, "One moment."),
        ("One moment.", "I cannot do that.", False, "One moment. I cannot do that."),
        ("One moment.", "", True, "One moment."),
        ("Done", "Doneness", False, "Done Doneness"),
    ],
)
def test_a_corrected_answer_begins_as_it_began(first: str, second: str, more: bool, whole: str) -> None:
    assert joined(first, second, more) == whole
