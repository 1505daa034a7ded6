"""`--facts FILE`: the tool `find_information`, which finds what a business's own text says about a question.

The question may be paraphrased and misspelt, as a recogniser leaves it; nothing is learnt and nothing is
asked of a model. Passages are ranked by BM25 over word stems, a word's near misses counting for less.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import jellyfish
from rapidfuzz import process
from rapidfuzz.distance import OSA
from stretto.agent.passages import Passage, passages
from stretto.tools.tool import Tool, ToolError

BUDGET = 600
"""Characters of an answer: about forty seconds of speech."""
LARGEST = 1024 * 1024
"""Bytes of a file of facts."""
WORDS = 24
"""Content words of a question that are looked at."""
MOST = 3
"""Passages in an answer."""
FITS = 0.25
"""Share of a question's weight that a passage must cover."""
BESIDE = 0.6
"""A further passage is told from this share of the best one's score on."""
SYNONYM, BESIDE_SYNONYM, NEAR = 0.6, 0.3, 0.9
"""What a word counts that stands for one of the question: instead of it, beside it, spelt differently."""
UNKNOWN = 0.4
"""What a word counts that the text does not know, of what its rarest word counts."""

STOP = frozenset(
    "a about actually after all along also am an and any anything are as at be because been before "
    "being bring but by can come could did do does doing dont during for from get give go going got had "
    "has have hello hey hi how i id if ill im in info information into is it its ive just kind know let "
    "lets like long many may maybe me might mine more most much must my need no not of off ok okay on "
    "one or our out over please policy possible question shall she should so some something tell than "
    "thank thanks that thats the their them then there theres these they thing this those to too uh um "
    "under up us use want was we well were what whats when where whether which who why will with wonder "
    "wondering would yes you your yours".split()
)
SYNONYMS = tuple(
    frozenset(group.split())
    for group in (
        "open opening close closing closed hours time times late early",
        "price prices cost costs charge charges fee fees rate rates expensive cheap tariff pay",
        "pay payment payments card cards cash credit visa mastercard invoice",
        "refund refunds return returns reimburse money exchange",
        "cancel cancellation cancelling change reschedule postpone",
        "park parking car cars garage vehicle drive driving",
        "pet pets dog dogs cat cats puppy animal animals",
        "address location located directions find street situated",
        "bus train tram metro station airport shuttle transport",
        "child children kid kids baby babies toddler family",
        "wifi internet wireless online",
        "wheelchair accessible accessibility disabled disability lift elevator ramp steps",
        "breakfast lunch dinner supper meal meals food menu eat restaurant",
        "vegetarian vegan allergy allergies allergic gluten nuts diet",
        "phone telephone number email mail contact reach",
        "book booking bookings reserve reservation reservations appointment",
        "deliver delivery deliveries ship shipping shipment courier",
        "warranty guarantee broken defect defective faulty repair fix",
        "lost forgot forgotten",
        "passport identification identity licence",
        "checkin arrive arrival arriving",
        "checkout depart departure leave leaving",
        "smoke smoking cigarette cigarettes vape vaping smokers",
        "discount discounts student students senior seniors coupon voucher reduced",
        "toilet toilets restroom bathroom washroom",
    )
)
ASKED = (
    (re.compile(r"\bhow (much|expensive)\b"), "price"),
    (re.compile(r"\b(when|how (late|early)|what time)\b"), "hours"),
    (re.compile(r"\b(where|how do i (get|come))\b"), "address"),
)
"""Question words that say what is asked for."""


class FactsError(ValueError):
    """A file of facts cannot be used; the message says what to do."""


def facts_tool(path: str | Path) -> Tool:
    """The tool `find_information` over a text or Markdown file, read once. Raises `FactsError`."""
    facts = load_facts(path)

    # Not look_up: the embedded model knows that as a name of searches of every kind and took it for them all.
    def find_information(question: str) -> str:
        return facts.look_up(question)

    find_information.__doc__ = facts.description()
    return Tool(find_information, read_only=True)


def load_facts(path: str | Path) -> Facts:
    """Read and index a file. Raises `FactsError`: missing, empty, too large, no text."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise FactsError(
            f"the facts {path} cannot be read ({error.strerror or error}): check --facts"
        ) from error
    if len(data) > LARGEST:
        raise FactsError(f"the facts {path} are larger than 1 MiB: keep what callers ask for")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FactsError(f"the facts {path} are no text: save them as UTF-8 text or Markdown") from error
    if "\0" in text:
        raise FactsError(f"the facts {path} are no text: save them as UTF-8 text or Markdown")
    try:
        return Facts(text)
    except FactsError as error:
        raise FactsError(f"the facts {path}: {error}") from None


class Facts:
    """An index over passages, made once; `look_up` may be called from any thread."""

    def __init__(self, text: str) -> None:
        """Raises `FactsError` for a text without a word."""
        self.passages = list(passages(text))
        self._counts: dict[str, dict[int, float]] = defaultdict(dict)
        self._lengths: list[float] = []
        for number, passage in enumerate(self.passages):
            counts = Counter(stems(passage.text))
            for stem in stems(passage.heading):
                counts[stem] += 2
            for stem, count in counts.items():
                self._counts[stem][number] = count
            self._lengths.append(sum(counts.values()))
        if not self._counts:
            raise FactsError("there are no words in it: write down what callers ask for")
        self._mean = sum(self._lengths) / len(self._lengths)
        self._synonyms: dict[str, set[str]] = defaultdict(set)
        for group in SYNONYMS:
            known = {stem_of(word) for word in group}
            for stem in known:
                self._synonyms[stem] |= known - {stem}
        self._known = [
            stem for stem in {**self._counts, **self._synonyms} if len(stem) >= 3 and stem.isalpha()
        ]
        self._sounds: dict[str, list[str]] = defaultdict(list)
        for stem in self._known:
            self._sounds[jellyfish.metaphone(stem)].append(stem)

    def description(self) -> str:
        """What the tool is for, with the headings of the text as far as they fit."""
        topics = ""
        for heading in dict.fromkeys(passage.heading for passage in self.passages if passage.heading):
            if len(topics) + len(heading) > 120:
                break
            topics += f", {heading}" if topics else heading
        return (
            f"Look up facts about the business: {topics}." if topics else "Look up facts about the business."
        )

    def look_up(self, question: str, budget: int = BUDGET) -> str:
        """The best passages, `budget` characters at most. Raises `ToolError` when nothing fits."""
        asked, hints = self._asked(question), self._hints(question)
        if not asked and not hints:
            raise ToolError("Please ask for something in particular.")
        scores: dict[int, float] = defaultdict(float)
        covered: dict[int, float] = defaultdict(float)
        whole = 0.0
        for at, meant in enumerate((*asked, *hints)):
            known = {stem: weight for stem, weight in meant.items() if stem in self._counts}
            # A synonym that is rarer than the word itself is no better sign.
            rarity = min((self._rarity(stem) for stem in known), default=UNKNOWN * self._rarity(""))
            counts = rarity if at < len(asked) or not asked else 0.0
            whole += counts
            best: dict[int, tuple[float, float]] = {}
            for stem, weight in known.items():
                for number, count in self._counts[stem].items():
                    found = weight * self._saturated(count, number), weight
                    best[number] = max(best.get(number, found), found)
            for number, (score, weight) in best.items():
                scores[number] += rarity * score
                covered[number] += counts * weight
        ranked = sorted(
            (number for number in scores if covered[number] >= FITS * whole), key=lambda n: (-scores[n], n)
        )
        if not ranked:
            raise ToolError("There is nothing about that in our information.")
        near = [number for number in ranked[:MOST] if scores[number] >= BESIDE * scores[ranked[0]]]
        return _told([self.passages[number] for number in near], budget)

    def _asked(self, question: str) -> list[dict[str, float]]:
        """For each content word the stems that it may mean, with weights up to 1."""
        asked: list[dict[str, float]] = []
        tokens = list(words(question))[: 4 * WORDS]
        at = 0
        while at < len(tokens) and len(asked) < WORDS:
            token, joined = tokens[at], "".join(tokens[at : at + 2])
            at += 1
            if joined != token and (whole := self._as_one(token, tokens[at], joined)):
                asked.append(whole)  # "re fund", "wi fi", "check in"
                at += 1
            elif token not in STOP:
                asked.append(self._meant(token))
        return asked

    def _hints(self, question: str) -> list[dict[str, float]]:
        """What words like "when" ask for: they rank passages, and find some only where nothing else does."""
        plain = fold(question)
        stems = [stem_of(word) for pattern, word in ASKED if pattern.search(plain)]
        return [dict.fromkeys({stem, *self._synonyms[stem]}, SYNONYM) for stem in stems]

    def _as_one(self, first: str, second: str, joined: str) -> dict[str, float]:
        """What two words mean that a recogniser took apart; empty if they are two."""
        if len(joined) < 4:
            return {}
        apart = {stem: 1.0 for word in (first, second) if (stem := stem_of(word)) in self._counts}
        if stem_of(joined) in self._counts:
            return {**apart, **self._meant(joined)}
        return {} if apart or {first, second} & STOP else self._near(joined)

    def _meant(self, token: str) -> dict[str, float]:
        stem = stem_of(token)
        if stem in self._counts:
            return {**dict.fromkeys(self._synonyms.get(stem, ()), BESIDE_SYNONYM), stem: 1.0}
        found = dict.fromkeys(self._synonyms.get(stem, ()), SYNONYM)
        for cut in range(2, len(token) - 1):  # "checkin", "carpark"
            parts = [token[:cut], token[cut:]]
            if all(part in STOP or stem_of(part) in self._counts for part in parts):
                found |= {stem_of(part): NEAR for part in parts if part not in STOP}
        return self._near(token) | found

    def _near(self, token: str) -> dict[str, float]:
        """Words that are spelt or sound nearly so; a misspelt word has the synonyms of what it means."""
        stem = stem_of(token)
        if len(token) < 4 or not token.isalpha():
            return {}
        allowed = 1 / len(stem) if len(stem) < 8 else 0.25
        close = process.extract(
            stem, self._known, scorer=OSA.normalized_similarity, score_cutoff=1 - allowed - 1e-6, limit=4
        )
        alike = {other: likeness for other, likeness, _ in close if len(stem) >= 5}
        for other in self._sounds.get(jellyfish.metaphone(stem), [])[:50]:
            if (likeness := OSA.normalized_similarity(stem, other)) >= 0.5:
                alike[other] = max(likeness, 0.8)
        found = {other: NEAR * likeness for other, likeness in alike.items()}
        for other, weight in list(found.items()):
            for synonym in self._synonyms.get(other, ()):
                found.setdefault(synonym, SYNONYM * weight)
        return found

    def _rarity(self, stem: str) -> float:
        holders = len(self._counts.get(stem, ()))
        return math.log(1 + (len(self.passages) - holders + 0.5) / (holders + 0.5))

    def _saturated(self, count: float, number: int) -> float:
        return count * 2.2 / (count + 1.2 * (0.25 + 0.75 * self._lengths[number] / self._mean))


# ---------------------------------------------------------------------- words


def fold(text: str) -> str:
    """Lower case, without accents and apostrophes, in ASCII."""
    plain = unicodedata.normalize("NFKD", text).replace("’", "'").replace("'", "")
    return plain.encode("ascii", "ignore").decode().lower()


def words(text: str) -> Iterator[str]:
    """The words; those with a hyphen also as one."""
    for word in re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", fold(text)):
        parts = word.split("-")
        yield from (part[:40] for part in parts)
        if len(parts) == 2:
            yield word.replace("-", "")[:40]


def stems(text: str) -> Iterator[str]:
    """What is indexed of a text."""
    return (stem_of(word) for word in words(text) if word not in STOP)


def stem_of(word: str) -> str:
    """The word without the commonest English endings; near misses are left to the fuzzy match."""
    if len(word) <= 3 or not word.isalpha():
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + instead
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    if len(word) > 4 and word.endswith("ll"):
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] in "ey" else word


_ENDINGS = (
    ("ations", ""),
    ("ation", ""),
    ("ments", ""),
    ("ment", ""),
    ("ables", ""),
    ("able", ""),
    ("ings", ""),
    ("ing", ""),
    ("ies", "y"),
    ("ied", "y"),
    ("sses", "ss"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("xes", "x"),
    ("ed", ""),
    ("es", "e"),
    ("ss", "ss"),
    ("us", "us"),
    ("s", ""),
)


def _told(found: Iterable[Passage], budget: int) -> str:
    """The passages in order, a heading once; what does not fit is left out, and the first one cut."""
    told, heading = "", ""
    for passage in found:
        named = passage.heading and passage.heading != heading
        piece = f"{passage.heading}: {passage.text}" if named else passage.text
        if told and len(told) + 1 + len(piece) > budget:
            continue
        told += f"\n{piece}" if told else piece
        heading = passage.heading
    return told if len(told) <= budget else told[: max(0, budget - 3)].rstrip() + "..."[:budget]
