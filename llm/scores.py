"""How near what was written is to what was expected: calls, routing, replies, ends of turns.

Values of calls are compared as people mean them: case, spaces, punctuation and articles do not count, number
words are numbers, times are on the 24-hour clock, and a date is its month and day.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

_NUMBERS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty".split()
    )
}
_TENS = {w: 10 * n for n, w in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
        "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split(),
        1,
    )
}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*"
_ARTICLES = frozenset(("a", "an", "the"))


def plain(value: Any) -> str:
    """A value of an argument as it is compared."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{plain(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(plain(item) for item in value)) + "]"
    text = _numbered(str(value).lower().replace("’", "'"))
    return _date(text) or _time(text) or " ".join(w for w in re.findall(r"\w+", text) if w not in _ARTICLES)


def _numbered(text: str) -> str:
    """Number words and ordinals as digits."""
    words: list[str] = []
    for word in re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text).split():
        bare = word.strip(".,;:!?")
        tens = words and words[-1] in map(str, _TENS.values())
        if tens and 1 <= _NUMBERS.get(bare, 0) <= 9:
            words[-1] = str(int(words[-1]) + _NUMBERS[bare])
        elif tens and 1 <= _ORDINALS.get(bare, 0) <= 9:
            words[-1] = str(int(words[-1]) + _ORDINALS[bare])
        else:
            known = {**_NUMBERS, **_TENS, **_ORDINALS}
            words.append(str(known[bare]) if bare in known else word)
    return re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", r"\1", " ".join(words))


def _date(text: str) -> str | None:
    if match := re.fullmatch(r"(?:\d{4}-)?(\d{1,2})-(\d{1,2})", text):
        return f"date {int(match[1])}-{int(match[2])}"
    bare = " ".join(re.findall(r"\w+", re.sub(r"\b(?:of|the|on)\b", " ", text)))
    bare = re.sub(r"^(?:mon|tues?|wednes|thurs?|fri|satur|sun)day ", "", bare)
    if match := re.fullmatch(rf"{_MONTH} (\d{{1,2}})(?: \d{{4}})?", bare):
        return f"date {_MONTHS.index(match[1]) + 1}-{int(match[2])}"
    if match := re.fullmatch(rf"(\d{{1,2}}) {_MONTH}(?: \d{{4}})?", bare):
        return f"date {_MONTHS.index(match[2]) + 1}-{int(match[1])}"
    return None


def _time(text: str) -> str | None:
    bare = re.sub(r"\b(?:at|around|o'clock)\b", " ", text).strip(" .")
    bare = re.sub(r"\s*in the (morning|afternoon|evening)$", lambda m: "am" if m[1][0] == "m" else "pm", bare)
    if match := re.fullmatch(r"(half|quarter) (past|to) (\d{1,2})\s*([ap])?\.?m?", bare):
        hour, minute = int(match[3]), 30 if match[1] == "half" else 15
        if match[2] == "to":
            hour, minute = hour - 1, 60 - minute
        return _clock(hour, minute, match[4])
    match = re.fullmatch(r"(\d{1,2})(?:[:.](\d\d)(?::\d\d)?)?\s*(?:([ap])\.?\s?m)?", bare)
    if match and (match[2] or match[3] or "o'clock" in text):
        return _clock(int(match[1]), int(match[2] or 0), match[3])
    return None


def _clock(hour: int, minute: int, half: str | None) -> str:
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"time {hour:02d}:{minute:02d}"


Call = tuple[str, Mapping[str, Any]]
"""A tool's name and its arguments."""


def same_call(one: Call, other: Call) -> bool:
    """The same tool with the same arguments."""
    return one[0] == other[0] and _pairs(one) == _pairs(other)


def _pairs(call: Call) -> Counter[tuple[str, str]]:
    return Counter((key, plain(value)) for key, value in call[1].items() if value is not None)


def argument_hits(expected: Call, written: Call | None) -> tuple[int, int, int]:
    """Arguments that agree, expected and written ones; none agrees with the arguments of another tool."""
    wanted = _pairs(expected)
    given = _pairs(written) if written is not None else Counter()
    agree = (wanted & given).total() if written is not None and written[0] == expected[0] else 0
    return agree, wanted.total(), given.total()


def balanced_accuracy(decisions: Sequence[tuple[bool, bool]]) -> float | None:
    """Mean of the shares right among the true and among the false ones of (expected, decided)."""
    shares = []
    for kind in (True, False):
        right = [decided == kind for expected, decided in decisions if expected == kind]
        if not right:
            return None
        shares.append(sum(right) / len(right))
    return sum(shares) / 2


def auc(low: Sequence[float], high: Sequence[float]) -> float | None:
    """Probability that one of `high` is above one of `low` (ties half)."""
    if not low or not high:
        return None
    above = sum((one > other) + 0.5 * (one == other) for one in high for other in low)
    return above / (len(low) * len(high))


def repetition(text: str) -> float:
    """Share of the three-word runs that came before in the same text."""
    words = text.lower().split()
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct(texts: Sequence[str], size: int) -> float:
    """Share of different runs of `size` words among all runs (distinct-n, Li et al. 2016)."""
    runs = [
        tuple(words[i : i + size])
        for words in (text.lower().split() for text in texts)
        for i in range(len(words) - size + 1)
    ]
    return len(set(runs)) / len(runs) if runs else 0.0


def chrf(written: Sequence[str], expected: Sequence[str]) -> float:
    """chrF over all replies, 0..100 (Popović 2015)."""
    return float(CHRF().corpus_score(list(written), [list(expected)]).score) if written else 0.0


def chrf_difference(
    written: Sequence[str],
    other: Sequence[str],
    expected: Sequence[str],
    dialogues: Sequence[int],
    draws: int = 500,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How much more chrF `written` has than `other`, and the ends of the 95 % interval.

    By paired bootstrap (Koehn 2004): the same dialogues, with all of their replies, are drawn for both.
    """
    metric, rng = CHRF(), random.Random(seed)
    counts = [  # n-grams of each reply: sacreBLEU adds them up, and has no public way to draw among them
        metric._extract_corpus_statistics(list(texts), [list(expected)]) for texts in (written, other)
    ]
    places: dict[int, list[int]] = defaultdict(list)
    for place, dialogue in enumerate(dialogues):
        places[dialogue].append(place)

    def difference(drawn: Sequence[int]) -> float:
        chosen = [place for dialogue in drawn for place in places[dialogue]]
        mine, theirs = (
            float(metric._aggregate_and_compute([one[i] for i in chosen]).score) for one in counts
        )
        return mine - theirs

    every = list(places)
    drawn = sorted(difference(rng.choices(every, k=len(every))) for _ in range(draws))
    return difference(every), drawn[int(0.025 * draws)], drawn[int(0.975 * draws)]


def bleu(written: Sequence[str], expected: Sequence[str]) -> float:
    """BLEU over all replies, 0..100 (Papineni et al. 2002), sacreBLEU's standard form."""
    return float(BLEU().corpus_score(list(written), [list(expected)]).score) if written else 0.0
