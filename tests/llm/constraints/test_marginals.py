"""How sure a token is among all calls that fit: as brute force over a tiny vocabulary finds."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.constraints import tokens as tokens_module
from stretto.llm.constraints.marginals import marginals, path_and_marginals
from stretto.llm.constraints.tokens import TokenAutomaton, TokenVocabulary
from stretto.llm.constraints.viterbi import Infeasible, best_path

PIECES = [b'{"', b"a", b'":', b"1", b"2", b"}", b',"', b"b", b"true", b'"', b"12"]
SCHEMAS: list[dict[str, Any]] = [
    {"properties": {"a": {"type": "integer", "minimum": 0, "maximum": 30}}, "required": ["a"]},
    {"properties": {"a": {"enum": [1, 12, True]}, "b": {"type": "boolean"}}},
    {"properties": {"a": {"enum": ["", "a", "ab", "bb"]}, "b": {"const": ""}}, "required": ["a"]},
]


def automaton_of(schema: dict[str, Any]) -> TokenAutomaton:
    """Mask, end, call and two pads behind the pieces."""
    count = len(PIECES)
    words = TokenVocabulary([*PIECES, *[None] * 5], count + 1, count + 2, (count + 3, count + 4))
    return words.compile({"type": "object", "additionalProperties": False, **schema})


def logs(seed: int, canvas: int, spread: float) -> Any:
    logits = np.random.default_rng(seed).normal(0, spread, (canvas, len(PIECES) + 5)).astype(np.float32)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def accepted(automaton: TokenAutomaton, canvas: int, reach: int) -> list[tuple[int, ...]]:
    """Every token string of the canvas's length that is a call and its fill, or may become one in `reach`."""
    own = range(len(PIECES) + 3)
    found: list[tuple[int, ...]] = []
    begun: list[tuple[tuple[int, ...], int]] = [((), 0)]
    for place in range(canvas):
        following: list[tuple[tuple[int, ...], int]] = []
        for tokens, state in begun:
            for token in own:
                state_after = automaton.advance(state, token)
                if state_after is None:
                    continue
                if automaton.is_final(state_after):
                    fill = (automaton.pads * canvas)[: canvas - place - 1]
                    found.append((*tokens, token, *fill))
                else:
                    following.append(((*tokens, token), state_after))
        begun = following
    return found + [tokens for tokens, state in begun if automaton.distance[state] <= reach]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(SCHEMAS),
    st.integers(4, 6),
    st.integers(0, 10_000),
    st.sampled_from([0.3, 2.0, 6.0]),
    st.booleans(),
    st.sampled_from([0, 3]),
)
def test_they_are_the_shares_of_all_calls_that_fit(
    schema: dict[str, Any], canvas: int, seed: int, spread: float, fill: bool, after: int
) -> None:
    automaton, values = automaton_of(schema), logs(seed, canvas, spread)
    calls = accepted(automaton, canvas, after)
    options = {"open_end": after > 0, "budget_after": after, "score_fill": fill}
    if not calls:
        with pytest.raises(Infeasible):
            marginals(values, automaton, np.zeros(canvas, np.int64), **options)
        return
    chances = {}
    for call in calls:
        end = next((n for n, t in enumerate(call) if t in (len(PIECES) + 1, len(PIECES) + 2)), canvas)
        chance = float(values[np.arange(end + 1 if end < canvas else canvas), call[: end + 1]].sum())
        if fill:
            chance += float(values[end + 1 :, list(automaton.pads)].max(axis=1, initial=-np.inf).sum())
        chances[call] = np.exp(chance)
    total = sum(chances.values())
    best = best_path(values, automaton, **options)
    found = marginals(values, automaton, best.tokens, **options)
    path, beside = path_and_marginals(values, automaton, **options)
    assert path.tokens.tolist() == best.tokens.tolist() and beside.tolist() == found.tolist()
    for place, token in enumerate(best.tokens):
        share = sum(chance for call, chance in chances.items() if call[place] == token) / total
        assert found[place] == pytest.approx(share, rel=1e-4, abs=1e-9)
    # What is committed counts as certain, and the rest as it is then.
    place = seed % canvas
    fixed = [int(token) if n == place else None for n, token in enumerate(best.tokens)]
    kept = {call: chance for call, chance in chances.items() if call[place] == best.tokens[place]}
    found = marginals(values, automaton, best.tokens, fixed, **options)
    for n, token in enumerate(best.tokens):
        share = sum(chance for call, chance in kept.items() if call[n] == token) / sum(kept.values())
        assert found[n] == pytest.approx(share, rel=1e-4, abs=1e-9)


def test_what_no_call_can_have_takes_nothing_away() -> None:
    """The model is sure of a word where only a number can stand: the number is certain."""
    automaton = automaton_of({"properties": {"a": {"const": 1}}, "required": ["a"]})
    values = logs(1, 6, 1.0)
    values[3] = -20.0
    values[3, PIECES.index(b"true")] = 0.0
    best = best_path(values, automaton)
    assert best.tokens[3] == PIECES.index(b"1")
    assert marginals(values, automaton, best.tokens)[:5] == pytest.approx([1, 1, 1, 1, 1])


def test_words_that_the_model_rules_out_do_not_break_it() -> None:
    automaton = automaton_of(SCHEMAS[0])
    values = logs(1, 6, 1.0)
    values[:, :] = -np.inf
    values[:, 0] = 0.0
    best = best_path(values, automaton)
    found = marginals(values, automaton, best.tokens)
    assert np.isfinite(found).all() and (found >= 0).all() and found[0] == pytest.approx(1.0)


def test_what_is_committed_behind_unlikely_ways_is_certain() -> None:
    """Ways that differ by more than a double holds: the number that is left counts in full."""
    pieces = [b'{"a":', b'" ', *[bytes([letter]) for letter in b"abcdefgh123"], b'"', b"}"]
    words = TokenVocabulary([*pieces, None, None], len(pieces), None, (len(pieces) + 1,))
    part = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    automaton = words.compile({"type": "object", "properties": {"a": part}, "required": ["a"]})
    values = np.full((15, words.size), -3.0, dtype=np.float32)
    values[:, [pieces.index(digit) for digit in (b"1", b"2", b"3")]] = -1000.0, -1001.0, -2000.0
    fixed = [*[None] * 12, pieces.index(b"2"), pieces.index(b"}"), words.end]
    path, found = path_and_marginals(values, automaton, fixed)
    assert path.tokens[1:12].tolist() == [pieces.index(b"1")] * 11
    assert found[0] == pytest.approx(1.0)
    assert found[1:12] == pytest.approx(np.full(11, 1 / (1 + np.exp(-1.0))))


def test_an_automaton_that_is_too_large_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens_module, "MOST_EDGES", 3)
    automaton = automaton_of(SCHEMAS[0])
    assert not automaton.exact
    (line,) = caplog.messages
    assert f"{len(automaton.source)} edges" in line and "best path is exact" in line
    values = logs(1, 6, 1.0)
    path, found = path_and_marginals(values, automaton, [0, *[None] * 5])
    assert found[0] == 1.0
    assert found[1:] == pytest.approx(np.exp(values[np.arange(1, 6), path.tokens[1:]]), rel=1e-5)
    with pytest.raises(Infeasible):
        marginals(values, automaton, path.tokens, [5, *[None] * 5])


def test_bad_input_is_named() -> None:
    automaton = automaton_of(SCHEMAS[0])
    values = logs(1, 6, 1.0)
    tokens = np.zeros(6, np.int64)
    with pytest.raises(Infeasible):
        marginals(values, automaton, tokens, [5, *[None] * 5])
    values[2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        marginals(values, automaton, tokens)
    for shape in product((1, 6), (3,)):
        with pytest.raises(ValueError, match="shape"):
            marginals(np.zeros(shape, np.float32), automaton, tokens)
