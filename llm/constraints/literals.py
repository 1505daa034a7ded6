"""JSON scalars as regular expressions over bytes: strings, numbers, dates, times, constants."""

from __future__ import annotations

from typing import Any

from .automaton import Fragment, either, mask_of, one_of, repeat, sequence, text
from .call_text import compact_json

DIGIT = one_of(mask_of((0x30, 0x39)))
MOST_DIGITS = 15
"""Digits of an integer: every one of them survives a double."""
FRACTION_DIGITS = 10

_CONTINUATION = one_of(mask_of((0x80, 0xBF)))
_PLAIN = mask_of((0x20, 0x7F)) & ~mask_of(0x22, 0x5C)
# Well-formed UTF-8, table 3-7 of the Unicode standard: no overlong forms, no surrogates.
MULTIBYTE = either(
    sequence(one_of(mask_of((0xC2, 0xDF))), _CONTINUATION),
    sequence(text(b"\xe0"), one_of(mask_of((0xA0, 0xBF))), _CONTINUATION),
    sequence(one_of(mask_of((0xE1, 0xEC), (0xEE, 0xEF))), _CONTINUATION, _CONTINUATION),
    sequence(text(b"\xed"), one_of(mask_of((0x80, 0x9F))), _CONTINUATION),
    sequence(text(b"\xf0"), one_of(mask_of((0x90, 0xBF))), _CONTINUATION, _CONTINUATION),
    sequence(one_of(mask_of((0xF1, 0xF3))), _CONTINUATION, _CONTINUATION, _CONTINUATION),
    sequence(text(b"\xf4"), one_of(mask_of((0x80, 0x8F))), _CONTINUATION, _CONTINUATION),
)
_ESCAPE = sequence(text("\\"), one_of(mask_of(*b'"\\bfnrt')))
CHARACTER = either(one_of(_PLAIN), _ESCAPE, MULTIBYTE)
_FIRST = either(one_of(_PLAIN & ~mask_of(0x20)), _ESCAPE, MULTIBYTE)


def string(low: int = 1, high: int | None = None) -> Fragment:
    """A quoted string of `low` to `high` characters behind the space that opens every free text.

    Its own text does not begin with another space. Without `high` it is a loop, which only the canvas bounds:
    a counter would copy the states a length.
    """
    return sequence(text('" '), _characters(low, high), text('"'))


def member_name() -> Fragment:
    """The quoted name of an object's member, where any is allowed."""
    return sequence(text('"'), _characters(1, None), text('"'))


def _characters(low: int, high: int | None) -> Fragment:
    if high == 0:
        return text("")
    rest = None if high is None else high - 1
    filled = sequence(_FIRST, repeat(CHARACTER, max(low - 1, 0), rest))
    return filled if low > 0 else repeat(filled, 0, 1)


def constant(value: Any) -> Fragment:
    """One JSON value in its canonical text."""
    return text(compact_json(value))


BOOLEAN = either(text("true"), text("false"))
NULL = text("null")


def integer(low: int | None = None, high: int | None = None) -> Fragment:
    """A whole number within inclusive bounds, at most MOST_DIGITS digits where a bound is missing.

    Raises ValueError if there is none.
    """
    low, high = _bounds(low, high)
    options: list[Fragment] = []
    if low <= 0 <= high:
        options.append(text("0"))
    if high > 0:
        options.append(_natural(max(low, 1), high))
    if low < 0:
        options.append(sequence(text("-"), _natural(max(-high, 1), -low)))
    return either(*options)


def number(low: int | None = None, high: int | None = None) -> Fragment:
    """An integer or a decimal fraction without exponent, within inclusive whole bounds. Raises ValueError."""
    low, high = _bounds(low, high)
    fraction = sequence(text("."), repeat(DIGIT, 1, FRACTION_DIGITS))
    # n.f lies between n and n + 1, so with whole bounds it is inside exactly when both are.
    options = [integer(low, high)]
    if high > 0 and high - 1 >= max(low, 0):
        options.append(sequence(integer(max(low, 0), high - 1), fraction))
    if low < 0 and -low - 1 >= max(-high, 0):
        options.append(sequence(text("-"), integer(max(-high, 0), -low - 1), fraction))
    return either(*options)


def any_number() -> Fragment:
    """A number of any length: few states, for values whose type is free."""
    whole = either(text("0"), sequence(one_of(mask_of((0x31, 0x39))), repeat(DIGIT, 0, None)))
    fraction = sequence(text("."), DIGIT, repeat(DIGIT, 0, None))
    return sequence(repeat(text("-"), 0, 1), whole, repeat(fraction, 0, 1))


def _bounds(low: int | None, high: int | None) -> tuple[int, int]:
    widest = 10**MOST_DIGITS - 1
    if low is None:
        low = -widest if high is None or high >= -widest else high * 10
    if high is None:
        high = widest if low <= widest else low * 10
    if low > high:
        raise ValueError(f"no number is at least {low} and at most {high}")
    return low, high


def _natural(low: int, high: int) -> Fragment:
    """A positive integer, 1 <= low <= number <= high."""
    if low == 1 and set(str(high)) == {"9"}:
        return sequence(one_of(mask_of((0x31, 0x39))), repeat(DIGIT, 0, len(str(high)) - 1))
    options: list[Fragment] = []
    for length in range(len(str(low)), len(str(high)) + 1):
        smallest = max(low, 10 ** (length - 1))
        largest = min(high, 10**length - 1)
        options.append(_digits(str(smallest), str(largest)))
    return either(*options)


def _digits(low: str, high: str) -> Fragment:
    """Digit strings between two of the same length."""
    if set(low) <= {"0"} and set(high) <= {"9"}:
        return repeat(DIGIT, len(low), len(low))
    first, last = int(low[0]), int(high[0])
    if first == last:
        return sequence(text(low[0]), _digits(low[1:], high[1:]))
    rest = len(low) - 1
    options = [
        sequence(text(low[0]), _digits(low[1:], "9" * rest)),
        sequence(text(high[0]), _digits("0" * rest, high[1:])),
    ]
    if last - first > 1:
        between = one_of(mask_of((0x30 + first + 1, 0x30 + last - 1)))
        options.append(sequence(between, repeat(DIGIT, rest, rest)))
    return either(*options)


def _two(low: int, high: int) -> Fragment:
    return _digits(f"{low:02d}", f"{high:02d}")


def _day() -> Fragment:
    """A day that exists, 1900 to 2099, as YYYY-MM-DD."""
    year = sequence(either(text("19"), text("20")), DIGIT, DIGIT)
    fours = either(*(text(f"{last:02d}") for last in range(4, 100, 4)))
    leap = either(sequence(text("19"), fours), sequence(text("20"), either(text("00"), fours)))
    long = either(*(text(month) for month in ("01", "03", "05", "07", "08", "10", "12")))
    short = either(*(text(month) for month in ("04", "06", "09", "11")))
    return either(
        sequence(year, text("-"), long, text("-"), _two(1, 31)),
        sequence(year, text("-"), short, text("-"), _two(1, 30)),
        sequence(year, text("-02-"), _two(1, 28)),
        sequence(leap, text("-02-29")),
    )


def _clock() -> Fragment:
    """HH:MM or HH:MM:SS."""
    seconds = sequence(text(":"), _two(0, 59))
    return sequence(_two(0, 23), text(":"), _two(0, 59), repeat(seconds, 0, 1))


def quoted(content: Fragment) -> Fragment:
    """A string of this text, without the space of free text."""
    return sequence(text('"'), content, text('"'))


def _uuid() -> Fragment:
    digit = one_of(mask_of((0x30, 0x39), (0x61, 0x66)))
    parts = [repeat(digit, length, length) for length in (8, 4, 4, 4, 12)]
    return sequence(parts[0], *(piece for part in parts[1:] for piece in (text("-"), part)))


def _email() -> Fragment:
    word = one_of(mask_of((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)))
    inner = one_of(mask_of((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A), *b"_-"))
    local = sequence(
        word,
        repeat(inner, 0, None),
        repeat(sequence(one_of(mask_of(*b".+")), word, repeat(inner, 0, None)), 0, None),
    )
    label = sequence(word, repeat(sequence(repeat(text("-"), 0, 1), word), 0, None))
    letter = one_of(mask_of((0x41, 0x5A), (0x61, 0x7A)))
    top = sequence(letter, letter, repeat(letter, 0, None))
    return sequence(local, text("@"), repeat(sequence(label, text(".")), 1, None), top)


FORMATS: dict[str, Fragment] = {
    "date": quoted(_day()),
    "time": quoted(_clock()),
    "date-time": quoted(sequence(_day(), text("T"), _clock())),
    "uuid": quoted(_uuid()),
    "email": quoted(_email()),
}
"""How each of `PLAIN_FORMATS` is written."""
