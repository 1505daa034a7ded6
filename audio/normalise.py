"""Written text as people say it: numbers, times, prices, dates, telephone numbers, addresses, codes.

Every spoken word keeps the span of the source text that it stands for, so that what was heard can be cut out
of the source. English only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from stretto.audio import numerals

Spoken = tuple[str, int, int]
"""A spoken word, and the start and end of its source in the text."""
_Part = tuple[Sequence[str], int, int]

_MONTH = {name[:3].lower(): name for name in numerals.MONTHS}
_MONTH_RE = (
    r"(?P<month>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    r"Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_DAYS = {
    "mon": "Monday", "tue": "Tuesday", "tues": "Tuesday", "wed": "Wednesday", "thu": "Thursday",
    "thur": "Thursday", "thurs": "Thursday", "fri": "Friday", "sat": "Saturday", "sun": "Sunday",
}  # fmt: skip
_TITLES = {
    "mr": "Mister", "mrs": "Missus", "ms": "Miz", "prof": "Professor", "ave": "Avenue", "rd": "Road",
    "blvd": "Boulevard", "apt": "apartment", "vs": "versus", "etc": "et cetera", "e.g": "for example",
    "i.e": "that is", "approx": "approximately", "dept": "department", "tel": "telephone", "sq": "square",
}  # fmt: skip
_UNITS = {
    "km": ("kilometre", "kilometres"), "m": ("metre", "metres"), "cm": ("centimetre", "centimetres"),
    "mm": ("millimetre", "millimetres"), "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"),
    "min": ("minute", "minutes"), "mins": ("minute", "minutes"), "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"), "h": ("hour", "hours"), "sec": ("second", "seconds"),
    "secs": ("second", "seconds"), "s": ("second", "seconds"), "ms": ("millisecond", "milliseconds"),
    "ft": ("foot", "feet"), "mi": ("mile", "miles"), "mph": ("mile an hour", "miles an hour"),
    "km/h": ("kilometre an hour", "kilometres an hour"), "gb": ("gigabyte", "gigabytes"),
    "mb": ("megabyte", "megabytes"), "l": ("litre", "litres"), "ml": ("millilitre", "millilitres"),
    "%": ("percent", "percent"), "°c": ("degree Celsius", "degrees Celsius"),
    "°f": ("degree Fahrenheit", "degrees Fahrenheit"), "°": ("degree", "degrees"),
}  # fmt: skip
_FRACTIONS = {
    "1/2": "one half",
    "1/3": "one third",
    "2/3": "two thirds",
    "1/4": "a quarter",
    "3/4": "three quarters",
}
_SYMBOLS = {
    "&": "and",
    "+": "plus",
    "=": "equals",
    "%": "percent",
    "@": "at",
    "/": "or",
    "½": "a half",
    "¼": "a quarter",
}
_MAIL_SIGNS = {".": "dot", "_": "underscore", "-": "dash", "+": "plus", "@": "at"}
_AMOUNT = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_REFERENCE = re.compile(
    r"(?:\b(?:reference|ref|confirmation|code|pin|id|ticket|account|extension|postcode|zip|"
    r"(?:order|booking|reservation|phone|telephone|card|customer|tracking|flight|train)(?:\s+(?:number|no\.?|id))?|"
    r"number)(?:\s+(?:number|code|no\.?|id|is|was|of|:|#))*\s*[:#]?\s*)$",
    re.IGNORECASE,
)
_YEAR_BEFORE = re.compile(r"\b(?:in|since|year|until|from|by|of|during|before|after)\s+$", re.IGNORECASE)


def _whole(words: Sequence[str], match: re.Match[str]) -> list[_Part]:
    return [(words, match.start(), match.end())]


def _half(text: str | None) -> str:
    return "" if not text else ("am" if text.strip()[0] in "aA" else "pm")


def _time(match: re.Match[str], text: str) -> list[_Part] | None:
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    if hour > 24 or minute > 59 or (match["half"] and hour > 12):
        return None
    words = numerals.clock(hour, minute, _half(match["half"]))
    if match["half"] and match["space"]:
        return [
            (words[:-1], match.start(), match.start("space")),
            (words[-1:], match.start("half"), match.end()),
        ]
    return _whole(words, match)


def _year_words(text: str | None) -> list[str]:
    return numerals.year(int(text)) if text else []


def _dated(match: re.Match[str], month: str, day: int, day_first: bool) -> list[_Part] | None:
    """A date in words; every piece of the source keeps its own span."""
    if not 1 <= day <= 31:
        return None
    spans = {name: match.span(name) for name in ("month", "day", "year") if match.groupdict().get(name)}
    day_words = numerals.ordinal(day)
    parts: list[_Part] = []
    if day_first:
        parts.append(
            (["the", *day_words, "of"] if not _the_before(match) else [*day_words, "of"], *spans["day"])
        )
        parts.append(([month], *spans["month"]))
    else:
        parts.append(([month], *spans["month"]))
        parts.append((day_words, spans["day"][0], spans["day"][1]))
    if "year" in spans:
        words, start, end = parts[-1]
        parts[-1] = ([*words[:-1], words[-1] + ","], start, end)
        parts.append((_year_words(match["year"]), *spans["year"]))
    first, last = parts[0], parts[-1]
    parts[0] = (first[0], match.start(), first[2])
    parts[-1] = (last[0], parts[-1][1] if len(parts) > 1 else match.start(), match.end())
    return parts


def _the_before(match: re.Match[str]) -> bool:
    return match.string[: match.start()].rstrip().lower().endswith("the")


def _month_day(match: re.Match[str], text: str) -> list[_Part] | None:
    return _dated(match, _MONTH[match["month"][:3].lower()], int(match["day"]), False)


def _day_month(match: re.Match[str], text: str) -> list[_Part] | None:
    return _dated(match, _MONTH[match["month"][:3].lower()], int(match["day"]), True)


def _iso_date(match: re.Match[str], text: str) -> list[_Part] | None:
    year, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    return _numeric_date(match, year, month, day)


def _slash_date(match: re.Match[str], text: str) -> list[_Part] | None:
    first, second = int(match["a"]), int(match["b"])
    month, day = (second, first) if first > 12 else (first, second)
    return _numeric_date(match, int(match["year"]), month, day)


def _numeric_date(match: re.Match[str], year: int, month: int, day: int) -> list[_Part] | None:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    *start, last = numerals.ordinal(day)
    return _whole([numerals.MONTHS[month - 1], *start, f"{last},", *numerals.year(year)], match)


def _money(match: re.Match[str], text: str) -> list[_Part] | None:
    if match["scale"]:
        plural = numerals.money(match["sign"], "2")[-1]
        return _whole([*numerals.cardinal(match["amount"]), match["scale"], plural], match)
    return _whole(numerals.money(match["sign"], match["amount"]), match)


def _money_after(match: re.Match[str], text: str) -> list[_Part] | None:
    sign = {"d": "$", "p": "£", "e": "€"}[match["unit"][0].lower()]
    return _whole(numerals.money(sign, match["amount"]), match)


def _mail(match: re.Match[str], text: str) -> list[_Part] | None:
    words: list[str] = []
    for piece in re.findall(r"[A-Za-z]+|\d+|[._+@-]", match["mail"]):
        if piece in _MAIL_SIGNS:
            words.append(_MAIL_SIGNS[piece])
        else:
            words.extend(numerals.digits(piece) if piece.isdigit() else [piece])
    return _whole(words, match)


def _link(match: re.Match[str], text: str) -> list[_Part] | None:
    words: list[str] = []
    for piece in re.findall(r"[A-Za-z]+|\d+|[.\-/_]", match["host"].rstrip("/")):
        signs = {".": "dot", "-": "dash", "/": "slash", "_": "underscore"}
        words.extend(
            [signs[piece]] if piece in signs else numerals.digits(piece) if piece.isdigit() else [piece]
        )
    return _whole(words, match)


def _phone(match: re.Match[str], text: str) -> list[_Part] | None:
    if not 7 <= sum(c.isdigit() for c in match[0]) <= 15:
        return None
    groups = list(re.finditer(r"\+?\d+", match[0]))
    if (
        len(groups) == 1
        and "+" not in match[0]
        and match[0][0] != "0"
        and not _REFERENCE.search(text[: match.start()])
    ):
        return None if len(match[0]) < 10 else _digit_groups(match)
    parts: list[_Part] = []
    for index, group in enumerate(groups):
        words = ([] if group[0][0] != "+" else ["plus"]) + numerals.digits(group[0])
        if index < len(groups) - 1:
            words[-1] += ","
        parts.append((words, match.start() + group.start(), match.start() + group.end()))
    return [*parts[:-1], (parts[-1][0], parts[-1][1], match.end())]


def _digit_groups(match: re.Match[str]) -> list[_Part]:
    """A long number read in threes and a last four, with small pauses."""
    words = numerals.digits(match[0])
    for index in range(2, len(words) - 4, 3):
        words[index] += ","
    return _whole(words, match)


def _range(match: re.Match[str], text: str) -> list[_Part] | None:
    return _whole([*numerals.cardinal(match["a"]), "to", *numerals.cardinal(match["b"])], match)


def _fraction(match: re.Match[str], text: str) -> list[_Part] | None:
    if match[0] in _FRACTIONS:
        return _whole(_FRACTIONS[match[0]].split(), match)
    if match[0] == "24/7":
        return _whole(["twenty", "four", "seven"], match)
    return _whole([*numerals.cardinal(match["a"]), "out", "of", *numerals.cardinal(match["b"])], match)


def _ordinal(match: re.Match[str], text: str) -> list[_Part] | None:
    return _whole(numerals.ordinal(int(match["n"].replace(",", ""))), match)


def _unit(match: re.Match[str], text: str) -> list[_Part] | None:
    one, many = _UNITS[match["unit"].lower()]
    return _whole(
        [*numerals.cardinal(match["amount"]), *(one if match["amount"] == "1" else many).split()], match
    )


def _code(match: re.Match[str], text: str) -> list[_Part] | None:
    token = match[0]
    has_digit, has_letter = any(c.isdigit() for c in token), any(c.isalpha() for c in token)
    called = _REFERENCE.search(text[: match.start()]) is not None
    consonants = token.isupper() and not re.search(r"[AEIOUY]", token) and 2 <= len(token) <= 8
    if has_digit and has_letter and (called or token.upper() == token):
        return _whole(numerals.spell(token), match)
    if called and has_digit and (len(token) >= 3 or "-" in token):
        return _whole(numerals.spell(token), match)
    if consonants or (called and token.isupper() and len(token) >= 2):
        return _whole(numerals.spell(token), match)
    return None


def _numbered(match: re.Match[str], text: str) -> list[_Part] | None:
    number = match["n"]
    words = numerals.digits(number) if len(number) >= 4 else numerals.cardinal(number)
    return _whole(["number", *words], match)


def _number(match: re.Match[str], text: str) -> list[_Part] | None:
    token = match[0]
    if re.fullmatch(r"(?:1[1-9]|20)\d\d", token) and (
        _YEAR_BEFORE.search(text[: match.start()])
        or re.search(rf"(?:{'|'.join(numerals.MONTHS)}),? $", text[: match.start()])
    ):
        return _whole(numerals.year(int(token)), match)
    return _whole(numerals.cardinal(token), match)


def _title(match: re.Match[str], text: str) -> list[_Part] | None:
    word = match["word"].lower()
    after = re.match(r"\s*([A-Z])", text[match.end() :])
    before = re.search(r"([A-Z][\w']*)\s+$", text[: match.start()])
    if word == "st":
        return _whole(["Street" if before and (not after or not match["dot"]) else "Saint"], match)
    if word == "dr":
        return _whole(["Doctor" if after else "Drive"], match)
    if word == "no":
        return None
    if word in _DAYS:
        return _whole([_DAYS[word]], match)
    if not match["dot"] and word not in ("mr", "mrs", "ms", "vs", "etc"):
        return None
    return _whole(_TITLES[word].split(), match)


def _initials(match: re.Match[str], text: str) -> list[_Part] | None:
    return _whole(numerals.spell(match[0]), match)


_Rule = tuple[re.Pattern[str], Callable[[re.Match[str], str], "list[_Part] | None"]]
_END = r"(?![\w@])"
_YEAR = r"(?:,?\s+(?P<year>(?:19|20)\d\d)(?!\d|[.:]\d|\s*(?:people|guests|rooms)))?"
_HALF = r"(?P<space>\s?)(?P<half>[ap]\.?\s?m\b\.?)"

_RULES: list[_Rule] = [
    (re.compile(r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"), _mail),
    (re.compile(r"(?:https?://)?(?:www\.)?(?P<host>(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|co\.uk|co|uk|de|eu|ie)"
                r"(?:/[\w/-]*)?)" + _END, re.I), _link),
    (re.compile(r"(?P<year>(?:19|20)\d\d)-(?P<month>\d\d)-(?P<day>\d\d)" + _END), _iso_date),
    (re.compile(r"(?P<a>\d{1,2})/(?P<b>\d{1,2})/(?P<year>(?:19|20)\d\d)" + _END), _slash_date),
    (re.compile(_MONTH_RE + r"\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?(?![\d:.]\d|\d|\s?[ap]\.?m)" + _YEAR),
     _month_day),
    (re.compile(r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:\s+of)?\s+" + _MONTH_RE + _YEAR), _day_month),
    (re.compile(r"(?P<hour>\d{1,2})[:.](?P<minute>\d\d)" + _HALF, re.I), _time),
    (re.compile(r"(?P<hour>\d{1,2})(?P<minute>)" + _HALF, re.I), _time),
    (re.compile(r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::00)?(?![\d:])(?P<half>)(?P<space>)"), _time),
    (re.compile(rf"(?P<sign>[$£€])\s?(?P<amount>{_AMOUNT})(?:\s?(?P<scale>(?:thou|milli|billi)\w+))?" + _END),
     _money),
    (re.compile(r"(?P<amount>\d+\.\d\d)\s?(?P<unit>dollars?|pounds?|euros?|€)" + _END, re.I), _money_after),
    (re.compile(r"\+?\(?\d[\d\s().-]{5,}\d" + _END), _phone),
    (re.compile(r"(?P<n>\d{1,3}(?:,\d{3})*|\d+)(?:st|nd|rd|th)" + _END, re.I), _ordinal),
    (re.compile(r"(?P<a>\d{1,2})/(?P<b>\d{1,2})(?![\w/])"), _fraction),
    (re.compile(rf"(?P<amount>{_AMOUNT})\s?(?P<unit>%|°\s?[cf]?|km/h|km|kg|cm|mm|mins?|hrs?|secs?|ms|mph|mi|ft|gb|mb|ml)"
                r"(?!\w)", re.I), _unit),
    (re.compile(rf"(?P<amount>{_AMOUNT})(?P<unit>[mghls])(?!\w)"), _unit),
    (re.compile(r"(?:#\s?|\bno\.\s?)(?P<n>\d+)" + _END, re.I), _numbered),
    (re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*(?![\w'’@.]\w)(?!\w)"), _code),
    (re.compile(rf"(?P<a>{_AMOUNT})\s?[-–]\s?(?P<b>{_AMOUNT})" + _END), _range),
    (re.compile(rf"[-−]?(?:{_AMOUNT})(?![\d])"), _number),
    (re.compile(r"(?:[A-Z]\.){2,}|[A-HJ-Z]\.(?=\s+[A-Z])"), _initials),
    (re.compile(r"(?P<word>st|dr|mrs?|ms|prof|ave|rd|blvd|apt|vs|etc|e\.g|i\.e|approx|dept|tel|sq|"
                r"mon|tues?|wed|thur?s?|fri)\b(?P<dot>\.?)(?!\w)", re.I), _title),
    (re.compile(r"(?P<word>sat|sun)(?P<dot>\.|(?=,?\s+\d))(?!\w)", re.I), _title),
]  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CLOSING = re.compile(r"[,.;:!?…]+")
_DASH = re.compile(r"\s+[-–—]+(?=\s)|\s*—|\s+(?=\()|(?<=\s)[(]")


def spoken(text: str) -> list[Spoken]:
    """The words that are said for `text`, in order, each with the span of the source that it stands for.

    Punctuation that shapes the speech stays at the end of its word; a full stop, question or exclamation mark
    there always ends a sentence.
    """
    words: list[Spoken] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        parts, end = _next(text, at)
        for said, start, stop in parts:
            words.extend((word, start, stop) for word in said)
        end = _punctuate(words, text, at, end)
        at = end
    return words


def _next(text: str, at: int) -> tuple[list[_Part], int]:
    """What begins at `at`: the parts of the first rule that takes it, a plain word, or a sign."""
    inside = at > 0 and text[at - 1].isalnum()
    if not inside:
        for pattern, handler in _RULES:
            match = pattern.match(text, at)
            if match and match.end() > at and (parts := handler(match, text)):
                return parts, match.end()
    if match := _WORD.match(text, at):
        return [([match[0].replace("’", "'")], at, match.end())], match.end()
    if text[at] in "0123456789":
        match = re.compile(r"\d+").match(text, at)
        assert match is not None
        return [(numerals.cardinal(match[0]), at, match.end())], match.end()
    if text[at] in _SYMBOLS:
        return [(_SYMBOLS[text[at]].split(), at, at + 1)], at + 1
    return [], at + 1


def _punctuate(words: list[Spoken], text: str, start: int, end: int) -> int:
    """Hang closing punctuation onto the last word; the position behind it."""
    if not words:
        return end
    if match := _CLOSING.match(text, end):
        after = text[match.end() : match.end() + 1]
        if not after.isalnum():  # a dot or a comma inside of something is no pause
            word, a, _ = words[-1]
            first = "," if match[0].startswith(("..", "…")) else match[0][0]
            mark = next((c for c in match[0] if c in "?!"), first)
            words[-1] = (word.rstrip(",.;:!?") + mark, a, match.end())
        return match.end()
    if match := _DASH.match(text, end):
        word, a, b = words[-1]
        if word[-1].isalnum():
            words[-1] = (word + ",", a, b)
        return match.end()
    # The dot of an abbreviation ("p.m.", "St.") ends the sentence too, if a new one or nothing follows.
    if text[end - 1] == "." and end > start and words[-1][0][-1].isalnum():
        rest = text[end:].lstrip()
        abbreviated = words[-1][0] in ("AM", "PM", "Street", "Avenue", "Road", "Drive")
        if not rest or (abbreviated and rest[0].isupper()):
            word, a, b = words[-1]
            words[-1] = (word + ".", a, b)
    return end
