"""How a simulated caller understands an agent, from its words alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time

from rapidfuzz import fuzz
from stretto.tools.concierge.goals import SLOTS, Task, Value
from stretto.tools.concierge.lookup import likeness
from stretto.tools.concierge.wording_values import MONTHS, WEEKDAYS, number_of, people_of, time_of
from stretto.tools.spoken_time import SpokenTimeError, resolve_date, resolve_digits

_DIGIT_WORDS = "zero|oh|one|two|three|four|five|six|seven|eight|nine"
_COUNT = rf"(?:\d{{1,2}}|a|{_DIGIT_WORDS}|ten|eleven|twelve|twenty)"
_WEEKDAY, _MONTH = f"(?:{'|'.join(WEEKDAYS)})", f"(?:{'|'.join(MONTHS)})"
_ORDINAL_WORDS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fiftieth"
).replace(" ", "|")
_NTH = rf"(?:\d{{1,2}}(?:st|nd|rd|th)|(?:twenty[ -]|thirty[ -])?(?:{_ORDINAL_WORDS}))"
_MONTH_DAY = rf"{_MONTH} (?:the )?(?:{_NTH}|\d{{1,2}}\b(?![:.]))"
_DATE = re.compile(
    rf"\b(?:(?:next |this |a week from )?{_WEEKDAY}(?: next week)?"
    rf"(?:,? (?:the )?{_NTH}(?: of {_MONTH})?|,? {_MONTH_DAY})?"
    rf"|(?:the )?{_NTH} of {_MONTH}|{_MONTH_DAY}|the {_NTH}"
    rf"|today|tonight|the day after tomorrow|tomorrow|in {_COUNT} days)",
    re.IGNORECASE,
)
_HALF = r"(?: ?[ap]\.? ?m\b\.?| in the (?:morning|afternoon|evening))"
_HOURS = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_MINUTES = rf"(?:oh (?:{_DIGIT_WORDS})|fifteen|thirty|forty[ -]five)"
_TIME = re.compile(
    rf"\b(?:(?:half|quarter) (?:past|to) (?:{_HOURS}|\d{{1,2}}){_HALF}?"
    rf"|\d{{1,2}}[:.]\d\d{_HALF}?|\d{{1,2}}{_HALF}|\d{{1,2}} o'clock"
    rf"|{_HOURS} o'clock|{_HOURS} {_MINUTES}{_HALF}?|{_HOURS}{_HALF}|(?:12 |twelve )?noon|midnight)",
    re.IGNORECASE,
)
_AT_TIME = re.compile(rf"\bat (\d{{3,4}}|\d{{1,2}}|{_HOURS})\b(?![:.]\d)", re.IGNORECASE)
_ORDER = re.compile(
    rf"\b(?:order|booking|reference|number)(?: is| number)?:? ((?:(?:\d|{_DIGIT_WORDS})[ ,-]*)+)",
    re.IGNORECASE,
)

_BYE = re.compile(r"\b(good ?bye|bye)\b")
_TRANSFER = re.compile(r"put you through|connect you|transfer you|hand you over")
_READ_BACK = re.compile(
    r"is (?:that|this|it) (?:right|correct|ok|okay)|(?:right|correct)\?$|shall i (?:go ahead|book|cancel)"
)
_RESULT = re.compile(
    r"\b(?:is|are|been|now) booked\b|\bbooked:|\ball set\b|reference is|(?:is|was|are) cancelled|"
    r"now comes|will come|(?:is|been) shipped|processing|was delivered|should (?:come|arrive)"
)
_FAILED = re.compile(
    r"\b(?:sorry|full|could not|couldn't|already|is free at|no .{3,40} is free|there is no|did you mean)\b"
)
_NOT_UNDERSTOOD = re.compile(
    r"say that again|(?:didn't|did not) (?:catch|understand|get)|pardon|^what\?$|repeat that"
)
_OFFER = re.compile(
    r"(?:i have|there is|i found|i could do|free is|did you mean) (.+?)(?:[.?](?: |$)| for [a-z]+day)",
    re.IGNORECASE,
)
_NEXT_DAY = re.compile(r"next free day is (.+?)\.", re.IGNORECASE)
_ASKS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (slot, re.compile(pattern))
    for slot, pattern in (
        ("more", r"anything else|something else (?:i can|for you)"),
        ("people", r"how many (?:people|persons|guests|of you)"),
        ("nights", r"how many nights|nights will"),
        ("change", r"what should i change|should be different|like to change"),
        ("search", r"look for|another area"),
        ("restaurant", r"which restaurant|restaurant in mind|kind of (?:food|place)"),
        ("hotel", r"which hotel|hotel in mind|part of town"),
        ("service", r"kind of appointment|which service|appointment for\b"),
        ("name", r"(?:what|your|which|whose) name|name is it"),
        ("destination", r"where are you going|where to\b|destination"),
        ("pickup", r"pick you up|leaving from|pickup|pick-up|where from"),
        ("order", r"order number|number of (?:the|your) order"),
        ("reference", r"\breference\b"),
        ("time", r"(?:what|which) time|when (?:would|should)"),
        ("date", r"(?:which|what|new delivery) day|what date|\bwhen\b|day (?:would|should)|from when"),
        ("kind", r"how (?:can|may) i help|what can i do|would you like to do"),
    )
)


@dataclass(frozen=True)
class Heard:
    """What an agent's words were, to the caller; several may hold at once."""

    text: str
    bye: bool
    transfer: bool
    read_back: bool
    result: bool
    failed: bool
    lost: bool
    asks: str
    options: tuple[str, ...]


def understand(text: str) -> Heard:
    """Read an agent's words."""
    low = text.lower().strip()
    sentences = re.split(r"(?<=[.?!]) +", low)
    questions = [part for part in sentences if part.endswith("?")] or sentences
    asks = next((slot for slot, pattern in _ASKS if pattern.search(questions[-1])), "")
    read_back = bool(_READ_BACK.search(low))
    failed = bool(_FAILED.search(low))
    return Heard(
        text=text.strip(),
        bye=bool(_BYE.search(low)),
        transfer=bool(_TRANSFER.search(low)),
        read_back=read_back,
        result=not read_back and bool(_RESULT.search(low)) and not (failed and "already" not in low),
        failed=failed,
        lost=bool(_NOT_UNDERSTOOD.search(low)) or not re.search(r"[a-z]", low),
        asks=asks,
        options=_options(text),
    )


def _options(text: str) -> tuple[str, ...]:
    if day := _NEXT_DAY.search(text):
        return (day[1],)
    if "?" not in text or "nothing" in text:
        return ()
    if listed := re.search(r"(?:^|[.:] )([^.:]*?(?::\d\d[^.:]*?)*?) is free (?:on|for) ", text):
        return _split(listed[1])
    # The longest lead-in counts: "I could not find X. Did you mean A or B?"
    found = _OFFER.findall(text)
    return _split(found[-1]) if found else ()


def _split(listed: str) -> tuple[str, ...]:
    parts = re.split(r",? and there is |, |,? or |,? and ", listed.strip())
    return tuple(part.strip(" .?") for part in parts if part.strip(" .?"))


def dates(text: str, now: datetime) -> list[date | None]:
    """Every day that is named; None for words that name none, such as a weekday with the wrong date."""
    found: list[date | None] = []
    for match in _DATE.finditer(text):
        try:
            found.append(resolve_date(match[0], now))
        except SpokenTimeError:
            found.append(None)
    return found


def times(text: str) -> list[str]:
    """Every phrase that names a time of day."""
    found = [match[0] for match in _TIME.finditer(text)]
    return found or [match[1] for match in _AT_TIME.finditer(text)]


def same_time(phrase: str, moment: time) -> bool:
    """Whether a phrase may mean a time; where it does not say which half of the day, either will do."""
    meant = time_of(phrase, None)
    if meant is None:
        return False
    if re.search(r"[ap]\.? ?m\b|morning|evening|afternoon|noon|midnight", phrase.lower()):
        return meant == moment
    return (meant.hour % 12, meant.minute) == (moment.hour % 12, moment.minute)


def wrong_slots(text: str, task: Task, values: dict[str, Value], now: datetime, final: bool) -> list[str]:
    """Slots that an agent's read-back or result has otherwise than the caller wants.

    Args:
        values: what the caller wants now; slots beyond them are judged by what the task would take.
        final: a result: alternatives are fine.
    """
    return [slot for slot in SLOTS[task.kind] if _is_wrong(slot, text, task, values.get(slot), now, final)]


def _is_wrong(slot: str, text: str, task: Task, value: Value | None, now: datetime, final: bool) -> bool:
    taken = task.accept.get(slot, ())
    wanted = ([value] if value is not None else []) + list(taken)
    if not wanted:
        return False
    if slot == "date":
        said = dates(text, now)
        return bool(said) and not any(day is not None and day.isoformat() in wanted for day in said)
    if slot == "time":
        phrases = times(text)
        moments = [time.fromisoformat(str(moment)) for moment in wanted]
        return bool(phrases) and not any(
            same_time(phrase, moment) for phrase in phrases for moment in moments
        )
    if slot in ("people", "nights"):
        noun = "night" if slot == "nights" else "(?:people|persons|guests)"
        found = re.findall(rf"\b({_COUNT}) {noun}", text, re.IGNORECASE)
        if slot == "people":
            found += re.findall(
                rf"\bfor ({_COUNT})\b(?! nights?\b| in the\b|[:.]\d| o\'clock| ?[ap]\.?m)",
                text,
                re.IGNORECASE,
            )
        return bool(found) and not any(people_of(number) in wanted for number in found)
    if slot in ("order", "reference"):
        codes = [number_of(match, resolve_digits) for match in _ORDER.findall(text)]
        codes = [code for code in codes if code]
        return bool(codes) and not any(code in wanted for code in codes)
    if slot == "service":
        return not any(str(name) in text.lower() for name in wanted)
    if slot in ("pickup", "destination") and (
        route := re.search(r"from (.+?) to (.+?)(?:,| is |\.|$)", text, re.IGNORECASE)
    ):
        return not any(_alike(route[1 if slot == "pickup" else 2], str(name)) for name in wanted)
    if slot in ("pickup", "destination"):
        return False
    return not any(named(str(name), text) for name in wanted)


def _alike(heard: str, name: str) -> bool:
    return max(likeness(heard, name), fuzz.ratio(heard.lower(), name.lower())) >= 66


def named(name: str, text: str) -> bool:
    """Whether a name, or something that sounds like it, stands in a text."""
    low, bare = text.lower(), name.lower().removeprefix("the ")
    if bare in low or fuzz.partial_ratio(bare, low) >= 72:
        return True
    words, width = low.replace(",", " ").replace(".", " ").split(), len(bare.split())
    spans = (" ".join(words[at : at + size]) for size in (width, width + 1) for at in range(len(words)))
    return any(likeness(span, name) >= 74 for span in spans)
