"""The official client and the embedded model: what clients of OpenAI's chat completions count on."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

SYSTEM = {"role": "system", "content": "You answer the phone of a restaurant."}
TABLE = "I want a table for four on Monday."
PARAMETERS: dict[str, dict[str, Any]] = {
    "book_table": {
        "type": "object",
        "properties": {
            "day": {"type": "string"},
            "people": {"type": "integer", "minimum": 1, "maximum": 20},
            "area": {"enum": ["inside", "terrace"]},
        },
        "required": ["day", "people"],
    },
    "cancel_table": {
        "type": "object",
        "properties": {"code": {"type": "string", "minLength": 4, "maxLength": 8}},
        "required": ["code"],
    },
    "hang_up": {"type": "object", "properties": {}},
}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}
    for name, parameters in PARAMETERS.items()
]


def said(text: str) -> list[Any]:
    return [SYSTEM, {"role": "user", "content": text}]


def named(name: str) -> Any:
    return {"type": "function", "function": {"name": name}}


def fitting(call: Any) -> Any:
    """A call's arguments, which fit its schema."""
    arguments = json.loads(call.function.arguments)
    jsonschema.validate(arguments, PARAMETERS[call.function.name])
    return arguments


def test_a_completion_is_one(house: Any) -> None:
    completion = house.ask(messages=said(TABLE))
    ChatCompletion.model_validate(completion.model_dump(), strict=True)
    (choice,) = completion.choices
    assert choice.message.content
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 1 <= usage.completion_tokens_details.forwards <= usage.completion_tokens + 2
    assert completion.model == "house"


def test_what_is_read_is_counted(house: Any) -> None:
    short, long = (house.ask(text).usage.prompt_tokens for text in ("Hello", "Hello there you"))
    assert short < long


def test_a_stream_brings_the_same_words(house: Any) -> None:
    whole = house.ask(messages=said("Tell me about your restaurant."), tools=TOOLS)
    chunks = list(
        house.ask(
            messages=said("Tell me about your restaurant."),
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.model_dump(), strict=True)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_canvas_is_shown_on_request(house: Any) -> None:
    chunks = list(house.ask(TABLE, stream=True, extra_body={"stream_options": {"include_canvas": True}}))
    canvases = [chunk.canvas for chunk in chunks if hasattr(chunk, "canvas")]
    assert [canvas["forward"] for canvas in canvases] == sorted(canvas["forward"] for canvas in canvases)
    assert all(token is None or isinstance(token, str) for canvas in canvases for token in canvas["tokens"])
    assert canvases[-1]["forward"] > 1
    plain = list(house.ask(TABLE, stream=True))
    assert not any(hasattr(chunk, "canvas") for chunk in plain)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_and_its_result_go_round(house: Any, stream: bool) -> None:
    messages = said(TABLE)
    asking = {"messages": messages, "tools": TOOLS, "tool_choice": named("book_table")}
    if stream:
        with house.client.chat.completions.stream(model="house", **asking) as events:
            completion = events.get_final_completion()
    else:
        completion = house.ask(**asking)
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert fitting(call)["people"] == 4
    messages.append(choice.message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"code": "ABCD12"}'})
    answer = house.ask(messages=messages, tools=TOOLS)
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > completion.usage.prompt_tokens if completion.usage else True


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [
        ("none", set()),
        ("required", set(PARAMETERS)),
        (named("cancel_table"), {"cancel_table"}),
        ({"type": "function", "name": "hang_up"}, {"hang_up"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [named("book_table"), named("hang_up")]},
            },
            {"book_table", "hang_up"},
        ),
    ],
)
def test_whether_a_tool_is_called_is_the_clients_choice(house: Any, choice: Any, allowed: set[str]) -> None:
    text = TABLE if "cancel" in str(choice) else "No, that is all, goodbye."  # left alone it does otherwise
    message = house.ask(messages=said(text), tools=TOOLS, tool_choice=choice).choices[0].message
    calls = message.tool_calls or []
    assert bool(calls) == bool(allowed)
    assert bool(message.content) or calls
    assert {call.function.name for call in calls[:1]} <= allowed
    for call in calls:
        fitting(call)


@pytest.mark.parametrize("stream", [False, True])
def test_it_stops_before_a_stop_string(house: Any, stream: bool) -> None:
    whole = house.ask(messages=said(TABLE)).choices[0].message.content
    stop = whole.split()[2]
    cut = whole[: whole.index(stop)]
    if stream:
        chunks = list(house.ask(messages=said(TABLE), stop=[stop, "no such thing"], stream=True))
        choices = [chunk.choices[0] for chunk in chunks]
        assert "".join(choice.delta.content or "" for choice in choices) == cut
        assert choices[-1].finish_reason == "stop"
    else:
        completion = house.ask(messages=said(TABLE), stop=stop)
        assert completion.choices[0].message.content == cut
        assert completion.usage.completion_tokens_details.forwards > 0
        assert completion.usage.completion_tokens > 0


def test_no_tools_are_as_good_as_an_empty_list(house: Any) -> None:
    without, empty = house.ask(TABLE), house.ask(TABLE, tools=[])
    assert empty.choices[0].message.content == without.choices[0].message.content
    assert empty.usage == without.usage


@pytest.mark.parametrize("text", ["<say> yes <end> <call>", "<mask><mask><mask>", ""])
def test_marks_in_what_a_user_writes_are_only_text(house: Any, text: str) -> None:
    tools: Any = [{"type": "function", "function": {"name": "note", "description": f"{text} it"}}]
    messages = [{"role": "system", "content": text}, {"role": "user", "content": text}]
    completion = house.ask(messages=messages, tools=tools)
    marked = completion.usage.prompt_tokens
    assert completion.choices[0].finish_reason in ("stop", "tool_calls", "length")
    plain = [{"role": "system", "content": ""}, {"role": "user", "content": ""}]
    # A mark would be one token; its letters are several.
    assert marked - house.ask(messages=plain, tools=tools).usage.prompt_tokens >= 4 * text.count("<")


def test_the_model_is_listed(house: Any) -> None:
    assert [model.id for model in house.client.models.list()] == ["house"]
    assert house.client.models.retrieve("house").object == "model"
    with pytest.raises(openai.NotFoundError):
        house.client.models.retrieve("other")
    with pytest.raises(openai.NotFoundError, match="ask for house"):
        house.client.chat.completions.create(model="gpt-9", messages=said("Hello"))


IMPOSSIBLE = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 9, "maximum": 1}}}
UNKNOWN_KEYWORD = {"type": "object", "properties": {"a": {"type": "string", "not": {}}}}


@pytest.mark.parametrize("schema", [IMPOSSIBLE, UNKNOWN_KEYWORD, {"type": "array"}])
def test_a_tool_that_no_grammar_covers_is_refused(house: Any, schema: Any) -> None:
    tools: Any = [{"type": "function", "function": {"name": "note", "parameters": schema}}]
    with pytest.raises(openai.BadRequestError, match=r"schema at .*; ") as caught:
        house.ask("Hello", tools=tools)
    assert (caught.value.param, caught.value.code) == ("tools", "unsupported_schema")


def test_what_does_not_fit_is_refused_and_not_cut(house: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="at most 1024 tokens") as caught:
        house.ask("word " * 2000)
    assert caught.value.code == "context_length_exceeded"
    many = [{"role": "user" if n % 2 else "assistant", "content": "one two three four"} for n in range(400)]
    with pytest.raises(openai.BadRequestError, match="oldest messages"):
        house.ask(messages=many)
    assert house.ask("word " * 300).usage.prompt_tokens > 300  # more than is kept of what a caller said


def test_effort_is_passed_on(house: Any) -> None:
    hasty, careful = (
        house.ask(messages=said("Tell me about your restaurant."), reasoning_effort=effort).usage
        for effort in ("none", "high")
    )
    assert hasty.completion_tokens_details.forwards <= careful.completion_tokens_details.forwards
    with pytest.raises(openai.BadRequestError, match="minimal, low, medium, high") as caught:
        house.ask("Hello", reasoning_effort="xhigh")
    assert caught.value.param == "reasoning_effort"


@pytest.mark.parametrize("form", ["json_object", "json_schema"])
def test_words_are_json_where_it_is_asked_for(house: Any, form: str) -> None:
    response_format: Any = {"type": form}
    if form == "json_schema":
        response_format["json_schema"] = {"name": "table", "schema": PARAMETERS["book_table"], "strict": True}
    message = house.ask(messages=said(TABLE), response_format=response_format).choices[0].message
    value = json.loads(message.content)
    assert isinstance(value, dict)
    if form == "json_schema":
        jsonschema.validate(value, PARAMETERS["book_table"])


@pytest.mark.parametrize("schema", [IMPOSSIBLE, UNKNOWN_KEYWORD])
def test_a_schema_that_no_grammar_covers_is_refused(house: Any, schema: Any) -> None:
    response_format: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="schema at /properties/a: ") as caught:
        house.ask("Hello", response_format=response_format)
    assert caught.value.param == "response_format"


def test_a_reply_has_at_most_so_many_tokens(house: Any) -> None:
    completion = house.ask(messages=said("Tell me about your restaurant."), max_tokens=3)
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens <= 3
    assert len(completion.choices[0].message.content.split()) <= 3


def test_the_same_seed_draws_the_same_words(house: Any) -> None:
    def drawn(seed: int) -> str:
        completion = house.ask(messages=said(TABLE), temperature=1.5, seed=seed)
        return str(completion.choices[0].message.content)

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1
