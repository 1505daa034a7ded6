"""Utterances of a simulated caller: their acts, and the style that picks the wording."""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, field
from typing import Literal

from stretto.tools.concierge import wording_answers, wording_requests
from stretto.tools.concierge.wording_values import Form

ActKind = Literal[
    "request", "inform", "search", "yes", "no", "choose", "nothing_else", "bye", "thanks", "repeat",
    "present", "small_talk", "out_of_scope", "person", "free_times", "cancel_that", "garbled",
]  # fmt: skip
HELD_OUT_SHARE = 15
"""Per cent of templates that training never uses."""
TEMPLATES: dict[str, tuple[str, ...]] = {**wording_requests.TEMPLATES, **wording_answers.TEMPLATES}


@dataclass(frozen=True, slots=True)
class Act:
    """What a piece of an utterance does; `value` as it stands in the written form."""

    kind: ActKind
    slot: str = ""
    value: str = ""


@dataclass(frozen=True)
class Utterance:
    """What a caller says: `text` for a voice, `written` as a recogniser might write it (or did).

    `pauses`: what a recogniser wrote at pauses inside it, each with the words that the caller went on with.
    """

    text: str
    written: str
    acts: tuple[Act, ...] = ()
    hang_up: bool = False
    templates: tuple[str, ...] = ()
    pauses: tuple[tuple[str, str], ...] = ()


def held_out_template(template: str) -> bool:
    """Whether a template, by its id ("group/number"), is kept out of training: a stable share of all.

    The first of each group never is, so that every group has something to train on.
    """
    group, _, number = template.rpartition("/")
    size = len(TEMPLATES[group])
    return size > 3 and number != "0" and zlib.crc32(template.encode()) % 100 < HELD_OUT_SHARE


_IDS: dict[tuple[str, bool], tuple[str, ...]] = {
    (group, out): tuple(
        f"{group}/{number}" for number in range(len(texts)) if held_out_template(f"{group}/{number}") == out
    )
    for group, texts in TEMPLATES.items()
    for out in (False, True)
}


@dataclass
class Style:
    """How one caller talks.

    Attributes:
        held_out: use templates kept out of training, wherever a group has some.
        reveal: share of the slots that the first request already names.
        misspelling: rate at which the written form of a name is misspelt.
        spelt_out: rate at which a value is written in words, as spoken ("twenty ninth").
        slips: rate at which the written form of another value has a misheard word or digit.
        hesitation: rate of "um", "let me see" and self-corrections.
        interludes: rate per turn of small talk, questions off topic, asking again.
        garbled: rate of turns of which nothing but a scrap is written.
        careless: rate at which a wrong read-back is let pass.
        polite: rate of "please" and its like.
        quits: turn after which the caller gives up, whatever happens; 0 for never.
    """

    rng: random.Random
    held_out: bool = False
    reveal: float = 0.5
    misspelling: float = 0.15
    spelt_out: float = 0.0
    slips: float = 0.05
    hesitation: float = 0.12
    interludes: float = 0.03
    garbled: float = 0.0
    careless: float = 0.0
    polite: float = 0.4
    quits: int = 0
    used: list[str] = field(default_factory=list)

    @classmethod
    def draw(cls, rng: random.Random, held_out: bool = False, noise: bool = False) -> Style:
        """A caller with habits of their own; `noise` adds bad lines and careless callers, for training."""
        return cls(
            rng,
            held_out=held_out,
            reveal=rng.choice((0.0, 0.0, 0.3, 0.5, 0.6, 1.0, 1.0)),
            hesitation=rng.choice((0.0, 0.05, 0.1, 0.25)),
            interludes=rng.choice((0.0, 0.03, 0.08, 0.15) if noise else (0.0, 0.0, 0.03, 0.08)),
            garbled=rng.choice((0.0, 0.0, 0.05)) if noise else 0.0,
            careless=rng.choice((0.0, 0.0, 1.0)) if noise else 0.0,
            spelt_out=0.7 if noise and rng.random() < 0.2 else 0.0,
            polite=rng.choice((0.1, 0.4, 0.8)),
            quits=rng.randint(1, 4) if noise and rng.random() < 0.02 else 0,
        )

    def pick(self, group: str) -> str:
        """A template of a group; which one is noted in `used`."""
        ids = (self.held_out and _IDS[group, True]) or _IDS[group, False]
        chosen = ids[int(self.rng.random() * len(ids))]
        self.used.append(chosen)
        return TEMPLATES[group][int(chosen.rpartition("/")[2])]


def fill(template: str, forms: dict[str, Form]) -> Form:
    """A template with its values, spoken and written."""
    if "{" not in template:
        return Form(template, template)
    spoken = template.format_map({name: form.spoken for name, form in forms.items()})
    return Form(spoken, template.format_map({name: form.written for name, form in forms.items()}))


def join(parts: list[Form], separator: str = " ") -> Form:
    """Several pieces in a row; empty ones are left out."""
    parts = [part for part in parts if part.spoken]
    return Form(separator.join(part.spoken for part in parts), separator.join(part.written for part in parts))


def sentence(form: Form) -> Form:
    """With a capital at the beginning and a mark at the end."""
    return Form(_sentence(form.spoken), _sentence(form.written))


def _sentence(text: str) -> str:
    text = re.sub(r"\s+([,.?!])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,")
    if not text:
        return text
    text = re.sub(r"(?<!\.m)([.!?]) ([a-z])", lambda match: f"{match[1]} {match[2].upper()}", text)
    # "p.m.. " and "? ." come from joining.
    text = re.sub(r"([.?!])[.,](?=\s|$)", r"\1", text)
    text = text[0].upper() + text[1:]
    if text[-1] not in ".?!":
        asks = re.match(
            r"(?:[\w' ]+[,.] )?(can|could|do|is|are|what|where|which|would|when|may|how|will)\b", text.lower()
        )
        text += "?" if asks else "."
    return text
