"""JSON schema -> byte automaton: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from stretto.llm.constraints.automaton import determinise, either, repeat, sequence, text
from stretto.llm.constraints.call_text import PLAIN_FORMATS, compact_json, serialise_call, spaced
from stretto.llm.constraints.literals import FORMATS
from stretto.llm.constraints.schema import Limits, UnsupportedSchema, byte_automaton


def of(part: Any, required: bool = True) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part}, "required": ["a"] if required else []}


def accepts(part: Any, value: str) -> bool:
    """Whether the schema takes this JSON text as the value of its only property."""
    return byte_automaton(of(part)).accepts(f'{{"a":{value}}}'.encode())


TAKEN: list[tuple[Any, list[str], list[str]]] = [
    ({"type": "string"}, ['" x"', '" né 日 🎉"', '" a\\"b\\n"', '" a b"'],
     ['""', '"', '" "', '"x"', '"  x"', '" a\nb"', '" \\x"', " x"]),
    ({"type": "string", "minLength": 0}, ['" "', '" x"'], ['""', '"x"', '"  x"']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['" ab"', '" 日本🎉"'], ['" a"', '" abcd"']),
    ({"type": "string", "maxLength": 0}, ['" "'], ['" a"']),
    ({"type": "integer"}, ["0", "-7", "123456789012345"], ["-0", "01", "1.0", '"1"', "1" * 16]),
    ({"type": "integer", "minimum": 1, "maximum": 20}, ["1", "9", "10", "20"], ["0", "21", "-1", "100"]),
    ({"type": "integer", "exclusiveMinimum": -3, "exclusiveMaximum": 3}, ["-2", "0", "2"], ["-3", "3"]),
    ({"type": "number"}, ["0", "-1.50", "3.14159"], ["1.", ".5", "1e5", "01.0"]),
    ({"type": "number", "minimum": 0, "maximum": 1}, ["0", "1", "0.5"], ["1.5", "-0.5", "2"]),
    ({"type": "number", "minimum": -2}, ["-2", "-1.9", "-0.5", "7.5"], ["-2.1", "-3"]),
    ({"type": "boolean"}, ["true", "false"], ["True", "null", "1"]),
    ({"type": "null"}, ["null"], ["0"]),
    ({"type": "string", "pattern": "^[a-c]{2}\\d$"}, ['"ab1"', '"cc9"'], ['" ab1"', '"ab"', '"ab12"']),
    ({"type": "string", "pattern": "b"}, ['"b"', '" b"', '"né\\"b\\n日"'], ['""', '"a"', '"a"b"']),
    ({"type": "string", "pattern": "^a*$", "minLength": 1, "maxLength": 2}, ['"a"', '"aa"'], ['""', '"aaa"']),
    ({"pattern": "^a$"}, ['"a"'], ["1", "null"]),
    ({"anyOf": [{"pattern": "^a"}, {"type": "string"}]}, ['"ab"', '" ab"', '" c"'], ['"c"']),
    ({"anyOf": [{"pattern": " "}, {"type": "null"}]}, ['" "', "null"], ['"a"']),
    ({"anyOf": [{"pattern": "a"}, {"type": "integer"}]}, ['"b a"', "7"], ['" a"']),
    ({"enum": [",", " "]}, ['" "', '","'], ['"  "']),
    ({"enum": ["a", "ab", 7], "pattern": "b"}, ['"ab"', "7"], ['"a"']),
    ({"enum": [1, 5, 9], "maximum": 6, "exclusiveMinimum": 1}, ["5"], ["1", "9"]),
    ({"minimum": 3}, ["3", "7.5"], ["2", '" a"', "null"]),
    ({"minLength": 2}, ['" ab"'], ['" a"', "1"]),
    ({"minItems": 1}, ["[1]"], ["[]", "1"]),
    ({"additionalProperties": {"type": "null"}}, ['{"k":null}'], ['{"k":1}', "1"]),
    ({"enum": ["a b", 3, None, "é"]}, ['"a b"', "3", "null", '"é"'], ['"a"', "4"]),
    ({"type": "string", "enum": ["x", 3]}, ['"x"'], ["3"]),
    ({"const": {"k": [1]}}, ['{"k":[1]}'], ["{}"]),
    ({"type": "string", "format": "date"}, ['"2024-02-29"', '"2026-11-30"'],
     ['"2023-02-29"', '"2026-13-01"', '"x"']),
    ({"type": "string", "format": "time"}, ['"07:30"', '"23:59:59"'], ['"24:00"', '"7:30"']),
    ({"type": "string", "format": "date-time"}, ['"2024-02-29T07:30:00"'], ['"2024-02-29"']),
    ({"type": "string", "format": "email"}, ['"a.b@c-d.org"'], ['"a@b"', '".a@b.cd"', '"a b@c.de"']),
    ({"type": "string", "format": "uuid"}, ['"12345678-1234-1234-1234-1234567890ab"'], ['"1234"']),
    ({"type": ["integer", "null"]}, ["4", "null"], ['"4"']),
    ({"type": "string", "nullable": True}, ['" x"', "null"], ["1"]),
    ({"type": "string", "enum": ["x", None], "nullable": True}, ['"x"', "null"], ["1"]),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, ["4", "null"], ["true"]),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["4", '" 4"'], ["null"]),
    ({"allOf": [{"type": "integer"}], "description": "d"}, ["4"], ['"4"']),
    ({"type": "array", "items": {"type": "integer"}}, ["[]", "[1]", "[1,2,3]"],
     ["[1,]", "[,]", "1", '["1"]']),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
     ["[true]", "[true,false]"], ["[]", "[true,true,true]"]),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "minItems": 2,
      "maxItems": 2},
     ["[1,true]"], ["[1]", "[true,1]"]),
    ({"type": "object", "properties": {name: {"type": "integer"} for name in "xyz"},
      "required": ["y"]},
     ['{"y":1}', '{"x":1,"y":2}', '{"y":1,"z":2}', '{"x":1,"y":2,"z":3}'],
     ["{}", '{"x":1}', '{"y":2,"x":1}', '{,"y":1}', '{"y":1,}', '{"y":1"z":2}', '{"y":1,"q":2}']),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"k":1,"l":2}'], ['{"k":"x"}']),
    ({"type": "object", "properties": {}, "additionalProperties": False}, ["{}"], ['{"k":1}']),
    ({}, ["null", '" x"', "-1.5", "[1,[2]]", '{"k":{"l":" m"}}', '{"k":[]}'], ["[[[1]]]", "nul", "[1"]),
    ({"type": "array"}, ["[]", '[1," x",[2]]'], ["[[[1]]]"]),
]  # fmt: skip


@pytest.mark.parametrize(("part", "good", "bad"), TAKEN, ids=lambda value: compact_json(value)[:60])
def test_a_keyword_accepts_what_fits_and_nothing_else(part: Any, good: list[str], bad: list[str]) -> None:
    language = byte_automaton(of(part))
    assert [text for text in good if not language.accepts(f'{{"a":{text}}}'.encode())] == []
    assert [text for text in bad if language.accepts(f'{{"a":{text}}}'.encode())] == []


REFUSED: list[tuple[Any, str]] = [
    ({"type": "string", "pattern": "a(?=b)"}, "look-around"),
    ({"type": "string", "pattern": 3}, "pattern"),
    ({"type": "string", "pattern": "^a$", "minLength": 2}, "no text of that length"),
    ({"type": "string", "pattern": "a", "format": "date"}, "beside format"),
    ({"enum": ["b", "c"], "pattern": "a"}, "no constant fits pattern"),
    ({"enum": ["b"], "pattern": 5}, "beside enum"),
    ({"anyOf": [{"type": "string", "pattern": "^ "}, {"type": "string"}]}, "not begin with a space"),
    ({"oneOf": [{"type": "integer"}, {"type": "string", "enum": ["a", " "]}]}, "begins with a space"),
    ({"type": "string", "anyOf": [{"type": "integer"}]}, "another type"),
    ({"$ref": "#/properties/a", "minLength": 3}, "minLength beside $ref"),
    ({"type": "string", "format": "ipv4"}, "format 'ipv4'"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "number", "multipleOf": 0.5}, "multipleOf"),
    ({"type": "number", "minimum": 0.5}, "whole bound"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "no number"),
    ({"type": "string", "minLength": 5, "maxLength": 4}, "minLength"),
    ({"type": "string", "minLength": -1}, "minLength"),
    ({"type": "boolean", "enum": ["x"]}, "enum"),
    ({"type": "text"}, "type 'text'"),
    ({"not": {"type": "null"}}, "not"),
    ({"$ref": "#/$defs/Nowhere"}, "leads nowhere"),
    ({"$ref": "https://example.org/x"}, "leads out"),
    ({"$ref": "#"}, "refers to itself"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "overlap"),
    ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, "allOf"),
    ("string", "no schema"),
    ({"type": "object", "required": "x"}, "required"),
    ({"type": "integer", "minimum": 10**400}, "beyond"),
    ({"type": "number", "maximum": -1e300}, "beyond"),
    ({"type": "number", "maximum": float("inf")}, "maximum"),
    ({"enum": ["\ud800"]}, "surrogate"),
    ({"const": {"\udc00": 1}}, "surrogate"),
    ({"type": "object", "properties": {"\ud800": {"type": "string"}}}, "surrogate"),
    ({"type": "string", "format": []}, "format"),
    ({"type": "array", "prefixItems": 5}, "prefixItems"),
    ({"oneOf": [{"type": "object", "properties": 5}, {"type": "object"}]}, "properties"),
    ({"oneOf": [{"const": 1, "required": 5, "properties": {"a": {"enum": 5}}}] * 2}, "beside enum"),
    ({"enum": [1], "minimum": "x"}, "beside enum"),
    ({"oneOf": [{"type": "object", "required": 5, "properties": {"a": {"enum": 5}}}] * 2}, "required"),
]


@pytest.mark.parametrize(("part", "word"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_is_not_supported_is_named_with_its_place_and_a_remedy(part: Any, word: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        byte_automaton(of(part))
    message = str(caught.value)
    assert word in message
    assert caught.value.path.startswith("/properties/a")
    assert message.startswith("schema at /properties/a") and ";" in message


LENIENT = [part for part, why in REFUSED if isinstance(part, dict) and "itself" not in why]


@pytest.mark.parametrize("part", LENIENT, ids=str)
def test_lenient_limits_take_what_is_not_supported_as_free_json(part: Any) -> None:
    assert byte_automaton(of(part), Limits(strict=False)).accepts(b'{"a":" x"}')


def test_a_huge_schema_is_refused_and_not_built() -> None:
    with pytest.raises(UnsupportedSchema, match="more than 100 states"):
        byte_automaton(of({"type": "string", "maxLength": 100}), Limits(max_states=100))


def test_a_small_schema_that_stands_for_a_huge_one_is_refused_and_not_built() -> None:
    nested: Any = {"type": "string"}
    for _ in range(6):  # 16 million strings, one behind the other
        nested = {"type": "array", "minItems": 16, "items": nested}
    with pytest.raises(UnsupportedSchema, match="more than 20000 states"):
        byte_automaton(of(nested))
    parts = {
        f"d{n}": {"type": "object", "properties": {f"p{i}": {"$ref": f"#/$defs/d{n + 1}"} for i in range(20)}}
        for n in range(5)
    }
    with pytest.raises(UnsupportedSchema, match="parts"):
        byte_automaton(of({"$ref": "#/$defs/d0"}) | {"$defs": parts | {"d5": {"type": "string"}}})
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(UnsupportedSchema, match="deep"):
        byte_automaton(of({"const": deep}))


def test_bounds_beyond_all_numbers_are_none() -> None:
    for kind in ("integer", "number"):
        part = {"type": kind, "minimum": -(10**400), "maximum": 1e308}
        assert accepts(part, "-7") and accepts(part, "9" * 15)


def test_what_is_said_of_a_schema_can_be_sent_to_whoever_wrote_it() -> None:
    for part in ({"type": "\ud800"}, {"type": "string", "format": "\ud800"}, {"$ref": "#/\ud800"}):
        with pytest.raises(UnsupportedSchema) as caught:
            byte_automaton(of(part) | {"properties": {"a": {"anyOf": [part], "\ud800": 1}}})
        str(caught.value).encode()


def test_a_schema_that_is_ambiguous_everywhere_is_refused_before_it_costs_much() -> None:
    """Few states come of it in the end, but of each very many have to be told apart."""
    ranges = [{"type": "integer", "minimum": 7 * n, "maximum": 10**14 + 13 * n} for n in range(200)]
    with pytest.raises(UnsupportedSchema, match="more than 1000000 steps"):
        byte_automaton(of({"anyOf": ranges}))
    assert byte_automaton(of({"anyOf": ranges[:20]})).accepts(b'{"a":120}')


@pytest.mark.timeout(40)  # a second, or a minute where each byte of a long text is another round
def test_long_texts_are_told_apart_in_few_rounds() -> None:
    texts = ["x" * 15_000 + str(number) for number in range(12)]
    language = byte_automaton(of({"enum": texts}))
    assert language.accepts(compact_json({"a": texts[11]}).encode())
    assert not language.accepts(compact_json({"a": texts[11][:-2]}).encode())
    assert len(language.accepting) < 15_020, "it is minimal all the same"


@pytest.mark.parametrize("schema", [{"type": "string"}, {"type": ["object"]}, 3])
def test_arguments_must_be_an_object(schema: Any) -> None:
    with pytest.raises(UnsupportedSchema, match="not an object"):
        byte_automaton(schema)


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "object", "properties": {}}])
def test_a_tool_without_properties_takes_no_arguments(schema: Any) -> None:
    language = byte_automaton(
        {**schema, "additionalProperties": False} if schema.get("properties") == {} else schema
    )
    assert language.accepts(b"{}")
    assert not language.accepts(b'{"a":1}')


class Guest(BaseModel):
    name: str
    age: int | None = None


class Booking(BaseModel):
    """As a typed tool gives it."""

    when: date
    area: Literal["north", "south"] = "north"
    guests: list[Guest] = []
    lead: Guest | None = None


def test_a_pydantic_model_with_references_and_optionals() -> None:
    language = byte_automaton(Booking.model_json_schema())
    booking = Booking(when=date(2026, 11, 27), guests=[Guest(name="Ann"), Guest(name="Bo", age=4)])
    for dumped in (booking.model_dump(mode="json"), booking.model_dump(mode="json", exclude_none=True)):
        assert language.accepts(serialise_call("", dumped, Booking.model_json_schema()).encode())
    assert language.accepts(b'{"when":"2026-11-27","lead":{"name":" Cy"}}')
    assert not language.accepts(b'{"when":"2026-11-27","lead":{}}')


def test_tagged_unions_may_use_one_of() -> None:
    def kind(tag: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"t": {"const": tag}}, "required": ["t"]}

    assert accepts({"oneOf": [kind("x"), kind("y")]}, '{"t":"y"}')


def test_the_plain_forms_of_the_text_are_those_of_the_grammar() -> None:
    assert set(FORMATS) == PLAIN_FORMATS


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
def test_every_day_is_a_date_and_no_other_is(day: date) -> None:
    language = byte_automaton(of({"type": "string", "format": "date"}))
    assert language.accepts(f'{{"a":"{day}"}}'.encode())
    last = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    assert not language.accepts(f'{{"a":"{day:%Y-%m}-{last.day + 1}"}}'.encode())


@given(st.integers(-3000, 3000), st.integers(0, 3000), st.data())
def test_integer_bounds_are_exact(low: int, width: int, data: st.DataObject) -> None:
    high = low + width
    language = byte_automaton(of({"type": "integer", "minimum": low, "maximum": high}))
    for value in (low - 1, low, high, high + 1, data.draw(st.integers(-4000, 4000))):
        assert language.accepts(f'{{"a":{value}}}'.encode()) == (low <= value <= high)


@given(st.text(min_size=1).filter(lambda s: not s.startswith(" ")))
def test_every_string_in_canonical_text_is_a_string(value: str) -> None:
    written = compact_json(spaced(value))
    # \u escapes are left out: nobody dictates control characters.
    assert accepts({"type": "string"}, written) == ("\\u00" not in written.replace("\\\\", ""))


@given(st.binary(max_size=8))
def test_strings_are_well_formed_utf8(data: bytes) -> None:
    language = byte_automaton(of({"type": "string"}))
    if language.accepts(b'{"a":" ' + data + b'"}'):
        json.loads(b'{"a":" ' + data + b'"}')


def test_the_automaton_is_minimal_and_without_dead_states() -> None:
    spread = either(*(sequence(text(a), text(b)) for a in "xyz" for b in "pq"))
    language = determinise(sequence(spread, repeat(text("k"), 0, None)))
    assert len(language.accepting) == 3
    assert language.accepts(b"xpkkk") and not language.accepts(b"pk")


def test_strings_and_optional_keys_cost_few_states() -> None:
    one = byte_automaton(of({"type": "string"}, required=False))
    five = byte_automaton({"type": "object", "properties": {name: {"type": "string"} for name in "abcde"}})
    assert len(one.accepting) < 25
    assert len(five.accepting) < 5 * len(one.accepting)
