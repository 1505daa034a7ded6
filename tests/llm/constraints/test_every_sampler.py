"""Whatever the schema, the scores, the passes and the sampler: what is written parses and validates.

A sampler is a function in SAMPLERS: from scores to the ids of a call, its end mark included.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time
from functools import partial
from itertools import product
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from stretto.llm.constraints.call_path import CallPath
from stretto.llm.constraints.call_text import parse_call
from stretto.llm.constraints.literals import FORMATS
from stretto.llm.constraints.tokens import TokenAutomaton, TokenVocabulary, shortest
from stretto.llm.denoise import write_call
from stretto.llm.language_model import Effort
from stretto.llm.samplers import CANVAS_SAMPLERS, EFFORT, CanvasSampler
from stretto.llm.tokenizer import CALL, END, MARKS, PADS, embedded_tokenizer
from stretto.llm.verify import _proposed_call
from torch import Tensor

CHECKER = Draft202012Validator.FORMAT_CHECKER
# What jsonschema leaves to packages of its own; calls have them without an offset.
for form, read in (("time", time.fromisoformat), ("date-time", datetime.fromisoformat)):
    CHECKER.checks(form, ValueError)(
        lambda value, read=read: not isinstance(value, str) or read(value) is not None
    )


# -- schemas -----------------------------------------------------------------------------------------


def between(low: str, high: str, least: int, most: int) -> st.SearchStrategy[dict[str, Any]]:
    """None, one, or both of two bounds, in order."""
    ends = st.tuples(st.integers(least, most), st.integers(least, most)).map(sorted)
    kept = st.sets(st.sampled_from([0, 1]))
    return st.builds(lambda pair, kept: {(low, high)[n]: pair[n] for n in kept}, ends, kept)


def typed(kind: str, bounds: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda part: {"type": kind} | part, bounds)


def tagged(tag: str, kind: str) -> dict[str, Any]:
    parts = {"t": {"const": tag}, "n": {"type": kind}}
    return {"type": "object", "properties": parts, "required": ["t", "n"]}


PATTERNS = [
    r"^[A-Z]{2}\d{1,3}$", "b", r"^(a|né)+$", r"^\w+(-\w+)?$", r"^[^\d\s]*$", r"\d$", r"^.{0,3}x", "^a|b$",
    r'^["\\]$', r"^\s?\S", r"^[日月]+ ?$",
]  # fmt: skip
LENGTHS = between("minLength", "maxLength", 0, 6)
LEAVES = st.one_of(
    typed("string", LENGTHS),
    st.sampled_from(sorted(FORMATS)).map(lambda form: {"type": "string", "format": form}),
    st.builds(lambda pattern: {"type": "string", "pattern": pattern}, st.sampled_from(PATTERNS)),
    st.builds(
        lambda low, high: {"type": "string", "pattern": "^[ab ]*$", "minLength": low, "maxLength": high},
        st.integers(0, 2), st.integers(2, 5),
    ),
    typed("integer", between("minimum", "maximum", -1200, 1200)),
    typed("integer", st.integers(-50, 50).map(lambda n: {"exclusiveMinimum": n, "exclusiveMaximum": n + 2})),
    typed("number", between("minimum", "maximum", -30, 30)),
    st.sampled_from([
        {"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}, {"type": ["string", "boolean"]},
        {"enum": ["north", "né", 3, None, " x", {"k": ["v"]}]}, {"const": 'a "b"\n'}, {"const": ""},
        {"type": "string", "enum": ["aa", "ab", 7], "minLength": 2},
        {"enum": ["b", "cab", 4], "pattern": "^c"},
        {}, {"type": "object"}, {"type": "array"}, {"minimum": 3}, {"minLength": 2},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"$ref": "#/$defs/Guest"}, {"anyOf": [{"$ref": "#/$defs/Guest"}, {"type": "null"}]},
        {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "minLength": 3}]},
        {"anyOf": [{"type": "string", "pattern": "^z+$"}, {"type": "string"}]},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"oneOf": [tagged("x", "integer"), tagged("y", "boolean")]},
        {"allOf": [{"type": "boolean"}], "description": "one"},
    ]),
)  # fmt: skip
GUEST = {
    "type": "object",
    "properties": {"first": {"type": "string", "maxLength": 3}, "age": {"type": "integer", "minimum": 0}},
    "required": ["first"],
}


@st.composite
def objects(draw: st.DrawFn, part: st.SearchStrategy[dict[str, Any]], most: int = 4) -> dict[str, Any]:
    names = st.text(st.sampled_from('abé"_ '), min_size=1, max_size=3)
    parts = draw(st.dictionaries(names, part, max_size=most))
    required = [name for name in parts if draw(st.booleans())]
    return {"type": "object", "properties": parts, "required": required, "additionalProperties": False}


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    sizes = typed("array", between("minItems", "maxItems", 0, 3))
    lists = st.builds(lambda part, size: {"items": part} | size, inner, sizes)
    tuples = st.lists(inner, min_size=1, max_size=2).map(
        lambda parts: {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    )
    optional = st.builds(lambda part: {"anyOf": [part, {"type": "null"}]}, inner)
    return objects(inner, 2) | lists | tuples | optional


SCHEMAS = objects(st.recursive(LEAVES, nested, max_leaves=3)).map(lambda s: {**s, "$defs": {"Guest": GUEST}})

# -- samplers ----------------------------------------------------------------------------------------

Scores = Callable[[int], Tensor]
"""How many places -> fresh scores (places, vocab)."""
Sampler = Callable[[Scores, TokenAutomaton, int, int], list[int]]
"""Scores, the automaton, the most tokens of the call, passes a canvas -> the ids of the call."""
CANVAS = 16


def denoised(
    scores: Scores, automaton: TokenAutomaton, longest: int, passes: int, name: CanvasSampler, effort: Effort
) -> list[int]:
    """As a conversation writes a call, canvas after canvas."""
    ids: list[int] = []
    state, left = 0, longest
    while True:
        size = min(CANVAS, left)
        left -= size
        budget = replace(EFFORT[effort], passes=passes, steps=passes)
        steps, count = write_call(size, CANVAS_SAMPLERS[name](budget), automaton, state, left), 0
        next(steps)
        try:
            while True:
                steps.send(scores(size))
                count += 1
                assert count < passes
        except StopIteration as end:
            step = end.value
        ids += step.canvas[: step.length]
        assert step.state is not None
        if automaton.is_final(step.state):
            return ids
        state = step.state


def causal(scores: Scores, automaton: TokenAutomaton, longest: int, passes: int) -> list[int]:
    path, ids = CallPath(automaton, left=longest), list[int]()
    while not path.finished:
        ids.append(path.take(path.likeliest(scores(1)[0], None)))
    return ids


def proposed(scores: Scores, automaton: TokenAutomaton, longest: int, passes: int) -> list[int]:
    """What a canvas proposes, of which the causal mode takes so many tokens before it goes its own way."""
    path, ids = CallPath(automaton, left=longest), list[int]()
    while not path.finished:
        proposal = _proposed_call(path, scores(CANVAS))
        assert len(proposal.tokens) == len(proposal.sure)
        for token in proposal.tokens[:passes]:
            ids.append(path.take(token))
    return ids


SAMPLERS: dict[str, Sampler] = {
    **{name: partial(denoised, name=name, effort="medium") for name in CANVAS_SAMPLERS},
    **{f"threshold, {e}": partial(denoised, name="threshold", effort=e) for e in ("minimal", "high")},
    "remasking, high": partial(denoised, name="remasking", effort="high"),
    "causal": causal,
    "verified": proposed,
}

# -- vocabularies ------------------------------------------------------------------------------------

PIECES = [bytes([byte]) for byte in range(256)] + [
    b'{"', b'":"', b'":" ', b'","', b'"}', b'":', b',"', b"tr", b"ue", b"null", b"the", b" a", b" b", b"20",
    b"19", b'"},{"', b"ab", b"\xc3\xa9", b"\xe6\x97", b'\xa5"', b"\xf0\x9f\x8e", b"a\xc3",
    b'\xa9","', b"\\", b'\\"', b" ", b"  ", b'" ', b"[", b"]", b"00", b"-0", b"@a", b".c",
]  # fmt: skip
TEXTS: dict[str, list[bytes | None]] = {
    "small": [*[None] * len(MARKS), *PIECES],
    "real": embedded_tokenizer().token_bytes,
}
WORDS = {name: TokenVocabulary(texts, END, CALL, PADS) for name, texts in TEXTS.items()}


def check(schema: dict[str, Any], name: str, seed: int, sharp: float, room: int) -> None:
    """Every sampler, with 1, 2 and 4 passes a canvas; `room`: tokens that the shortest call has not."""
    words, texts = WORDS[name], TEXTS[name]
    automaton = words.compile(schema)
    validator = Draft202012Validator(schema, format_checker=CHECKER)
    longest = shortest(automaton) + room
    for sampler, passes in product(SAMPLERS, (1, 2, 4)):
        if sampler == "causal" and passes > 1:  # it makes one for each token
            continue
        generator = torch.Generator().manual_seed(seed)

        def scores(places: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(places, words.size, generator=generator) * sharp

        ids = SAMPLERS[sampler](scores, automaton, longest, passes)
        assert len(ids) <= longest and ids[-1] in (END, CALL), (sampler, passes)
        text = b"".join(texts[token] or b"?" for token in ids[:-1]).decode()
        problems = [error.message for error in validator.iter_errors(parse_call(f"f{text}", schema)[1])]
        assert not problems, (sampler, passes, text, problems)
        raw = json.loads(text)
        assert list(raw) == [key for key in schema["properties"] if key in raw]


every = partial(settings, deadline=None, suppress_health_check=list(HealthCheck))


@every(max_examples=470)
@given(SCHEMAS, st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 3.0, 40.0]), st.integers(0, 30))
def test_every_call_parses_and_validates(schema: dict[str, Any], seed: int, sharp: float, room: int) -> None:
    check(schema, "small", seed, sharp, room)


@every(max_examples=30)
@given(SCHEMAS, st.integers(0, 2**32), st.sampled_from([0.5, 3.0]), st.integers(0, 30))
def test_every_call_parses_and_validates_with_the_tokenizer_that_ships(
    schema: dict[str, Any], seed: int, sharp: float, room: int
) -> None:
    check(schema, "real", seed, sharp, room)
