r"""A JSON schema's `pattern` -> regular expression over the bytes of a JSON string.

The subset of ECMA-262 regular expressions (JSON Schema 2020-12, Validation, 6.3.3) that says which characters
may follow each other: literals, ``.``, classes and negated classes, ``\d \w \s \D \W \S``, groups, ``|``,
``* + ? {m} {m,} {m,n}`` (lazy ones as well: the language is the same), ``^`` and ``$`` at the ends. Without
these two it is a search: any text may stand around it. Look-around, names of groups, backreferences, word
boundaries and properties of characters are refused.

What is written matches as ECMA and as Python read the pattern: ``\d``, ``\w`` and ``\s`` are ASCII, and so is
what ``\D``, ``\W``, ``\S`` take, and a negated class that holds one of the six.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .automaton import ByteAutomaton, Fragment, determinise, either, mask_of, one_of, repeat, sequence, text

Ranges = list[tuple[int, int]]
MOST_TIMES = 1000
"""The most that a count in braces may be."""
_LAST = 0x10FFFF
_ASCII: Ranges = [(0, 0x7F)]
_SETS: dict[str, Ranges] = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [(0x09, 0x0D), (0x20, 0x20)],
}
_LINE_ENDS: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0}
_ESCAPED = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}
_PUNCTUATION = frozenset("^$\\.*+?()[]{}|/-\"'`!@#%&=<>:;,~_ ")


class PatternError(ValueError):
    """A pattern outside the subset, or one that no text matches; the message says what and where."""


def pattern_automaton(pattern: object, max_states: int = 20_000) -> ByteAutomaton:
    """The quoted JSON strings whose text matches. Raises PatternError, TooManyStates."""
    if not isinstance(pattern, str):
        raise PatternError(f"{pattern!r} is no regular expression")
    found = determinise(sequence(text('"'), _Parser(pattern).whole(), text('"')), max_states)
    if not found.accepting.any():
        raise PatternError(f"no text that can be written matches {pattern!r}")
    return found


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All other code points."""
    found, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    return [*found, (begin, _LAST)] if begin <= _LAST else found


def characters(ranges: Iterable[tuple[int, int]]) -> Fragment:
    """One character of these code points as JSON writes it: plain UTF-8, or with a backslash.

    Of the control characters only those that have a short escape are ever written.
    """
    plain = escaped = 0
    options: list[Fragment] = []
    for low, high in ranges:
        for code in range(low, min(high, 0x7F) + 1):
            if code in _ESCAPED:
                escaped |= mask_of(ord(_ESCAPED[code]))
            elif code >= 0x20:
                plain |= mask_of(code)
        for begin, end in ((max(low, 0x80), min(high, 0xD7FF)), (max(low, 0xE000), high)):
            if begin <= end:
                options += [
                    sequence(*(one_of(mask_of(part)) for part in parts)) for parts in utf8(begin, end)
                ]
    if plain:
        options.append(one_of(plain))
    if escaped:
        options.append(sequence(text("\\"), one_of(escaped)))
    return either(*options)


def utf8(low: int, high: int) -> Iterator[list[tuple[int, int]]]:
    """Sequences of byte ranges that together are the code points from low to high (no surrogates)."""
    for most in (0x7F, 0x7FF, 0xFFFF):
        if low <= most < high:
            yield from utf8(low, most)
            yield from utf8(most + 1, high)
            return
    for bits in (6, 12, 18):
        rest = (1 << bits) - 1
        if high > 0x7F and low & ~rest != high & ~rest:
            if low & rest:
                yield from utf8(low, low | rest)
                yield from utf8((low | rest) + 1, high)
                return
            if high & rest != rest:
                yield from utf8(low, (high & ~rest) - 1)
                yield from utf8(high & ~rest, high)
                return
    yield list(zip(chr(low).encode(), chr(high).encode(), strict=True))


_ANYTHING = repeat(characters([(0, _LAST)]), 0, None)


class _Parser:
    """Recursive descent over the pattern's characters."""

    def __init__(self, pattern: str) -> None:
        self._text, self._at = pattern, 0

    def _wrong(self, problem: str) -> PatternError:
        return PatternError(f"{problem} at character {self._at} of {self._text!r}")

    def _peek(self, ahead: str) -> bool:
        return self._text.startswith(ahead, self._at)

    def _take(self, expected: str) -> bool:
        found = self._peek(expected)
        self._at += len(expected) * found
        return found

    def _next(self) -> str:
        if self._at == len(self._text):
            raise self._wrong("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def whole(self) -> Fragment:
        """The pattern as a search: anchors at the ends of its outermost alternatives."""
        options = []
        while True:
            before = [] if self._take("^") else [_ANYTHING]
            part = self._sequence()
            options.append(sequence(*before, part, *([] if self._take("$") else [_ANYTHING])))
            if self._at == len(self._text):
                return either(*options)
            if not self._take("|"):
                raise self._wrong("a bracket too many" if self._peek(")") else "an anchor that is at no end")

    def _group(self) -> Fragment:
        if self._peek("?") and not self._take("?:"):
            raise self._wrong("look-around, flags and names of groups are not supported:")
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        if not self._take(")"):
            raise self._wrong("an anchor inside a group, or a bracket that is not closed,")
        return either(*options)

    def _sequence(self) -> Fragment:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)^$":
            parts.append(self._repeated(self._atom()))
        return sequence(*parts)

    def _repeated(self, part: Fragment) -> Fragment:
        low: int
        high: int | None
        if self._take("{"):
            low, high = self._counts()
        elif self._take("*"):
            low, high = 0, None
        elif self._take("+"):
            low, high = 1, None
        elif self._take("?"):
            low, high = 0, 1
        else:
            return part
        self._take("?")  # lazy: the language is the same
        if self._at < len(self._text) and self._text[self._at] in "*+?{":
            raise self._wrong("nothing to repeat")
        return repeat(part, low, high)

    def _counts(self) -> tuple[int, int | None]:
        low = self._number()
        high: int | None = low
        if self._take(","):
            high = None if self._peek("}") else self._number()
        if not self._take("}"):
            raise self._wrong("a count in braces has another form than {m}, {m,} or {m,n}")
        if high is not None and high < low:
            raise self._wrong("a count in braces ends before it begins")
        return low, high

    def _number(self) -> int:
        begin = self._at
        while self._at < len(self._text) and self._text[self._at] in "0123456789":
            self._at += 1
        digits = self._text[begin : self._at]
        if not digits or len(digits) > 4 or int(digits) > MOST_TIMES:
            raise self._wrong(f"a count in braces is no number up to {MOST_TIMES}")
        return int(digits)

    def _atom(self) -> Fragment:
        sign = self._next()
        if sign == "(":
            return self._group()
        if sign == "[":
            return characters(self._class())
        if sign == ".":
            return characters(complement(_LINE_ENDS))
        if sign == "\\":
            return characters(self._escape()[0])
        if sign in "*+?{":
            self._at -= 1
            raise self._wrong(f"nothing to repeat (write \\{sign} for the character)")
        return characters([(ord(sign), ord(sign))])

    def _escape(self, in_class: bool = False) -> tuple[Ranges, bool]:
        """The code points behind a backslash, and whether they are one of the six sets."""
        sign = self._next()
        if sign.lower() in _SETS:
            inside = _SETS[sign.lower()]
            return (inside if sign.islower() else _within_ascii(complement(inside))), True
        if sign == "0" and self._text[self._at : self._at + 1].isdigit():
            raise self._wrong("an octal escape")
        if sign in _CONTROLS:
            code = _CONTROLS[sign]
        elif sign == "b" and in_class:
            code = 0x08
        elif sign in ("x", "u"):
            code = self._code(2 if sign == "x" else 4)
        elif sign in _PUNCTUATION:
            code = ord(sign)
        else:
            self._at -= 2
            raise self._wrong(f"\\{sign} (word boundaries, backreferences, properties) is not supported:")
        return [(code, code)], False

    def _code(self, digits: int) -> int:
        if digits == 4 and self._take("{"):
            raise self._wrong("\\u{...} is not supported: write the character itself")
        found = self._text[self._at : self._at + digits]
        if len(found) < digits or any(digit not in "0123456789abcdefABCDEF" for digit in found):
            raise self._wrong("an escape lacks hexadecimal digits")
        self._at += digits
        code = int(found, 16)
        if 0xD800 <= code <= 0xDFFF:
            raise self._wrong("half of a surrogate pair: write the character itself")
        return code

    def _class(self) -> Ranges:
        negated = self._take("^")
        found: Ranges = []
        sets = False
        if self._peek("]"):
            raise self._wrong("an empty class")
        while not self._take("]"):
            part, is_set = self._member()
            sets |= is_set
            if self._peek("-") and not self._peek("-]"):
                self._take("-")
                last, last_is_set = self._member()
                if is_set or last_is_set or last[0][0] < part[0][0]:
                    raise self._wrong("a range in a class has no two ends in order")
                part = [(part[0][0], last[0][0])]
            found += part
        if not negated:
            return found
        return _within_ascii(complement(found)) if sets else complement(found)

    def _member(self) -> tuple[Ranges, bool]:
        sign = self._next()
        if sign == "\\":
            return self._escape(in_class=True)
        return [(ord(sign), ord(sign))], False


def _within_ascii(ranges: Ranges) -> Ranges:
    return [(low, min(high, _ASCII[0][1])) for low, high in ranges if low <= _ASCII[0][1]]
