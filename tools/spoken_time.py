"""Dates and times as callers say them and as speech recognisers write them.

`dateparser` resolves written dates and spans ("27 November 2026", "in 3 days"). On a table of 40 dates
and 40 times of day it got 26 and 12, parsedatetime 24 and 11, timefhuman 28 and 10, dateutil 19 and 6
(tests/tools/test_spoken_time.py holds the table); what none of them can do, weekdays by the caller's
week, bare days of the month and spoken times of day, is resolved here.
"""

from __future__ import annotations

import importlib
import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from stretto.tools.spoken_number import fold_numbers, ordinal, resolve_digits, resolve_number

__all__ = [
    "SpokenTimeError",
    "resolve_date",
    "resolve_digits",
    "resolve_number",
    "resolve_time",
    "say_date",
    "say_time",
]

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_WEEKDAY = r"\b(mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?s?\b"
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,? (?:in )?(20 ?\d\d))?"
_DAY_MONTH = re.compile(rf"\b{_DAY}(?: day)?(?: of)? {_MONTH}\b\.?{_YEAR}\b")
_MONTH_DAY = re.compile(rf"\b{_MONTH}\b\.?(?: the)? {_DAY}{_YEAR}\b")
_HOLIDAYS = {
    "christmas eve": (12, 24),
    "christmas": (12, 25),
    "new year's eve": (12, 31),
    "new year's day": (1, 1),
}


class SpokenTimeError(ValueError):
    """The words are no date or time; the message can be read to the caller."""


def resolve_date(text: str, now: datetime) -> date:
    """The day that is meant, today or later.

    "Friday" and "this Friday" are the next Friday to come, "next Friday" is the Friday of next week
    (weeks begin on Monday), "the 27th" the next 27th.

    Raises:
        SpokenTimeError: no day, a day in the past, or a weekday and a date that disagree.
    """
    today = now.date()
    found = next((day for part in _wordings(text) if (day := _find_date(part, today))), None)
    if found is None:
        raise SpokenTimeError(f"I could not tell which day '{_shorten(text)}' is.")
    if found < today:
        raise SpokenTimeError(f"{say_date(found)} {found.year} is in the past.")
    return found


def _wordings(text: str) -> list[str]:
    """Folded texts to try: what follows a correction ("at eight, no, nine") first, then the whole."""
    whole = fold_numbers(text).strip(" .")
    parts = re.split(r"\b(?:no|sorry|i mean|actually|make it|make that)\b", whole)
    return [*(part.strip(" .") for part in parts[:0:-1]), whole]


@lru_cache(maxsize=4096)
def _find_date(text: str, today: date) -> date | None:
    text = re.sub(r"\b20 (2\d)$", r"20\1", text)
    text = re.sub(r"\b([23])0 (\d(?:st|nd|rd|th))\b", r"\1\2", text)
    text = re.sub(r"\b(a|one|1) 2nd\b|\b1st of all\b", " ", text)
    weekday = _weekday(text)
    if iso := re.search(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b", text):
        return _day(int(iso[1]), int(iso[2]), int(iso[3]))
    exact = _calendar_date(text, today)
    if exact is not None:
        if weekday is not None and exact.weekday() != weekday:
            raise SpokenTimeError(
                f"The {_say_day(exact)} is a {_WEEKDAYS[exact.weekday()].title()}, "
                f"not a {_WEEKDAYS[weekday].title()}."
            )
        return exact
    if re.search(r"\d(st|nd|rd|th)\b", text) or _DAY_MONTH.search(text) or _MONTH_DAY.search(text):
        # "The 45th": the library would make something of it.
        return None
    if (relative := _relative_date(text, weekday, today)) is not None:
        return relative
    if weekday is not None:
        ahead = (weekday - today.weekday() - 1) % 7 + 1
        if re.search(r"\bafter next\b", text):
            return _next_week(weekday, today) + timedelta(days=7)
        if re.search(r"\bnext\b", text):
            return _next_week(weekday, today)
        return today + timedelta(days=ahead)
    if re.search(r"\b(today|tonight|this (morning|afternoon|evening))\b", text):
        return today
    return _parse(text, today)


def _weekday(text: str) -> int | None:
    found = re.findall(_WEEKDAY, text)
    # "Friday, no, Saturday": the last one counts.
    return [name[:3] for name in _WEEKDAYS].index(found[-1][:3]) if found else None


def _calendar_date(text: str, today: date) -> date | None:
    """A date with a day of the month in it."""
    for holiday, (month, day) in _HOLIDAYS.items():
        if holiday in text:
            return _coming(month, day, today)
    if named := _DAY_MONTH.search(text):
        return _month_day(named[2], int(named[1]), named[3], today)
    if named := _MONTH_DAY.search(text):
        return _month_day(named[1], int(named[2]), named[3], today)
    days = re.findall(r"\b(\d{1,2})(?:st|nd|rd|th)\b", text)
    if not days and (bare := re.fullmatch(rf"(?:{_WEEKDAY},? )?(?:on )?(?:the )?(\d{{1,2}})", text)):
        days = [bare[2]]
    if not days:
        return None
    year, month = today.year, today.month
    if re.search(r"\bnext month\b", text):
        year, month = year + month // 12, month % 12 + 1
    for _ in range(3):
        found = _day(year, month, int(days[-1]))
        if found is not None and found >= today:
            return found
        year, month = year + month // 12, month % 12 + 1
    return None


def _month_day(month: str, day: int, year: str | None, today: date) -> date | None:
    number = next(i for i, name in enumerate(_MONTHS, start=1) if name.startswith(month[:3]))
    if year:
        return _day(int(year.replace(" ", "")), number, day)
    return _coming(number, day, today)


def _coming(month: int, day: int, today: date) -> date | None:
    # Eight years ahead: a 29th of February may be that far away.
    for year in range(today.year, today.year + 9):
        found = _day(year, month, day)
        if found is not None and found >= today:
            return found
    return None


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _relative_date(text: str, weekday: int | None, today: date) -> date | None:
    if re.search(r"\bday after tomorrow\b", text):
        return today + timedelta(days=2)
    start = today
    if weekday is not None:
        ahead = (weekday - today.weekday() - 1) % 7 + 1
        start = today + timedelta(days=ahead)
    elif re.search(r"\btomorrow\b", text):
        start = today + timedelta(days=1)
    if later := re.search(r"\b(\d+|a) (day|week)s? (?:from|after|on) (?!now\b)", text):
        count = (1 if later[1] == "a" else int(later[1])) * (7 if later[2] == "week" else 1)
        if re.search(r"\b(from|after) next\b", text) and weekday is not None:
            start = _next_week(weekday, today)
        return start + timedelta(days=count)
    if "yesterday" in text:
        return today - timedelta(days=1)
    if weekday is not None and re.search(_WEEKDAY + r" week\b", text):
        return start + timedelta(weeks=1)
    if weekday is not None and re.search(r"\b(week after next|in (2|two) weeks)\b", text):
        return _next_week(weekday, today) + timedelta(weeks=1)
    if weekday is None and start != today:
        return start
    return None


def _next_week(weekday: int, today: date) -> date:
    return today + timedelta(days=7 - today.weekday() + weekday)


def _parse(text: str, today: date) -> date | None:
    """What remains is the library's: "in 3 days", "11/27", "2 weeks from now"."""
    text = re.sub(r"\b(please|on|around|about|maybe|say|for|the)\b", " ", text).strip()
    text = re.sub(r"\bfortnight\b", "2 weeks", text)
    text = re.sub(r"\ba (2 weeks)", r"\1", text)
    if not re.search(r"\d|\ba (day|week|month)\b", text) or re.fullmatch(r"[\d\s]*", text):
        # The library takes "next week", "may" and "1" for days.
        return None
    settings: dict[str, Any] = {
        "PREFER_DATES_FROM": "future",
        "RELATIVE_BASE": datetime.combine(today, time(12)),
    }
    found = _dateparser().parse(text, languages=["en"], settings=settings)
    return found.date() if found is not None else None


def _dateparser() -> Any:
    # Its import takes a tenth of a second that most processes never need.
    return importlib.import_module("dateparser")


def resolve_time(text: str, hours: tuple[time, time] | None = None) -> time:
    """The time of day that is meant; morning or evening is chosen by opening hours when not said.

    Without hours, or where both or neither fit, 7 to 11 are in the morning and 12 to 6 in the afternoon.

    Raises:
        SpokenTimeError: no time of day.
    """
    found = next((clock for part in _wordings(text) if (clock := _find_time(part))), None)
    if found is None:
        raise SpokenTimeError(f"I could not tell which time '{_shorten(text)}' is.")
    hour, minute, half = found
    if half == "am":
        return time(hour % 12 if hour <= 12 else hour, minute)
    if half == "pm":
        return time(hour % 12 + 12 if hour <= 12 else hour, minute)
    if half == "as said" or hour > 12 or hour == 0:
        return time(hour, minute)
    early, late = time(hour % 12, minute), time(hour % 12 + 12, minute)
    usual = early if 7 <= hour <= 11 else late
    if hours is None:
        return usual
    fitting = [moment for moment in (early, late) if hours[0] <= moment < hours[1]]
    return fitting[0] if len(fitting) == 1 else usual


_MORNING = r"\b(a\.? ?m\b|in the morning|this morning|tomorrow morning|morning)"
_EVENING = r"\b(p\.? ?m\b|in the (afternoon|evening)|at night|tonight|afternoon|evening|night)"
_HOUR = r"(\d{1,2})(?:\b|(?=[ap]\.?m))"


@lru_cache(maxsize=4096)
def _find_time(text: str) -> tuple[int, int, str] | None:
    """Hour as said (0..23), minute, and which half of the day was said ("" where none was)."""
    text = re.sub(r"(?<=\d)(a|p)(?:\.?m)?\b", r" \1m", text)
    text = re.sub(r"(?<=\d)-?ish\b|\bi am\b", " ", text)
    half = "pm" if re.search(_EVENING, text) else "am" if re.search(_MORNING, text) else ""
    text = re.sub(r"\b\d{1,2}(st|nd|rd|th)\b|\b(a|p)\.? ?m\b\.?", " ", text)
    text = re.sub(rf"\b{_MONTH} \d{{1,2}}\b(?! ?[:.o])", " ", text)
    text = re.sub(r"\s+", " ", text)
    part = r"(half|quarter|\d{1,2})(?: minutes?)?"
    if spoken := re.search(rf"\b{part} (past|after|to|too|2|of|before|till|until) {_HOUR}", text):
        minute = {"half": 30, "quarter": 15}.get(spoken[1]) or int(spoken[1]) % 60
        hour = int(spoken[3])
        # "10 2 8" may be digits; only a quarter is ever "quarter 2 8".
        if not (spoken[2] == "2" and spoken[1].isdigit()):
            if spoken[2] not in ("past", "after"):
                hour, minute = (hour - 1) or 12, 60 - minute
            return (hour, minute, half) if hour < 24 and minute < 60 else None
    if spoken := re.search(rf"\bhalf {_HOUR}", text):
        return (int(spoken[1]), 30, half) if int(spoken[1]) < 24 else None
    if written := re.search(r"\b(\d{1,2})(?: ?[:.h] ?|-| |, )([0-5]\d)\b(?!\d)", text):
        return _clock(written[1], int(written[2]), half)
    if run := re.search(r"\b(\d{1,2})([0-5]\d)\b(?: hours)?", text):
        return _clock(run[1], int(run[2]), half)
    if re.search(r"\b(noon|midday|lunchtime)\b", text):
        return 12, 0, "pm"
    if "midnight" in text:
        return 0, 0, "as said"
    if misheard := re.search(r"\b(four|for|fore|two|to|too) (2[5-9]|[3-5]\d)\b", text):  # "for 30"
        return _clock("4" if misheard[1].startswith("fo") else "2", int(misheard[2]), half)
    if spoken := re.search(
        r"(?<![\d:.])(\d{1,2})\b(?![:.]\d)(?! (?:people|persons?|of us|guests?|nights?))", text
    ):
        return _clock(spoken[1], 0, half)
    return None


def _clock(hour: str, minute: int, half: str) -> tuple[int, int, str] | None:
    if int(hour) > 24:
        return None
    # "07:30" is a written 24-hour clock.
    return int(hour) % 24, minute, half or ("as said" if hour.startswith("0") and len(hour) == 2 else "")


def _say_day(day: date) -> str:
    return f"{ordinal(day.day)} of {_MONTHS[day.month - 1].title()}"


def say_date(day: date) -> str:
    """A date for the ear: "Friday the 27th of November"."""
    return f"{_WEEKDAYS[day.weekday()].title()} the {_say_day(day)}"


def say_time(moment: time) -> str:
    """A time of day for the ear: "7:30 pm", "7 pm", "noon", "midnight"."""
    if (moment.hour, moment.minute) in ((12, 0), (0, 0)):
        return "noon" if moment.hour else "midnight"
    minutes = f":{moment.minute:02}" if moment.minute else ""
    return f"{moment.hour % 12 or 12}{minutes} {'pm' if moment.hour >= 12 else 'am'}"


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."
