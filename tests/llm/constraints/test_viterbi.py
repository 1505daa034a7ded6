"""The best path: valid whatever the logits, the best there is, committed tokens kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from stretto.llm.constraints.call_text import compact_json, parse_call
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.constraints.tokens import TokenAutomaton, TokenVocabulary, shortest
from stretto.llm.constraints.viterbi import Infeasible, Path, best_path

BYTES = [bytes([byte]) for byte in range(256)]
COMMON = [
    b'{"',
    b'":"',
    b'","',
    b'"}',
    b'":',
    b',"',
    b"tr",
    b"ue",
    b"null",
    b"the",
    b" a",
    b"20",
    "é".encode(),
]
SPLIT = [b"\xe6\x97", b'\xa5"', b"\xf0\x9f\x8e", b"a\xc3", b'\xa9","', b"\\", b'\\"']
LEAVES: list[dict[str, Any]] = [
    {"type": "string"}, {"type": "string", "maxLength": 4}, {"type": "string", "format": "date"},
    {"type": "string", "format": "time"}, {"type": "integer"},
    {"type": "integer", "minimum": 1, "maximum": 12},
    {"type": "number"}, {"type": "number", "minimum": 0, "maximum": 1}, {"type": "boolean"}, {"type": "null"},
    {"enum": ["north", "né", 3, None]}, {"const": "x y"}, {}, {"type": "object"},
]  # fmt: skip


def objects(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def build(parts: dict[str, Any], chosen: list[bool]) -> dict[str, Any]:
        required = [name for name, wanted in zip(parts, chosen, strict=False) if wanted]
        return {"type": "object", "properties": parts, "required": required, "additionalProperties": False}

    names = st.text(st.sampled_from('abé"_'), min_size=1, max_size=3)
    return st.builds(
        build, st.dictionaries(names, part, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4)
    )


SCHEMAS = objects(
    st.recursive(
        st.sampled_from(LEAVES),
        lambda inner: (
            objects(inner)
            | st.builds(lambda p, n: {"type": "array", "items": p, "maxItems": n}, inner, st.integers(0, 3))
            | st.builds(lambda p: {"anyOf": [p, {"type": "null"}]}, inner)
        ),
        max_leaves=3,
    )
)


def vocabulary(pieces: list[bytes], pads: int = 3) -> TokenVocabulary:
    """Pieces, then mask, end, call and pads as specials."""
    count = len(pieces)
    specials: list[bytes | None] = [None] * (3 + pads)
    return TokenVocabulary([*pieces, *specials], count + 1, count + 2, range(count + 3, count + 3 + pads))


def noise(seed: int, canvas: int, size: int, spread: float = 4.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    logits = np.random.default_rng(seed).normal(0, spread, (canvas, size)).astype(np.float32)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), dtype=np.float32)


def favour(tokens: list[int], canvas: int, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    scores = np.full((canvas, size), -20, dtype=np.float32)
    scores[np.arange(len(tokens)), tokens] = -0.01
    return scores


def written(pieces: list[bytes], path: Path) -> bytes:
    """Text before the terminator."""
    return b"".join(pieces[token] for token in path.tokens[: path.length - path.finished])


def check(pieces: list[bytes], words: TokenVocabulary, path: Path, schema: dict[str, Any]) -> None:
    assert path.finished
    assert path.tokens[path.length - 1] in (words.end, words.call)
    assert set(path.tokens[path.length :].tolist()) <= set(words.pads)
    text = written(pieces, path).decode()
    jsonschema.validate(parse_call("f" + text, schema)[1], schema)
    value = json.loads(text)
    names = [name for name in schema["properties"] if name in value]
    assert list(value) == names


PIECES = [*BYTES, *COMMON, *SPLIT]
WORDS = vocabulary(PIECES)
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@slow
@given(
    SCHEMAS,
    st.integers(0, 2**32),
    st.integers(8, 48),
    st.booleans(),
    st.lists(st.binary(min_size=2, max_size=5), max_size=20),
)
def test_whatever_the_logits_the_call_parses_and_fits(
    schema: dict[str, Any], seed: int, canvas: int, score_fill: bool, merges: list[bytes]
) -> None:
    pieces = [*PIECES, *merges]
    words = vocabulary(pieces)
    automaton = words.compile(schema)
    log_probs = noise(seed, canvas, words.size)
    if shortest(automaton) > canvas:
        with pytest.raises(Infeasible):
            best_path(log_probs, automaton, score_fill=score_fill)
        return
    path = best_path(log_probs, automaton, score_fill=score_fill)
    check(pieces, words, path, schema)
    rest = range(canvas - path.length)
    assert path.tokens[path.length :].tolist() == [words.pads[i % len(words.pads)] for i in rest]


@slow
@given(SCHEMAS, st.integers(0, 2**32), st.data())
def test_committed_tokens_are_kept_and_the_rest_still_fits(
    schema: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    automaton = WORDS.compile(schema)
    canvas = shortest(automaton) + data.draw(st.integers(0, 10))
    first = best_path(noise(seed, canvas, WORDS.size), automaton, score_fill=True)
    kept = data.draw(st.lists(st.booleans(), min_size=canvas, max_size=canvas))
    fixed = [int(token) if keep else None for token, keep in zip(first.tokens, kept, strict=True)]
    path = best_path(noise(seed + 1, canvas, WORDS.size), automaton, fixed)
    assert all(token is None or token == got for token, got in zip(fixed, path.tokens, strict=True))
    check(PIECES, WORDS, path, schema)
    everything = best_path(noise(seed + 2, canvas, WORDS.size), automaton, first.tokens.tolist())
    assert everything.tokens.tolist() == first.tokens.tolist()
    assert everything.logp == 0


@slow
@given(SCHEMAS, st.integers(0, 2**32), st.integers(1, 9))
def test_a_call_longer_than_a_canvas_goes_on_in_the_next(
    schema: dict[str, Any], seed: int, canvas: int
) -> None:
    automaton = WORDS.compile(schema)
    budget = shortest(automaton) + 12
    text, state = b"", 0
    for turn in range(1000):
        budget = max(budget - canvas, 0)
        assume(budget + canvas >= shortest(automaton, state))
        path = best_path(
            noise(seed + turn, canvas, WORDS.size), automaton, None, state, open_end=True, budget_after=budget
        )
        assert path.finished or shortest(automaton, path.end_state) <= budget
        text += written(PIECES, path)
        state = path.end_state
        if path.finished:
            break
    assert path.finished
    jsonschema.validate(parse_call("f" + text.decode(), schema)[1], schema)


def spellings(text: bytes, pieces: list[bytes], most: int) -> Iterator[list[int]]:
    if not text:
        yield []
    elif most > 0:
        for token, piece in enumerate(pieces):
            if piece and text.startswith(piece):
                yield from ([token, *rest] for rest in spellings(text[len(piece) :], pieces, most - 1))


VALUES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "b": ({"type": "boolean"}, [True, False]),
    "e": ({"enum": ["aa", "ab", "b"]}, ["aa", "ab", "b"]),
    "i": ({"type": "integer", "minimum": 9, "maximum": 11}, [9, 10, 11]),
    "l": ({"type": "array", "items": {"const": 1}, "maxItems": 2}, [[], [1], [1, 1]]),
}
ABSENT = object()


@slow
@given(
    st.lists(st.tuples(st.sampled_from(sorted(VALUES)), st.booleans()), max_size=3, unique_by=lambda p: p[0]),
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.booleans(),
    st.data(),
)
def test_it_is_the_best_of_all_calls_as_brute_force_finds(
    parts: list[tuple[str, bool]], seed: int, canvas: int, score_fill: bool, data: st.DataObject
) -> None:
    schema = {
        "type": "object",
        "properties": {name: VALUES[name][0] for name, _ in parts},
        "required": [name for name, required in parts if required],
        "additionalProperties": False,
    }
    texts = []
    for values in product(*(VALUES[name][1] + ([] if required else [ABSENT]) for name, required in parts)):
        pairs = zip(parts, values, strict=True)
        texts.append(
            compact_json({name: value for (name, _), value in pairs if value is not ABSENT}).encode()
        )
    cuts = st.tuples(st.sampled_from(texts), st.integers(0, 12), st.integers(1, 8))
    pieces = [text[at : at + size] for text, at, size in data.draw(st.lists(cuts, min_size=3, max_size=14))]
    pieces = list(dict.fromkeys([*(piece for piece in pieces if piece), b"{", b"}"]))
    words = vocabulary(pieces, pads=2)
    log_probs = noise(seed, canvas, words.size)
    held = data.draw(st.dictionaries(st.integers(0, canvas - 1), st.integers(0, words.size - 1), max_size=2))
    fixed = [held.get(position) for position in range(canvas)]

    best, found = -np.inf, None
    for text, last in product(texts, (words.end, words.call)):
        for spelling in spellings(text, pieces, canvas - 1):
            tokens = [*spelling, last]
            if any(
                t not in (tokens[p], None) if p < len(tokens) else t not in (None, *words.pads)
                for p, t in enumerate(fixed)
            ):
                continue
            steps = [float(log_probs[p, t]) for p, t in enumerate(tokens) if fixed[p] is None]
            fill = [
                float(log_probs[p, list(words.pads)].max())
                for p in range(len(tokens), canvas)
                if fixed[p] is None
            ]
            score = sum(steps) + (sum(fill) if score_fill else 0)
            if score > best:
                best, found = score, (tokens, sum(steps))
    try:
        path = best_path(log_probs, words.compile(schema), fixed, score_fill=score_fill)
    except (Infeasible, UnsupportedSchema):
        assert found is None
        return
    assert found is not None
    assert path.tokens[: path.length].tolist() == found[0]
    assert path.logp == pytest.approx(found[1], abs=1e-3)


def test_characters_may_be_split_over_tokens() -> None:
    automaton = WORDS.compile({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    text = [b"\xe6\x97", b"\xa5", b"\xf0\x9f\x8e", b"\x89", b"a\xc3", b"\xa9"]
    wanted = [b'{"', b"a", b'":"', b" ", *text, b'"}']
    tokens = [*(PIECES.index(piece) for piece in wanted), WORDS.end]
    path = best_path(favour(tokens, 16, WORDS.size), automaton)
    assert path.tokens[: path.length].tolist() == tokens
    assert json.loads(written(PIECES, path)) == {"a": " 日🎉aé"}
    broken = [token for token in tokens if PIECES[token : token + 1] != [b"\x89"]]
    other = best_path(favour(broken, 16, WORDS.size), automaton)
    json.loads(written(PIECES, other).decode())


def test_another_call_may_follow() -> None:
    automaton = WORDS.compile({"type": "object", "properties": {}})
    path = best_path(
        favour([PIECES.index(b"{"), PIECES.index(b"}"), WORDS.call or 0], 5, WORDS.size), automaton
    )
    assert path.tokens[2] == WORDS.call
    assert path.end_state == automaton.called != automaton.ended


def test_scoring_the_fill_keeps_optional_arguments() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a"],
    }
    text = b'{"a":1,"b":2}'
    automaton = WORDS.compile(schema)
    log_probs = np.full((32, WORDS.size), -9.0, dtype=np.float32)
    log_probs[np.arange(len(text)), list(text)] = -3.0
    log_probs[len(text), WORDS.end] = -3.0
    log_probs[len(text) + 1 :, list(WORDS.pads)] = -1.5
    assert json.loads(written(PIECES, best_path(log_probs, automaton))) == {"a": 1}
    assert json.loads(written(PIECES, best_path(log_probs, automaton, score_fill=True))) == {"a": 1, "b": 2}


def test_tokens_that_the_model_rules_out_do_not_break_the_grammar() -> None:
    automaton = WORDS.compile({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]})
    path = best_path(np.full((20, WORDS.size), -np.inf, dtype=np.float32), automaton)
    assert path.finished and json.loads(written(PIECES, path))["a"] in (True, False)


def test_bad_input_is_named() -> None:
    automaton = WORDS.compile({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]})
    log_probs = noise(0, 20, WORDS.size)
    with pytest.raises(Infeasible, match="fit no call"):
        best_path(log_probs, automaton, [PIECES.index(b"}"), *[None] * 19])
    with pytest.raises(Infeasible, match="more tokens are needed"):
        best_path(log_probs[:2], automaton)
    with pytest.raises(ValueError, match="shape"):
        best_path(log_probs[:, :9], automaton)
    with pytest.raises(ValueError, match="positions"):
        best_path(log_probs, automaton, [None])
    with pytest.raises(ValueError, match="NaN"):
        best_path(log_probs * np.float32(np.nan), automaton)
    with pytest.raises(ValueError, match="fixed tokens"):
        best_path(log_probs, automaton, [WORDS.size, *[None] * 19])
    with pytest.raises(ValueError, match="state"):
        best_path(log_probs, automaton, None, 10_000)
    with pytest.raises(ValueError, match="special"):
        TokenVocabulary([b"a", None], end=0)
    with pytest.raises(UnsupportedSchema, match="cannot spell"):
        vocabulary([b"{", b'"']).compile({"type": "object", "properties": {}})


def follow(automaton: TokenAutomaton, tokens: list[int]) -> list[int | None]:
    states: list[int | None] = [0]
    for token in tokens:
        last = states[-1]
        states.append(None if last is None else automaton.advance(last, token))
    return states


@slow
@given(SCHEMAS, st.integers(0, 2**32))
def test_token_by_token_agrees_with_the_path(schema: dict[str, Any], seed: int) -> None:
    automaton = WORDS.compile(schema)
    path = best_path(noise(seed, shortest(automaton) + 3, WORDS.size), automaton)
    states = follow(automaton, path.tokens.tolist())
    assert states[-1] == path.end_state
    for state, token in zip(states, path.tokens[: path.length], strict=False):
        assert state is not None
        allowed = automaton.allowed(state)
        assert token in allowed
        outside = np.setdiff1d(np.arange(WORDS.size), allowed)
        assert automaton.advance(state, int(outside[seed % len(outside)])) is None


@slow
@given(SCHEMAS)
def test_the_shortest_call_fits_its_length_and_no_less(schema: dict[str, Any]) -> None:
    automaton = WORDS.compile(schema)
    least = shortest(automaton)
    assert best_path(noise(0, least, WORDS.size), automaton).finished
    with pytest.raises(Infeasible):
        best_path(noise(0, least - 1, WORDS.size), automaton)
    assert WORDS.compile(schema, longest=least) is automaton
    with pytest.raises(UnsupportedSchema, match=f"takes {least} tokens, a call has at most {least - 1}"):
        WORDS.compile(schema, longest=least - 1)


def test_schemas_are_compiled_once_and_slots_share_their_tokens() -> None:
    def slots(count: int) -> dict[str, Any]:
        return {"type": "object", "properties": {f"slot{i}": {"type": "string"} for i in range(count)}}

    words = vocabulary(PIECES)
    five = words.compile(slots(5))
    assert words.compile(slots(5)) is five
    assert len(five.class_tokens) < 2 * len(words.compile(slots(1)).class_tokens)
    assert words.compile({"type": "object", "properties": {"b": {}, "a": {}}}) is not words.compile(
        {"type": "object", "properties": {"a": {}, "b": {}}}
    )
