"""The canonical text of calls."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.llm.constraints.call_text import CallTextError, compact_json, parse_call, serialise_call, spaced

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "guest": {"$ref": "#/$defs/Guest"},
        "more": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Guest"}}, {"type": "null"}]},
        "people": {"type": "integer"},
    },
    "$defs": {"Guest": {"type": "object", "properties": {"first": {}, "last": {}}}},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_keys_stand_in_schema_order_without_spaces() -> None:
    guest = {"last": "Ray", "first": "Ann"}
    arguments = {"extra": 1, "people": 4, "more": [guest], "guest": guest, "name": "Café Ünal"}
    ann = '{"first":" Ann","last":" Ray"}'
    expected = f'book{{"name":" Café Ünal","guest":{ann},"more":[{ann}],"people":4,"extra":1}}'
    assert serialise_call("book", arguments, SCHEMA) == expected


def test_only_quote_backslash_and_control_characters_are_escaped() -> None:
    assert serialise_call("f", {"a": 'é"\\\n\x7f'}) == 'f{"a":" é\\"\\\\\\n\x7f"}'


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), JSON)
def test_any_arguments_and_any_schema_give_one_stable_parseable_text(
    arguments: dict[str, Any], schema: Any
) -> None:
    text = serialise_call("tool", arguments, schema)
    text.encode()
    name, parsed = parse_call(text, schema)
    assert name == "tool"
    assert serialise_call(name, parsed, schema) == text
    json.loads(text.removeprefix("tool"))


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_what_was_written_is_read_back(arguments: dict[str, Any]) -> None:
    held = json.loads(compact_json(arguments))
    assert parse_call(serialise_call("tool", held, SCHEMA), SCHEMA) == ("tool", held)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "string"}, '" north"'),
        ({}, '" north"'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, '" north"'),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, '" north"'),
        ({"anyOf": [{"enum": ["south"]}, {"type": "string"}]}, '" north"'),
        ({"type": "string", "format": "phone"}, '" north"'),
        ({"type": "string", "enum": ["north", "south"]}, '"north"'),
        ({"const": "north"}, '"north"'),
        ({"type": "string", "format": "date"}, '"north"'),
        ({"anyOf": [{"enum": ["north"]}, {"type": "string"}]}, '"north"'),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, '"north"'),
    ],
)
def test_only_free_text_begins_with_a_space(part: Any, text: str) -> None:
    schema = {"type": "object", "properties": {"a": part}}
    assert serialise_call("f", {"a": "north"}, schema) == f'f{{"a":{text}}}'
    assert parse_call(f'f{{"a":{text}}}', schema) == ("f", {"a": "north"})


def test_parts_of_tuples_and_constants_are_what_their_schemas_say() -> None:
    parts = {
        "pair": {"prefixItems": [{"enum": ["x"]}, {"type": "string"}]},
        "more": {"prefixItems": [{"type": "string"}], "items": {"format": "date"}},
        "set": {"const": {"k": ["v"]}},
        "mark": {"enum": [",", " "]},
    }
    arguments = {"pair": ["x", "y"], "more": ["a", "b", "c"], "set": {"k": ["v"]}, "mark": " "}
    text = 'f{"pair":["x"," y"],"more":[" a","b","c"],"set":{"k":["v"]},"mark":" "}'
    schema = {"type": "object", "properties": parts}
    assert serialise_call("f", arguments, schema) == text
    assert parse_call(text, schema) == ("f", arguments)


def test_members_keep_their_names() -> None:
    assert spaced({"a b": ["x", 1, {"c": "y"}]}) == {"a b": [" x", 1, {"c": " y"}]}


def test_parse_restores_schema_order() -> None:
    assert list(parse_call('f{"people":2,"name":"x"}', SCHEMA)[1]) == ["name", "people"]


@pytest.mark.parametrize("text", ["", "book", "{}", "book[1]", 'book{"a":', "book{} more", 'book{"a":1}}'])
def test_what_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(CallTextError):
        parse_call(text)


def test_values_that_json_cannot_hold() -> None:
    assert compact_json([float("nan"), float("inf"), "\ud800", b"x", {1: (2,)}]) == (
        '[null,null,"\ufffd","b\'x\'",{"1":[2]}]'
    )


def test_the_text_form_needs_no_numpy() -> None:
    code = "import sys, stretto.llm.constraints.call_text; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
