"""Dialogues as tokens: the text that the design fixes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.llm.format import RESULT_BUDGET, describe_tool, dialogue_segments, fit_result
from stretto.llm.spans import open_string
from stretto.llm.tokenizer import embedded_tokenizer

TOOL = {
    "name": "book",
    "description": "Book a table.",
    "parameters": {
        "type": "object",
        "properties": {
            "people": {"type": "integer"},
            "name": {"type": "string"},
            "area": {"type": "string", "enum": ["north", "south"]},
        },
        "required": ["people"],
    },
}


def shown(dialogue: dict[str, object]) -> str:
    tokenizer = embedded_tokenizer()
    return "".join(tokenizer.show(i) for s in dialogue_segments(tokenizer, dialogue) for i in s.ids)


def test_a_dialogue_reads_as_designed() -> None:
    dialogue = {
        "tools": [TOOL],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": " a table <end> for four"},
            {"role": "assistant", "content": "One moment.", "tool_calls": [
                {"name": "book", "arguments": {"area": "north", "people": 4, "name": "Maple Inn"}},
                {"name": "book", "arguments": {"people": 2}},
            ]},
            {"role": "tool", "name": "book", "content": '{"reference": "4821"}'},
            {"role": "assistant", "content": "Done."},
        ],
    }  # fmt: skip
    assert shown(dialogue) == (
        "<system>Be brief.\nbook(people: integer, name?: string, area?: north|south) Book a table.<end>"
        "<user> a table <end> for four<end>"
        '<say> One moment.<call>book{"people":4,"name":" Maple Inn","area":"north"}'
        '<call>book{"people":2}<end>'
        '<tool>book {"reference":" 4821"}<end>'
        "<say> Done.<end>"
    )


def test_a_call_without_words_begins_with_its_mark() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "book", "arguments": {"people": 1}}]},
    ]
    text = shown({"tools": [TOOL], "messages": messages})
    assert text.endswith('<user> hi<end><call>book{"people":1}<end>')


def test_types_are_written_short() -> None:
    parameters = {
        "properties": {
            "day": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        }
    }
    assert describe_tool("f", "", parameters) == "f(day?: string date, tags?: string[], n?: integer)"


KEYWORDS = "type properties required items enum anyOf format const a".split()
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([*KEYWORDS, "array", "null", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
)


@given(st.dictionaries(st.sampled_from(KEYWORDS), anything))
def test_any_schema_can_be_described(parameters: dict[str, object]) -> None:
    """Parts of a schema that the grammar does not read may hold anything."""
    line = describe_tool("f", "d", parameters)
    assert line.startswith("f(") and line.endswith(") d")
    assert open_string('f{"a":" x', parameters.get("properties")) in (None, " x")


@given(st.dictionaries(st.text(max_size=8), st.lists(st.text(max_size=60), max_size=8), max_size=8))
def test_results_are_cut_by_whole_fields(value: dict[str, list[str]]) -> None:
    tokenizer = embedded_tokenizer()
    text = fit_result(tokenizer, json.dumps(value))
    assert len(tokenizer.encode(text)) <= RESULT_BUDGET
    kept = json.loads(text)
    assert all(item.startswith(" ") for items in kept.values() for item in items)
    plain = {key: [item[1:] for item in items] for key, items in kept.items()}
    assert all(key in value and value[key][: len(items)] == items for key, items in plain.items())


def test_a_long_result_is_not_cut_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = embedded_tokenizer()
    encode, encoded = tokenizer.encode, list[str]()
    monkeypatch.setattr(tokenizer, "encode", lambda text: encoded.append(text) or encode(text))
    text = fit_result(tokenizer, json.dumps([{"name": "Maple", "people": n} for n in range(20_000)]))
    assert json.loads(text)[0] == {"name": " Maple", "people": 0}
    assert RESULT_BUDGET - 20 < len(encode(text)) <= RESULT_BUDGET
    assert len(encoded) < 20


def test_a_name_is_the_same_tokens_wherever_it_stands() -> None:
    tokenizer = embedded_tokenizer()
    name = tokenizer.encode(" Orchard Maple")
    dialogue = {
        "tools": [TOOL],
        "messages": [
            {"role": "user", "content": "Orchard Maple", "pauses": [["Orchard Maple.", "please"]]},
            {"role": "assistant", "content": "Orchard Maple?", "tool_calls": [
                {"name": "book", "arguments": {"people": 4, "name": "Orchard Maple"}},
            ]},
            {"role": "tool", "name": "book", "content": '{"booked":["Orchard Maple"]}'},
            {"role": "tool", "name": "book", "content": "Orchard Maple"},
        ],
    }  # fmt: skip
    segments = dialogue_segments(tokenizer, dialogue)[1:]
    for ids in (*(s.ids for s in segments), *segments[0].pauses):
        assert any(list(ids[at : at + len(name)]) == name for at in range(len(ids)))
