"""Patterns of strings, against Python's own regular expressions."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.constraints.automaton import ByteAutomaton, TooManyStates, determinise
from stretto.llm.constraints.call_text import compact_json, parse_call, serialise_call
from stretto.llm.constraints.literals import CHARACTER, quoted
from stretto.llm.constraints.patterns import PatternError, characters, complement, pattern_automaton
from stretto.llm.constraints.products import complement as others
from stretto.llm.constraints.products import intersection, part
from stretto.llm.constraints.schema import byte_automaton

ATOMS = [
    "a", "b", "1", "_", " ", "é", "-", '"', r"\\", r"\.", ".", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S",
    r"\t", r"\x41",
    r"\u00e9", "[ab]", "[^a]", "[a-c1]", r"[^\w]", r"[\d_-]", r"[^\D]", r"[-a]",
    '["\\\\]', "[é日-月]",
]  # fmt: skip
REPEATS = ["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?"]


def sequences(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.builds(lambda atom, times: atom + times, inner, st.sampled_from(REPEATS))
    return st.lists(repeated, max_size=2).map("".join)


def groups(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    choices = st.lists(sequences(inner), min_size=1, max_size=2).map("|".join)
    return st.builds(lambda sign, body: f"({sign}{body})", st.sampled_from(["", "?:"]), choices)


PARTS = st.sampled_from(ATOMS) | groups(st.sampled_from(ATOMS))
PATTERNS = st.lists(
    st.builds(
        lambda begin, body, end: begin + body + end,
        st.sampled_from(["", "^"]), sequences(PARTS), st.sampled_from(["", "$"]),
    ),
    min_size=1, max_size=2,
).map("|".join)  # fmt: skip


def walked(language: ByteAutomaton, seed: int, most: int = 60) -> bytes | None:
    """A random accepted byte string, or None if it took no end."""
    draw = random.Random(seed)
    state, data = 0, bytearray()
    for _ in range(most):
        if language.accepting[state]:
            return bytes(data)
        byte = draw.choice([b for b in range(256) if language.transitions[state, b] >= 0])
        data.append(byte)
        state = int(language.transitions[state, byte])
    return None


@settings(deadline=None, max_examples=150)
@given(PATTERNS, st.lists(st.text(st.sampled_from('ab1_ -"\\.ABC\tc'), max_size=6), max_size=12), st.data())
def test_it_accepts_what_python_finds(pattern: str, texts: list[str], data: st.DataObject) -> None:
    try:
        language = pattern_automaton(pattern, 400)
    except TooManyStates:
        return
    except PatternError as error:
        assert "no text" in str(error)
        return
    for text in texts:
        found = re.search(pattern, text, re.ASCII) is not None
        assert language.accepts(compact_json(text).encode()) == found, (pattern, text)
    for seed in range(3):
        written = walked(language, data.draw(st.integers(0, 1000)) + seed)
        if written is not None:
            value = json.loads(written)
            assert re.search(pattern, value)
            jsonschema.validate(value, {"pattern": pattern})


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\d{3}-\d{4}$", ["555-0123"], ["555-012", "x555-0123", "٣٣٣-٣٣٣٣"]),
        (r"^[^\s@]+@[^\s@]+$", ["a@b"], ["a b@c", "a@", "é@b"]),
        (r"^(?:red|green)(?:ish)?$", ["red", "greenish"], ["reddish", "redish "]),
        (r"^/[a-z/]*$", ["/a/b"], ["a"]),
        (r"^[^a-z]$", ["É", "日", "🎉", "\n"], ["a", "ab"]),
        (r"^.$", ["é", "🎉", '"', "\\"], ["\n", "ab", ""]),
        (r"^[\u0400-\u04ff]+$", ["Привет"], ["Privet"]),
        (r"^a|b$", ["ax", "xb"], ["xa", "bx"]),
        ("^$", [""], ["a"]),
        (r"^[]a]$", None, None),
    ],
)
def test_patterns_as_they_are_written_for_tools(
    pattern: str, good: list[str] | None, bad: list[str] | None
) -> None:
    if good is None or bad is None:
        with pytest.raises(PatternError, match="an empty class"):
            pattern_automaton(pattern)
        return
    language = pattern_automaton(pattern)
    assert [text for text in good if not language.accepts(compact_json(text).encode())] == []
    assert [text for text in bad if language.accepts(compact_json(text).encode())] == []


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("(?=a)b", "look-around"), ("(?<!a)b", "look-around"), ("(?P<x>a)", "names of groups"),
        ("(?<x>a)", "names of groups"), ("(?i)a", "flags"), (r"(a)\1", "backreferences"), (r"\bfoo", "word"),
        (r"\p{L}", "properties"), (r"\k<x>", "backreferences"), ("(^a)", "anchor"), ("a^b", "anchor"),
        ("a$b", "anchor"), ("a)", "bracket"), ("(a", "bracket"), ("[a", "ends too early"), ("a\\", "early"),
        ("*a", "nothing to repeat"), ("a**", "nothing to repeat"), ("a*+", "nothing to repeat"),
        ("a{2,1}", "ends before"), ("a{x}", "no number"), ("a{99999}", "number up to"), ("{2}", "nothing to"),
        ("[z-a]", "two ends"), (r"[\d-z]", "two ends"), ("[]", "empty class"), ("[^]", "empty class"),
        (r"\ud83c", "surrogate"), (r"\xg1", "hexadecimal"), (r"\07", "octal"), (r"^\x00$", "no text"),
        ("a{2", "count in braces"), (r"\u{1F389}", "write the character itself"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_subset_is_named(pattern: str, word: str) -> None:
    with pytest.raises(PatternError) as caught:
        pattern_automaton(pattern)
    assert word in str(caught.value) and (repr(pattern) in str(caught.value))


def test_a_pattern_that_is_too_large_is_refused_and_not_built() -> None:
    for pattern in ("((a{1000}){1000}){1000}", "(a|b)*a(a|b){20}$"):
        with pytest.raises(TooManyStates):
            pattern_automaton(pattern, 2000)


@given(st.integers(0x80, 0x10FFFF), st.integers(0x80, 0x10FFFF))
def test_ranges_of_characters_are_ranges_of_bytes(one: int, other: int) -> None:
    low, high = sorted((one, other))
    language = determinise(characters([(low, high)])) if high < 0xD800 or low > 0xDFFF else None
    if language is None:
        return
    for code in (low - 1, low, (low + high) // 2, high, high + 1):
        if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
            assert language.accepts(chr(code).encode()) == (low <= code <= high)


def test_all_characters_are_those_of_strings() -> None:
    ours, theirs = (quoted(one) for one in (characters([(0, 0x10FFFF)]), CHARACTER))
    one, other = determinise(ours), determinise(theirs)
    assert len(one.accepting) == len(other.accepting)
    assert not intersection(one, others(other)).accepting.any()
    assert complement(complement([(3, 5), (9, 0x10FFFF)])) == [(3, 5), (9, 0x10FFFF)]


@given(PATTERNS, PATTERNS, st.lists(st.text(st.sampled_from('ab1 "'), max_size=4), max_size=8))
@settings(deadline=None, max_examples=40)
def test_automata_are_taken_together(one: str, other: str, texts: list[str]) -> None:
    try:
        left, right = pattern_automaton(one, 200), pattern_automaton(other, 200)
    except (PatternError, TooManyStates):
        return
    both, neither = intersection(left, right), others(left)
    again = determinise(part(left))
    assert again.transitions.shape == left.transitions.shape
    for text in map(compact_json, texts):
        data = text.encode()
        assert both.accepts(data) == (left.accepts(data) and right.accepts(data))
        assert neither.accepts(data) != left.accepts(data) == again.accepts(data)


def test_a_text_with_a_pattern_has_no_space_in_a_call() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"code": {"type": "string", "pattern": "^[A-Z]{2} ?\\d+$"}, "name": {"type": "string"}},
    }
    arguments = {"code": "AB 12", "name": "Ann"}
    text = serialise_call("f", arguments, schema)
    assert text == 'f{"code":"AB 12","name":" Ann"}'
    assert byte_automaton(schema).accepts(text[1:].encode())
    assert parse_call(text, schema) == ("f", arguments)
    spaced = {"type": "object", "properties": {"code": {"type": "string", "pattern": "^ "}}}
    assert parse_call('f{"code":" x"}', spaced)[1] == {"code": " x"}
