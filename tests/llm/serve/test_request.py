"""Bodies of requests: what they mean, and what is said of those that cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.language_model import AUTO, FREE, Steering, ToolChoice
from stretto.llm.serve.error import ApiError
from stretto.llm.serve.request import FREE_OBJECT, Asked, asked
from stretto.llm.tokenizer import embedded_tokenizer

HELLO = [{"role": "user", "content": "Hello"}]
BOOK = {"type": "function", "function": {"name": "book"}}
CANCEL = {"type": "function", "function": {"name": "cancel"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "book", "arguments": '{"day": "Monday"}'}}


def read(**fields: Any) -> Asked:
    return asked(json.dumps({"messages": HELLO} | fields).encode())


def test_a_plain_request() -> None:
    wanted = read(
        model="house", user="somebody", metadata={"a": "b"}, no_such_field=[1], n=1, top_p=1, store=False
    )
    assert wanted == Asked("", [{"role": "user", "content": "Hello"}], [], model="house")


def test_a_dialogue_is_told_as_conversations_take_it() -> None:
    wanted = read(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "{}"},
            {"role": "system", "content": "Be quick."},
        ]
    )
    assert wanted.system == "Be brief.\nBe kind.\nBe quick."
    assert wanted.history == [
        {"role": "user", "content": "One\ntwo"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "name": "book", "arguments": {"day": "Monday"}}],
        },
        {"role": "tool", "content": "{}", "name": "book", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    ("fields", "steering"),
    [
        ({}, FREE),
        ({"temperature": 0, "seed": 4}, Steering(seed=4)),
        ({"temperature": 0.5, "seed": -1}, Steering(temperature=0.5, seed=2**63 - 1)),
        ({"max_tokens": 7}, Steering(most_tokens=7)),
        ({"max_tokens": 7, "max_completion_tokens": 5}, Steering(most_tokens=5)),
        ({"response_format": {"type": "text"}}, FREE),
        ({"response_format": {"type": "json_object"}}, Steering(schema=FREE_OBJECT)),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
            Steering(schema=FREE_OBJECT),
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"enum": [1]}},
                }
            },
            Steering(schema={"enum": [1]}),
        ),
    ],
)
def test_what_a_reply_keeps_to(fields: Any, steering: Steering) -> None:
    assert read(**fields).steering == steering


def test_without_a_seed_every_answer_is_another() -> None:
    assert read(temperature=1).steering.seed != read(temperature=1).steering.seed


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", AUTO),
        (None, AUTO),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        (BOOK, ToolChoice("required", frozenset({"book"}))),
        ({"type": "function", "name": "cancel"}, ToolChoice("required", frozenset({"cancel"}))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [BOOK, CANCEL]}},
            ToolChoice("required", frozenset({"book", "cancel"})),
        ),
    ],
)
def test_a_choice_of_tools(choice: Any, meant: ToolChoice) -> None:
    assert read(tools=[BOOK, CANCEL], tool_choice=choice).choice == meant


def test_of_allowed_tools_only_those_are_offered() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [CANCEL]}}
    wanted = read(tools=[BOOK, CANCEL], tool_choice=choice)
    assert ([tool.name for tool in wanted.tools], wanted.choice) == (["cancel"], AUTO)


def test_the_rest_of_the_fields() -> None:
    wanted = read(
        stop="x", stream=True, stream_options={"include_usage": True}, reasoning_effort="low",
        parallel_tool_calls=False, deadline_ms=500,
    )  # fmt: skip
    assert (wanted.stops, wanted.stream, wanted.include_usage, wanted.include_canvas) == (
        ("x",),
        True,
        True,
        False,
    )
    assert (wanted.effort, wanted.parallel, wanted.deadline_ms) == ("low", False, 500)


def image(url: str) -> list[Any]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": "Hello"}, "messages", "array"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role", "'user'"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "neither text nor"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "neither text nor"),
        (
            {"messages": image("data:")},
            "messages.0.content.0",
            "image_url is not supported; give parts of type text",
        ),
        (
            {"messages": [{"role": "tool", "content": "", "tool_call_id": "c9"}]},
            "messages.0.tool_call_id",
            "'c9'",
        ),
        (
            {"messages": [{"role": "user", "content": "", "tool_calls": [CALL]}]},
            "messages.0.tool_calls",
            "assistant",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [CALL | {"function": {"name": "a", "arguments": "["}}],
                    }
                ]
            },
            "messages.0.tool_calls.0.function.arguments",
            "JSON text of an object",
        ),
        (
            {"messages": [{"role": "assistant", "function_call": {}}]},
            "messages.0.function_call",
            "tool_calls",
        ),
        ({"n": 2}, "n", "ask as often"),
        ({"logprobs": True}, "logprobs", "leave it out"),
        ({"top_logprobs": 3}, "top_logprobs", "leave it out"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "leave it out"),
        ({"top_p": 0.5}, "top_p", "leave it out"),
        ({"presence_penalty": 1.5}, "presence_penalty", "leave it out"),
        ({"audio": {"voice": "joe"}}, "audio", "leave it out"),
        ({"modalities": ["text", "audio"]}, "modalities", "leave it out"),
        ({"functions": [{"name": "a"}]}, "functions", "use tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools.0", "no function"),
        ({"tools": [BOOK, BOOK]}, "tools.1.function.name", "two tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b{"}}]}, "tools.0.function.name", "letters"),
        (
            {"tools": [{"function": {"name": "a", "parameters": []}}]},
            "tools.0.function.parameters",
            "an object",
        ),
        ({"tools": [], "tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tools": [BOOK], "tool_choice": CANCEL}, "tool_choice", "'cancel'"),
        ({"tools": [BOOK], "tool_choice": "sometimes"}, "tool_choice", "auto, none, required"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "needs"),
        ({"reasoning_effort": "max"}, "reasoning_effort", "minimal, low, medium, high"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"seed": 1.5}, "seed", "integer"),
        ({"deadline_ms": 0}, "deadline_ms", "greater than 0"),
        ({"stop": ["a", ""]}, "stop", "none of them empty"),
        ({"stop": 5}, "stop", "texts"),
        ({"stream": "yes"}, "stream", "boolean"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(fields: Any, param: str, told: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert told in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"messages": ' + b"[" * 5000])
def test_what_is_no_json_object_is_said(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        asked(body)
    json.dumps(caught.value.body()).encode()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["auto", "user"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "function", "name", "parameters", "content", "text", "tools", "mode", "schema"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
FIELDS = [
    "tools", "tool_choice", "response_format", "stop", "stream", "stream_options", "n", "seed", "temperature",
    "max_tokens", "logit_bias", "reasoning_effort", "model", "functions", "parallel_tool_calls",
]  # fmt: skip
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
        optional={
            "content": VALUES,
            "tool_call_id": st.sampled_from(["c1", "c2"]),
            "tool_calls": st.just([CALL]) | VALUES,
        },
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4), MESSAGES | VALUES)
def test_any_json_is_read_or_refused(fields: dict[str, Any], messages: Any) -> None:
    try:
        wanted = asked(json.dumps(fields | {"messages": messages or HELLO}).encode())
    except ApiError as error:
        assert 400 <= error.status < 500
        json.dumps(error.body(), allow_nan=False)
    else:
        assert wanted.prompt_tokens(embedded_tokenizer()) > 0
