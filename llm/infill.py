"""A reply of which some is given: the gaps of a template are filled in, the rest stays as it is.

"Your table is at {time} for {people}": the template is a language, of which the most probable text is
written on a canvas (as a call is). A gap may be longer or shorter; the text around it moves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stretto.llm.cache import KVCache
from stretto.llm.constraints.automaton import Fragment, determinise, either, mask_of, one_of, repeat, sequence
from stretto.llm.constraints.automaton import text as exactly
from stretto.llm.constraints.literals import MULTIBYTE
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.constraints.tokens import TokenAutomaton, TokenVocabulary, shortest
from stretto.llm.denoise import Pass, denoised, write_call
from stretto.llm.engine import Job
from stretto.llm.samplers import Sampler
from stretto.llm.writing import CALL_CANVAS

LONGEST_INFILL = 128
"""Tokens of a reply with its gaps."""
_SEEN = either(one_of(mask_of((0x21, 0x7E))), MULTIBYTE)


@dataclass(frozen=True)
class Gap:
    """One of `options`, or any words: at least one character, at most `longest`, spaces not counted."""

    name: str
    options: tuple[str, ...] = ()
    longest: int = 40


@dataclass(frozen=True)
class Infilled:
    """The whole text, what stands in each gap, and the forwards that it took."""

    text: str
    values: dict[str, str]
    forwards: int


def compiled(vocabulary: TokenVocabulary, template: tuple[str | Gap, ...]) -> TokenAutomaton:
    """The language of a template. Raises ValueError for one without a gap, or that is too long."""
    names = [part.name for part in template if isinstance(part, Gap)]
    if not names or len(set(names)) < len(names):
        raise ValueError("a template has one gap or more, each with a name of its own")
    if any(isinstance(a, Gap) and isinstance(b, Gap) for a, b in pairwise(template)):
        raise ValueError("two gaps stand side by side; give the words between them")
    parts = [_fragment(part) for part in template]
    automaton = vocabulary.automaton(determinise(sequence(exactly(" "), *parts)), False)
    if (least := shortest(automaton)) > LONGEST_INFILL:
        raise UnsupportedSchema("", f"the template takes {least} tokens", f"at most {LONGEST_INFILL} fit")
    return automaton


def _fragment(part: str | Gap) -> Fragment:
    if isinstance(part, str):
        return exactly(part)
    if part.options:
        return either(*map(exactly, part.options))
    between = repeat(sequence(repeat(exactly(" "), 0, 1), _SEEN), 0, part.longest - 1)
    return sequence(_SEEN, between)


def infilling(
    cache: KVCache, ids: list[int], automaton: TokenAutomaton, sampler: Sampler
) -> Job[tuple[list[int], int]]:
    """The tokens of the reply behind `ids`, and the forwards that they took."""
    written: list[int] = []
    passes: list[Pass] = []
    state, left = 0, LONGEST_INFILL
    while not automaton.is_final(state):
        size = min(CALL_CANVAS, left)
        left -= size
        steps = write_call(size, sampler, automaton, state, left)
        step = yield from denoised(cache, ids + written, steps, passes.append)
        written += step.canvas[: step.length]
        assert step.state is not None
        state = step.state
    return written, len(passes)


def infilled(text: str, template: Sequence[str | Gap], forwards: int) -> Infilled:
    """What stands in the gaps of a written template; where that is open, as little as may be in the first."""
    parts = (re.escape(p) if isinstance(p, str) else f"({_pattern(p)})" for p in template)
    found = re.fullmatch("".join(parts).strip(), text.strip(), re.DOTALL)
    assert found is not None, f"{text!r} does not fit the template"
    names = [part.name for part in template if isinstance(part, Gap)]
    return Infilled(text, dict(zip(names, found.groups(), strict=True)), forwards)


def _pattern(gap: Gap) -> str:
    return "|".join(map(re.escape, gap.options)) if gap.options else ".+?"
