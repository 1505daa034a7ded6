"""JSON schemas of strings and numbers -> regular expressions over bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .automaton import Fragment, determinise, mask_of, one_of, repeat, sequence, text
from .literals import CHARACTER, FORMATS, integer, number, quoted, string
from .patterns import PatternError, pattern_automaton
from .place import Place, bounds, kinds_of
from .products import complement, intersection, part
from .spans import KEYWORD

WIDEST = 10**30
"""A bound of a number beyond this, either way, is none."""

_NO_SPACE = complement(determinise(sequence(text('" '), repeat(one_of(mask_of((0, 255))), 0, None))))


def text_value(schema: Mapping[str, Any], place: Place) -> Fragment:
    """A string: in a format, with a pattern, or free text of some length. Raises UnsupportedSchema."""
    if schema.get(KEYWORD, False) is not False:
        return _spoken(schema, place)
    form = schema.get("format")
    if form is not None:
        if not isinstance(form, str) or form not in FORMATS:
            raise place.wrong(
                f"format {form!r} is not supported", f"use one of {', '.join(FORMATS)} or leave it out"
            )
        if {"minLength", "maxLength", "pattern"} & set(schema):
            raise place.wrong(f"a length or a pattern beside format {form!r}", "leave one of them out")
        return FORMATS[form]
    if "pattern" in schema:
        return _matching(schema, place)
    low, high = bounds(schema, "minLength", "maxLength", 1, place.limits.counted_characters, place)
    return string(low, high)


def _spoken(schema: Mapping[str, Any], place: Place) -> Fragment:
    """A stretch of the conversation; free text where nothing was said yet."""
    if schema[KEYWORD] is not True:
        raise place.wrong(f"{KEYWORD} is {schema[KEYWORD]!r}", "use true or false")
    if beside := {"pattern", "format"} & schema.keys():
        raise place.wrong(f"{', '.join(sorted(beside))} beside {KEYWORD}", "leave one of them out")
    low, high = bounds(schema, "minLength", "maxLength", 1, place.limits.counted_characters, place)
    spans = place.spans()
    if spans is not None and {"minLength", "maxLength"} & schema.keys():
        counted = determinise(string(low, high), place.limits.max_states)
        spans = intersection(spans, counted, place.limits.max_states)
    # Words that are all too short or too long are none.
    return string(low, high) if spans is None or not spans.accepting.any() else part(spans)


def _matching(schema: Mapping[str, Any], place: Place) -> Fragment:
    """A string that matches a pattern, without the space of free text; of any length if there is no bound."""
    try:
        language = pattern_automaton(schema["pattern"], place.limits.max_states)
        if place.among:
            language = intersection(language, _NO_SPACE, place.limits.max_states)
        if {"minLength", "maxLength"} & set(schema):
            low, high = bounds(schema, "minLength", "maxLength", 0, place.limits.counted_characters, place)
            counted = determinise(quoted(repeat(CHARACTER, low, high)), place.limits.max_states)
            language = intersection(language, counted, place.limits.max_states)
        if not language.accepting.any():
            begin = " that does not begin with a space" if place.among else ""
            raise PatternError(f"no text of that length{begin} matches {schema['pattern']!r}")
    except PatternError as error:
        raise place.wrong(
            f"pattern: {error}", "use a simpler one, or enum, or check it in the tool"
        ) from None
    return part(language)


def numeric_value(schema: Mapping[str, Any], place: Place) -> Fragment:
    """An integer or a number within bounds. Raises UnsupportedSchema."""
    whole = schema.get("type") == "integer" or "number" not in kinds_of(schema, place)
    low: int | None = None
    high: int | None = None
    for keyword, value in schema.items():
        if keyword not in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            continue
        endless = isinstance(value, float) and not math.isfinite(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or endless:
            raise place.wrong(f"{keyword} is {value!r}", "use a number")
        lowest = keyword.lower().endswith("minimum")
        if abs(value) > WIDEST:
            if (value > 0) is lowest:
                raise place.wrong(f"{keyword} is beyond all numbers that can be said", "use a smaller one")
            continue
        exclusive = keyword.startswith("exclusive")
        if not whole and value != int(value):
            raise place.wrong(
                f"{keyword} of a number is {value!r}", "use a whole bound and check the rest in the tool"
            )
        if not whole and exclusive:
            raise place.wrong(f"{keyword} of a number is not supported", "use minimum or maximum")
        if lowest:
            bound = math.floor(value) + 1 if exclusive else math.ceil(value)
            low = bound if low is None else max(low, bound)
        else:
            bound = math.ceil(value) - 1 if exclusive else math.floor(value)
            high = bound if high is None else min(high, bound)
    try:
        return integer(low, high) if whole else number(low, high)
    except ValueError as error:
        raise place.wrong(str(error), "correct the bounds") from None
