"""Values as a caller speaks them and as a speech recogniser writes them.

Every form is checked by resolving it again, so a form that the tools would take for another value is
never produced, unless a slip of the recogniser was asked for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TypeVar

from stretto.tools.spoken_number import ordinal
from stretto.tools.spoken_time import (
    SpokenTimeError,
    resolve_date,
    resolve_digits,
    resolve_number,
    resolve_time,
)

T = TypeVar("T")
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = [
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = [
    "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth", "twentieth",
]  # fmt: skip
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
]  # fmt: skip
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


@dataclass(frozen=True, slots=True)
class Form:
    """One value in two forms: `spoken`, for a voice, and `written`, as a recogniser would write it."""

    spoken: str
    written: str


def same(text: str) -> Form:
    """Words that are written as they are spoken."""
    return Form(text, text)


def words(number: int) -> str:
    """0..99 in words."""
    if number < 10:
        return DIGITS[number]
    if number < 20:
        return _TEENS[number - 10]
    return _TENS[number // 10] + (f" {DIGITS[number % 10]}" if number % 10 else "")


def ordinal_words(number: int) -> str:
    """1..31 as "twenty seventh"."""
    if number <= 20:
        return _ORDINALS[number]
    return "thirtieth" if number == 30 else f"{_TENS[number // 10]} {_ORDINALS[number % 10]}"


def date_form(day: date, now: datetime, rng: random.Random, exact: bool = False) -> Form:
    """A way to say a day; `exact` leaves out weekdays and days counted from today (when repeating)."""
    for _ in range(8):
        form = rng.choice(_date_forms(day, now.date(), exact))
        if _day_of(form.written, now) == day and _day_of(form.spoken, now) == day:
            return form
    return Form(
        f"{MONTHS[day.month - 1]} {ordinal_words(day.day)}", f"{MONTHS[day.month - 1]} {ordinal(day.day)}"
    )


@lru_cache(maxsize=20_000)
def _date_forms(day: date, today: date, exact: bool) -> tuple[Form, ...]:
    month, weekday, nth, in_words = (
        MONTHS[day.month - 1],
        WEEKDAYS[day.weekday()],
        ordinal(day.day),
        ordinal_words(day.day),
    )
    forms = [
        Form(f"the {in_words}", f"the {nth}"),
        Form(f"the {in_words} of {month}", f"the {nth} of {month}"),
        Form(f"{month} {in_words}", f"{month} {nth}"),
        Form(f"{month} the {in_words}", f"{month} the {nth}"),
        Form(f"{month} {in_words}", f"{month} {day.day}"),
        Form(f"{weekday} the {in_words}", f"{weekday} the {nth}"),
        Form(f"{weekday}, {month} {in_words}", f"{weekday}, {month} {nth}"),
        Form(f"{weekday} the {in_words} of {month}", f"{weekday}, the {nth} of {month}"),
    ]
    ahead = (day - today).days
    if exact:
        return tuple(forms)
    near: list[str] = []
    if ahead == 0:
        near = ["today", "today", "tonight"]
    elif ahead == 1:
        near = ["tomorrow"] * 4
    elif ahead == 2:
        near = ["the day after tomorrow"]
    if 1 <= ahead <= 7:
        near += [weekday] * 4 + [f"this {weekday}"] * 2
    next_week = today + timedelta(days=7 - today.weekday())
    if 0 <= (day - next_week).days < 7:
        near += [f"next {weekday}"] * 5 + [f"{weekday} next week"]
    if 8 <= ahead <= 14:
        near += [f"a week from {weekday}"]
    forms += [Form(text, text) for text in near]
    if 2 <= ahead <= 6:
        forms.append(Form(f"in {words(ahead)} days", _in_words_or_digits(ahead, "days")))
    return tuple(forms)


def _in_words_or_digits(number: int, unit: str) -> str:
    """A small count as recognisers write it: digits where the number is even, words where odd."""
    return f"in {number if number % 2 == 0 else words(number)} {unit}"


def _day_of(text: str, now: datetime) -> date | None:
    try:
        return resolve_date(text, now)
    except SpokenTimeError:
        return None


def time_form(moment: time, hours: tuple[time, time] | None, rng: random.Random, exact: bool = False) -> Form:
    """A way to say a time of day; `exact` always says which half of the day."""
    forms = _time_forms(moment)
    certain = [
        form for form in forms if form.spoken.endswith((" m", "morning", "evening", "afternoon", "noon"))
    ]
    for _ in range(8):
        form = rng.choice(certain if exact else forms)
        if time_of(form.written, hours) == moment and time_of(form.spoken, hours) == moment:
            return form
    return rng.choice(certain)


@lru_cache(maxsize=2000)
def _time_forms(moment: time) -> tuple[Form, ...]:
    hour, minute = moment.hour % 12 or 12, moment.minute
    clock, half = f"{hour}:{minute:02}", "p m" if moment.hour >= 12 else "a m"
    dotted, solid = half.replace(" ", ".") + ".", half.replace(" ", "")
    part = (
        "in the morning" if moment.hour < 12 else "in the afternoon" if moment.hour < 18 else "in the evening"
    )
    if moment == time(12):
        return (Form("noon", "noon"), Form("twelve noon", "12 noon"), Form("twelve o'clock", "12 o'clock"))
    if minute == 0:
        bare = words(hour)
        return (
            Form(f"{bare} o'clock", f"{hour} o'clock"),
            Form(f"{bare} o'clock", f"{bare} o'clock"),
            Form(f"{bare} {half}", f"{hour} {dotted}"),
            Form(f"{bare} {half}", f"{hour} {solid}"),
            Form(f"{bare} {half}", f"{hour}{solid}"),
            Form(bare, str(hour)),
            Form(bare, bare),
            Form(f"{bare} {part}", f"{hour} {part}"),
            Form(f"{bare} {part}", f"{bare} {part}"),
        )
    said = f"{words(hour)} {words(minute) if minute >= 10 else 'oh ' + words(minute)}"
    forms = [
        Form(said, clock),
        Form(said, clock.replace(":", ".")),
        Form(said, clock.replace(":", "")) if minute >= 10 else Form(said, clock),
        Form(said, said),
        Form(f"{said} {half}", f"{clock} {dotted}"),
        Form(f"{said} {half}", f"{clock} {solid}"),
        Form(f"{said} {half}", f"{clock.replace(':', '.')} {solid}"),
        Form(f"{said} {part}", f"{clock} {part}"),
    ]
    later = hour % 12 + 1
    if minute == 30:
        forms += [Form(f"half past {words(hour)}", f"half past {words(hour)}")] * 3
        forms += [Form(f"half past {words(hour)}", f"half past {hour}")] * 2
        forms.append(Form(f"half past {words(hour)} {part}", f"half past {words(hour)} {part}"))
    elif minute == 15:
        forms += [Form(f"quarter past {words(hour)}", f"quarter past {words(hour)}")] * 3
        forms.append(Form(f"quarter past {words(hour)}", f"quarter past {hour}"))
    elif minute == 45:
        forms += [Form(f"quarter to {words(later)}", f"quarter to {words(later)}")] * 3
        forms.append(Form(f"quarter to {words(later)}", f"quarter to {later}"))
    return tuple(forms)


def time_of(text: str, hours: tuple[time, time] | None) -> time | None:
    """The time of day that words mean, or None."""
    try:
        return resolve_time(text, hours)
    except SpokenTimeError:
        return None


def number_form(number: int, rng: random.Random) -> Form:
    """A small number: recognisers write digits or words."""
    return Form(words(number), str(number) if rng.random() < 0.5 else words(number))


def code_form(code: str, rng: random.Random) -> Form:
    """Four digits, one by one or in pairs."""
    single = [DIGITS[int(digit)] if digit != "0" or rng.random() < 0.5 else "oh" for digit in code]
    pairs = all(code[i] not in "01" and code[i + 1] != "0" for i in (0, 2))
    if pairs and rng.random() < 0.2:
        said = f"{words(int(code[:2]))} {words(int(code[2:]))}"
        written = rng.choice((code, f"{code[:2]} {code[2:]}", f"{code[:2]}-{code[2:]}"))
    else:
        said = " ".join(single)
        written = rng.choice(
            (
                code,
                code,
                code,
                code,
                "-".join(code),
                " ".join(code),
                f"{code[:2]} {code[2:]}",
                ", ".join(code),
                said,
            )
        )
    return Form(said, written if number_of(written, resolve_digits) == code else code)


def number_of(text: str, resolve: Callable[[str], T]) -> T | None:
    """What a resolver makes of words, or None where it refuses them."""
    try:
        return resolve(text)
    except ValueError:
        return None


def people_of(text: str) -> int | None:
    """A small number in digits or words, or None."""
    return number_of(text, resolve_number)


_SOUNDS = (
    ("kettle", "cattle"), ("copper", "cooper"), ("harbor", "harper"), ("casa", "cassa"), ("verde", "verdi"),
    ("lantern", "lanten"), ("olive", "all of"), ("rose", "rows"), ("inn", "in"), ("tavern", "taven"),
    ("bistro", "bistrow"), ("grill", "grille"), ("fox", "folks"), ("anchor", "anker"), ("royal", "roil"),
    ("bridge", "brige"), ("crown", "crowne"), ("lemon", "lemmon"), ("bella", "bela"), ("villa", "vila"),
    ("palace", "palis"), ("barrel", "beryl"), ("kitchen", "kitchin"), ("diner", "dinner"),
    ("suites", "sweets"), ("lodge", "large"), ("wooden", "wouldn't"), ("painted", "pained"),
    ("arrow", "aero"),
    ("mirror", "mere"),
)  # fmt: skip
_SWAPS = (
    ("ph", "f"), ("ck", "k"), ("ou", "ow"), ("ee", "ea"), ("ea", "ee"), ("ai", "ay"), ("c", "k"), ("k", "c"),
    ("er", "or"), ("or", "er"), ("tt", "t"), ("ll", "l"), ("l", "ll"), ("n", "nn"), ("y", "ie"), ("s", "z"),
    ("ie", "y"), ("b", "p"), ("d", "t"), ("g", "k"), ("o", "a"), ("a", "e"), ("e", "i"), ("i", "e"),
)  # fmt: skip


def misspell(name: str, rng: random.Random) -> str:
    """The name as a recogniser that has never read it might write it."""
    lowered = name.lower()
    near = [(word, other) for word, other in _SOUNDS if re.search(rf"\b{word}\b", lowered)]
    if near and rng.random() < 0.7:
        word, other = rng.choice(near)
        changed = re.sub(rf"\b{word}\b", other, lowered, count=1)
    else:
        parts = lowered.split()
        at = max(range(len(parts)), key=lambda i: (len(parts[i]) > 3, rng.random()))
        swaps = [(old, new) for old, new in _SWAPS if old in parts[at][1:]]
        if not swaps:
            return name
        old, new = rng.choice(swaps)
        parts[at] = parts[at][0] + parts[at][1:].replace(old, new, 1)
        changed = " ".join(parts)
    return (
        changed if rng.random() < 0.3 else " ".join(word[:1].upper() + word[1:] for word in changed.split())
    )


def name_form(name: str, rng: random.Random, slip: float) -> Form:
    """A name: now and then without its article, in lower case, or (at the rate `slip`) misspelt."""
    said = name
    if name.startswith("The ") and rng.random() < 0.5:
        said = name[4:] if rng.random() < 0.5 else "the " + name[4:]
    if rng.random() < slip:
        return Form(said, misspell(said, rng))
    return Form(said, said.lower() if rng.random() < 0.1 else said)


_DAY_SLIPS = {"Monday": "Sunday", "Sunday": "Monday", "Tuesday": "Thursday", "Thursday": "Tuesday"}
_WORD_SLIPS = {
    "five": "nine", "nine": "five", "fifteenth": "fiftieth", "thirteenth": "thirtieth",
    "thirtieth": "thirteenth", "15": "50", "13th": "30th", "30th": "13th", "5": "9", "9": "5", "two": "ten",
    "sixth": "sixteenth", "6th": "16th", "7th": "17th", "14th": "4th", "18th": "8th", "seven": "eleven",
    "7": "11", "four": "five", "4": "5", "half": "quarter", "8": "6", "three": "two", "3": "2",
}  # fmt: skip


def mishear(form: Form, rng: random.Random, digits: bool = False) -> Form:
    """The same form with one word (or digit) taken for another; itself where none fits."""
    if digits:
        at = [i for i, sign in enumerate(form.written) if sign.isdigit()]
        if not at:
            return form
        i = rng.choice(at)
        other = str((int(form.written[i]) + rng.choice((1, 4, 5, 9))) % 10)
        return Form(form.spoken, form.written[:i] + other + form.written[i + 1 :])
    slips = {**_DAY_SLIPS, **_WORD_SLIPS}
    fitting = [word for word in slips if re.search(rf"\b{re.escape(word)}\b", form.written)]
    if not fitting:
        return form
    word = rng.choice(fitting)
    return Form(form.spoken, re.sub(rf"\b{re.escape(word)}\b", slips[word], form.written, count=1))
