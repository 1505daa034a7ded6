"""What an answer to "Shall I ...?" means, by its plain words. Pure; English.

Of the four answers only `YES` lets something be done, so whatever is not plainly a yes is none.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Answer(StrEnum):
    """yes; no; other: something else is wanted or asked; unsure: neither, or not to be understood."""

    YES = "yes"
    NO = "no"
    OTHER = "other"
    UNSURE = "unsure"


def _words(text: str) -> list[str]:
    """Without apostrophes, which recognisers and typists leave out."""
    return re.findall(r"[a-z0-9]+", re.sub(r"['’]", "", text.lower()))


def _phrases(text: str) -> list[tuple[str, ...]]:
    found = [tuple(_words(line)) for line in re.split(r"[,\n]", text) if line.strip()]
    return sorted(found, key=len, reverse=True)


_YES = _phrases(
    """yes, yeah, yep, yup, yea, ya, ye, yah, aye, sure, sure thing, of course, absolutely,
    definitely, certainly,
    exactly, correct, confirm, confirmed, affirmative, indeed, perfect, great, excellent, wonderful, lovely,
    awesome, okay, ok, fine, alright, all right, right, uh huh, mm hmm, mhm, go ahead, go for it, go on,
    do it, do that, do so, please do, by all means, why not, you got it, you bet, no problem, sounds good,
    sounds great, sounds fine, sounds perfect, sounds wonderful, sounds right, that's good, that's it,
    that is it, that's right, that works, works for me, that'll do, that will do, i would like that,
    i'd like that, i'd love that, i would love that, i'd love to, i do, please proceed, proceed, make it so,
    be my guest, i would appreciate that, that would be appreciated, i'm sure, i am sure, no changes,
    i'd appreciate that, can't wait, it is, it does, that would be great,
    that would be good, that would be lovely, that would be fine, that would be perfect, that would
    be wonderful,
    make the reservation, make a reservation, make the booking, make a booking, make the appointment,
    make an appointment, make these reservations, try that, let's do it, let's do that, let's go"""
)
_NO = _phrases(
    """no, nope, nah, naw, no thanks, no thank you, not now, not yet, not quite yet, not just yet,
    may be later, maybe later, not really, not today, not at the moment,
    not right now, not this time, not at all, don't, do not, never mind, nevermind, forget it, forget that,
    forget about it, leave it, leave that, cancel, cancel it, cancel that, stop, stop it, skip it, skip that,
    hold off, rather not, i'd rather not, i would rather not, changed my mind, change my mind, scratch that,
    drop it, negative, no way, absolutely not, definitely not, certainly not, of course not,
    please don't, please don't do that, please don't do it, don't want, don't need, don't do it,
    don't do that, not interested, i don't think so, not ready,
    better not, wrong, incorrect, that's not right, not right, not correct, that's wrong, not what i"""
)
_UNSURE = _phrases(
    """maybe, perhaps, possibly, i guess, i guess so, i suppose, i suppose so, don't know, dunno, not sure,
    not certain, let me think, let me see, let me check, what, what was that, pardon, excuse me,
    huh, come again,
    say again, say that again, repeat that, repeat, depends, it depends, wait, hang on, hold on,
    one second, one moment, just a second, just a moment, a moment, a minute, could be, sort of,
    kind of, might,
    whatever, not so sure, can you repeat that, i didn't catch that, didn't hear, didn't get that,
    didn't understand"""
)
_NEUTRAL = frozenset(
    _words(
        """please thank thanks you your so much very a an the that that's this it it's is are be am
        was i i'd i'm i'll
    we we'd us me my for to of on at in with and or oh ah well um uh er hmm hm mm hey just then now
    would like love
    want need can could will shall should do does did let let's go ahead really good nice cool super brilliant
    mate man sir madam dear hello hi yes'm too also as quickly fast soon possible way right okay alright
    absolutely all set correct everything looks look sounds seems works fine great perfect ma'am there any
    thing things have has there's i've by think ready"""
    )
)
_CHANGES = frozenset(
    """but instead except unless only change make another different other rather actually also add plus change
    earlier later sooner cheaper bigger smaller if when until before after without sorry""".split()
)
_SOFTENS = frozenset(
    "but sorry actually rather later information info need needed needs necessary wont be help today".split()
)
"""In a no these change nothing ("no, but thank you")."""
_WANTS = frozenset(
    "need want like prefer with no not without for put take book get have wait stop hold".split()
)
"""A sentence behind a yes that has one of these may want something else."""
_ASKS = re.compile(
    r"(?:and )?(?:what|when|where|who|which|how|is|are|does|do|did|will|may i|(?:please )?(?:tell|give) me"
    r"|(?:can|could) (?:you|i)(?: please| also)* (?:tell|give|have|get))\b"
)
_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        (
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
        ).split()
    )
} | {"twenty": "20", "thirty": "30", "forty": "40", "fifty": "50"}


def understand(answer: str, question: str = "") -> Answer:
    """What the words of an answer say to the question; its own words in the answer add nothing to it."""
    said = _words(answer)
    asked = {_NUMBERS.get(word, _stem(word)) for word in _words(question)}
    whole = _meaning(said, asked)
    if whole is not Answer.OTHER:
        return whole
    # "Yes, that's right. What is the phone number?": the yes stands, and the rest is for the model.
    parts = [_words(part) for part in re.split(r"[.,!?;]+", answer) if _words(part)]
    for count in range(1, len(parts)):
        first = [word for part in parts[:count] for word in part]
        rest = [word for part in parts[count:] for word in part]
        if _meaning(first, asked) is Answer.YES and _only_asks(rest, asked):
            return Answer.YES
    head, _, tail = answer.partition(next(iter(re.findall(r"[.!?]", answer)), "."))
    if _meaning(_words(head), asked) is Answer.YES and _only_talks(_words(tail), asked):
        return Answer.YES
    return whole


def _stem(word: str) -> str:
    return re.sub(r"(?:'s|s|ed|ing)$", "", word) if len(word) > 4 else word


def _only_asks(words: list[str], asked: set[str]) -> bool:
    """The words ask for something to be told, and bring nothing that would change what is done."""
    if not _ASKS.match(" ".join(words)):
        return False
    return not any(word in _CHANGES - {"also"} or _new_number(word, asked) for word in words)


def _only_talks(words: list[str], asked: set[str]) -> bool:
    """A sentence of its own that wants nothing ("Yes. I hope the weather holds")."""
    kinds = {kind for kind, _ in _marked(words)}
    plain = not any(word in _CHANGES | _WANTS or _new_number(word, asked) for word in words)
    return plain and not kinds & {"n", "u"}


def _new_number(word: str, asked: set[str]) -> bool:
    number = _NUMBERS.get(word, word)
    return number[0].isdigit() and number not in asked


def _meaning(words: list[str], asked: set[str]) -> Answer:
    marked = _marked(words)
    kinds = {kind for kind, _ in marked if kind}
    left = [word for kind, word in marked if not kind]
    if "n" in kinds:
        left = [word for word in left if word not in _SOFTENS]
    changed = any(_new_number(word, asked) or (word in _CHANGES and word not in asked) for word in left)
    more = changed or any(
        word not in _NEUTRAL and _NUMBERS.get(word, _stem(word)) not in asked for word in left
    )
    if kinds >= {"y", "n"}:
        return Answer.OTHER if more else Answer.UNSURE
    if "n" in kinds:
        return Answer.OTHER if more else Answer.NO
    if more:
        return Answer.OTHER
    if "u" in kinds or "y" not in kinds:
        return Answer.YES if words and set(words) == {"please"} else Answer.UNSURE
    return Answer.YES


def _marked(words: list[str]) -> list[tuple[str, str]]:
    """Each stretch of words with what it says: y, n, u; "" where it says none of these."""
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(words):
        for kind, phrase in _LONGEST_FIRST:
            if tuple(words[place : place + len(phrase)]) == phrase:
                found.append((kind, " ".join(phrase)))
                place += len(phrase)
                break
        else:
            found.append(("", words[place]))
            place += 1
    return found


_LONGEST_FIRST = sorted(
    [(kind, phrase) for kind, listed in (("y", _YES), ("n", _NO), ("u", _UNSURE)) for phrase in listed],
    key=lambda each: -len(each[1]),
)
