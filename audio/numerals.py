"""Numbers as words: cardinals, ordinals, years, digits one by one."""

from __future__ import annotations

from num2words import num2words

MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip
_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def _words(text: str) -> list[str]:
    return str(text).replace(",", "").replace("-", " ").split()


def cardinal(number: str) -> list[str]:
    """A number as written ("1,200", "4.50", "-3"); very long ones digit by digit."""
    number = number.replace(",", "")
    sign = []
    if number[:1] in "-−":
        sign, number = ["minus"], number[1:]
    whole, _, fraction = number.partition(".")
    if len(whole) > 12 or (len(whole) > 1 and whole[0] == "0"):
        spoken = digits(whole)
    else:
        spoken = _words(num2words(int(whole or "0")))
    if fraction:
        spoken = [*spoken, "point", *digits(fraction)]
    return [*sign, *spoken]


def ordinal(number: int) -> list[str]:
    """1 -> first, 27 -> twenty seventh."""
    return _words(num2words(number, to="ordinal"))


def year(number: int) -> list[str]:
    """1999 -> nineteen ninety nine, 2026 -> twenty twenty six."""
    return _words(num2words(number, to="year"))


def digits(text: str) -> list[str]:
    """Every digit by itself; other characters are left out."""
    return [_DIGITS[int(c)] for c in text if c in "0123456789"]


def letter(character: str) -> str:
    """A letter's name, spelled so that the synthesiser does not take "a" for the article."""
    return "eigh" if character in "aA" else character.upper()


def spell(text: str) -> list[str]:
    """Letters and digits one by one."""
    return [digits(c)[0] if c in "0123456789" else letter(c) for c in text if c.isalnum()]


def clock(hour: int, minute: int, half: str) -> list[str]:
    """A time of day; `half` is "am", "pm" or "" (24-hour clock, or left open)."""
    suffix = [half.upper()] if half else []
    if hour == 0 and not half:
        hour, suffix = 12, ["AM"]
    spoken = cardinal(str(hour))
    if minute == 0:
        if suffix:
            return [*spoken, *suffix]
        return [*spoken, "o'clock"] if hour <= 12 else [*spoken, "hundred"]
    return [*spoken, *(["oh"] if minute < 10 else []), *cardinal(str(minute)), *suffix]


_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}


def money(sign: str, amount: str) -> list[str]:
    """$12.50 -> twelve dollars and fifty cents, £12.50 -> twelve pounds fifty."""
    one, many, cent, cents = _MONEY[sign]
    whole, _, fraction = amount.replace(",", "").partition(".")
    small = int((fraction + "00")[:2]) if fraction else 0
    unit = one if int(whole or "0") == 1 else many
    if len(fraction) > 2:
        return [*cardinal(amount), many]
    if not small:
        return [*cardinal(whole or "0"), unit]
    if not int(whole or "0"):
        return [*cardinal(str(small)), cent if small == 1 else cents]
    if sign == "$":
        return [*cardinal(whole), unit, "and", *cardinal(str(small)), cent if small == 1 else cents]
    return [*cardinal(whole), unit, *cardinal(str(small))]
