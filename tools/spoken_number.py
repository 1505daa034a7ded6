"""Numbers as people say them and as speech recognisers write them."""

from __future__ import annotations

import re


def _numbered(first: int, words: str) -> dict[str, int]:
    return {word: value for value, word in enumerate(words.split(), start=first)}


UNITS = _numbered(
    0, "zero one two three four five six seven eight nine ten eleven twelve thirteen"
) | _numbered(14, "fourteen fifteen sixteen seventeen eighteen nineteen")
_DECADES = _numbered(2, "twenty thirty forty fifty sixty seventy eighty ninety")
TENS = {word: value * 10 for word, value in _DECADES.items()} | {"fourty": 40}
_ORDINAL_UNITS = _numbered(
    1, "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
) | _numbered(14, "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth")
_ORDINAL_TENS = {"twentieth": 20, "thirtieth": 30}
# What a recogniser writes where digits were read out one by one.
_HOMOPHONES = {"oh": "0", "o": "0", "won": "1", "to": "2", "too": "2", "for": "4", "fore": "4", "ate": "8"}
_REPEATS = {"double": 2, "triple": 3}


_SCALED = re.compile(r"\b(\d+|a) (thousand|hundred)\b(?: (?:and )?(\d+|a) (hundred))?(?: (?:and )?(\d+))?")


class SpokenNumberError(ValueError):
    """The words are no number; the message can be read to the caller."""


def fold_numbers(text: str) -> str:
    """Lower the case, number words as digits: "Seven Thirty-Five" -> "7 35", "twenty first" -> "21st".

    A spoken zero before a digit joins it ("seven oh five" -> "7 05").
    """
    words = re.sub(r"(?<=[a-z])-(?=[a-z0-9])", " ", text.lower().replace("’", "'")).split()
    folded: list[str] = []
    index = 0
    while index < len(words):
        word = words[index].strip(",;!?")
        follower = words[index + 1].strip(",;!?.") if index + 1 < len(words) else ""
        bare = word.strip(".")
        if bare in TENS and 1 <= UNITS.get(follower, 0) <= 9:
            folded.append(str(TENS[bare] + UNITS[follower]))
            index += 2
        elif bare in TENS and 1 <= _ORDINAL_UNITS.get(follower, 0) <= 9:
            folded.append(ordinal(TENS[bare] + _ORDINAL_UNITS[follower]))
            index += 2
        elif bare in ("oh", "o", "zero") and (follower in UNITS or re.fullmatch(r"\d", follower)):
            folded.append(f"0{UNITS.get(follower, follower)}")
            index += 2
        else:
            folded.append(_fold_word(word, bare))
            index += 1
    return " ".join(folded)


def _fold_word(word: str, bare: str) -> str:
    if bare in UNITS or bare in TENS:
        return str(UNITS[bare] if bare in UNITS else TENS[bare])
    if bare in _ORDINAL_UNITS or bare in _ORDINAL_TENS:
        return ordinal(_ORDINAL_UNITS[bare] if bare in _ORDINAL_UNITS else _ORDINAL_TENS[bare])
    return word


def ordinal(value: int) -> str:
    """1 -> "1st", 22 -> "22nd", 13 -> "13th"."""
    suffix = "th" if 10 <= value % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{suffix}"


def resolve_digits(text: str, length: int = 4) -> str:
    """A number that is read digit by digit or in groups, as `length` digits.

    "four eight two one", "48 21", "4-8-2-1", "forty eight twenty one", "number 4,821", "double four two one".

    Raises:
        SpokenNumberError: there are more or fewer digits.
    """
    digits = ""
    repeat = 1
    words = fold_numbers(text.replace("-", " ").replace(",", "").replace("#", " "))
    words = re.sub(r"(?<=\d)o\b|\bo(?=\d)", "0", words)  # "868o"
    thousands = re.search(r"(\d+) thousand(?: (?:and )?(\d) hundred)?(?: (?:and )?(\d+))?\b", words)
    if thousands:
        value = int(thousands[1]) * 1000 + int(thousands[2] or 0) * 100 + int(thousands[3] or 0)
        digits = str(value)
    elif hundreds := re.search(r"\b(\d\d) hundred(?: (?:and )?(\d+))?\b", words):
        digits = str(int(hundreds[1]) * 100 + int(hundreds[2] or 0))
    else:
        parts = [part.strip(".") for part in words.split()]
        first = next((at for at, part in enumerate(parts) if part.isdigit() or part in _REPEATS), len(parts))
        while first and parts[first - 1] in ("oh", "o", "won"):
            first -= 1
        for part in parts[first:]:
            if part in _REPEATS:
                repeat = _REPEATS[part]
                continue
            found = re.sub(r"\D", "", part) or _HOMOPHONES.get(part, "")
            digits += found * repeat if len(found) == 1 else found
            repeat = 1
        if len(digits) < length and (before := [_HOMOPHONES[p] for p in parts[:first] if p in _HOMOPHONES]):
            # "to one four three": a homophone in front counts only where a digit is missing.
            digits = "".join(before)[-(length - len(digits)) :] + digits
    if len(digits) != length or not digits.isdigit():
        raise SpokenNumberError(f"I need a number of {length} digits, not '{_shorten(text)}'.")
    return digits


def resolve_number(text: str | int) -> int:
    """A count as said or written: "four", "for 4", "twenty one", "a couple", "one hundred and five".

    Digits read one by one make one number ("four eight two one" -> 4821).

    Raises:
        SpokenNumberError: no number in the text.
    """
    if isinstance(text, int):
        return text
    words = fold_numbers(re.sub(r"(?<=\d)[,-](?=\d)", "", text))
    if scaled := _SCALED.search(words):
        return (
            _one(scaled[1]) * (1000 if scaled[2] == "thousand" else 100)
            + (_one(scaled[3]) * 100 if scaled[3] else 0)
            + int(scaled[5] or 0)
        )
    found = re.findall(r"\d+", words)
    if len(found) == 1:
        return int(found[0])
    if found:
        joined = re.search(r"\d+(?:\s+\d+)+", words)
        # Several numbers apart from each other: the last is what a caller means ("three, no, four").
        return int(re.sub(r"\s", "", joined[0])) if joined else int(found[-1])
    if re.search(r"\b(couple|both|pair)\b", words):
        return 2
    if "dozen" in words:
        return 12
    if re.search(r"\b(single|just me|only me|myself|alone|a night|a person)\b", words):
        return 1
    if words.strip(" .") in _HOMOPHONES:
        return int(_HOMOPHONES[words.strip(" .")])
    raise SpokenNumberError(f"I could not tell which number '{_shorten(text)}' is.")


def _one(text: str) -> int:
    return 1 if text == "a" else int(text)


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."
