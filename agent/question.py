"""The question before a call that needs the caller's yes, out of the tool's description and the arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from stretto.agent.canned import Canned
from stretto.llm.language_model import Call


class Confirmable(Protocol):
    """What is known of a tool: `ToolRunner` tells."""

    def description(self, name: str) -> str: ...
    def question(self, name: str) -> str | None:
        """The tool's own question, with arguments in braces; None for one made of its description."""
        ...


def question(calls: Sequence[Call], tools: Confirmable, canned: Canned, again: bool = False) -> str:
    """What the caller is asked. A tool's own question stands for itself; all others are one."""
    own, actions = [], []
    for call in calls:
        template = tools.question(call.name)
        text = filled(template, call.arguments) if template and not again else None
        if text is not None:
            own.append(text)
        else:
            actions.append(action(tools.description(call.name) or call.name, call.arguments))
    wording = canned.confirm_again if again else canned.confirm
    made = [wording.replace("{action}", ", and ".join(actions))] if actions else []
    return " ".join([*own, *made])


def action(description: str, arguments: Mapping[str, Any]) -> str:
    """What a call does, as it goes on after "Shall I": "book a table: day Friday, people 2"."""
    sentence = re.split(r"(?<=[.!?])\s", description.strip())[0].rstrip(".!?: ")
    first, _, rest = sentence.partition(" ")
    # An abbreviation or a name keeps its capitals.
    first = first if first[1:] != first[1:].lower() else first.lower()
    said = ", ".join(_values(arguments))
    return f"{first} {rest}".strip() + (f": {said}" if said else "")


def filled(template: str, arguments: Mapping[str, Any]) -> str | None:
    """A tool's own question with the values in it; None if it names one that the call does not have."""
    missing = False

    def value(found: re.Match[str]) -> str:
        nonlocal missing
        missing |= found[1] not in arguments
        return _spoken(arguments.get(found[1]))

    text = re.sub(r"\{(\w+)\}", value, template)
    return None if missing else text


def asks_itself(words: str, calls: Sequence[Call]) -> bool:
    """The model's own words are the question: they end as one, which names every value of the calls."""
    asked = set(re.findall(r"\w+", _plain(_asking(words, calls))))
    values = [value for call in calls for value in _leaves(call.arguments)]
    return bool(values) and all(set(re.findall(r"\w+", _plain(value))) <= asked for value in values)


def asks_to_do(words: str, calls: Sequence[Call], tools: Confirmable) -> bool:
    """The same for a question without the calls beside it: it names what they do, too, and nothing else."""
    said = _asking(words, calls).lower()
    spoken = re.findall(r"\w+", said)
    deeds = [{_words(text).split()[0] for text in (c.name, tools.description(c.name)) if text} for c in calls]
    named = all(any(_inflected(word, deed) for word in spoken for deed in both) for both in deeds)
    return named and not _OTHERWISE.search(said) and asks_itself(words, calls)


_OTHERWISE = re.compile(r"n['’]t\b|\b(?:not|cannot|never|no|nor|or|instead|without|unless|else)\b")
_CHECKS = frozenset(
    """is that this it correct right ok okay fine good so shall should can may i do does you want me to go
    ahead with sound work for would be like please confirm could and then proceed now alright yes""".split()
)
"""A last sentence of these words alone is about the one before it ("Is that correct?")."""


def _asking(words: str, calls: Sequence[Call]) -> str:
    """The sentences of some words that are a question at their end; "" where they end as none."""
    sentences = re.split(r"(?<=[.!?])\s+", words.strip())
    if not sentences[-1].endswith("?"):
        return ""
    deeds = {_words(call.name).split()[0] for call in calls}
    mere = all(
        word in _CHECKS or any(_inflected(word, deed) for deed in deeds)
        for word in re.findall(r"\w+", sentences[-1].lower())
    )
    return " ".join(sentences[-2:] if mere else sentences[-1:])


def _inflected(word: str, verb: str) -> bool:
    """ "booking", "booked" of "book"; "moved" of "move"."""
    return len(verb) > 2 and word.startswith(verb) and len(word) - len(verb) <= 4


def _values(arguments: Mapping[str, Any]) -> Iterator[str]:
    for name, value in arguments.items():
        if value is True:
            yield _words(name)
        elif value is False:
            yield f"not {_words(name)}"
        elif value not in (None, "", [], {}):
            yield f"{_words(name)} {_spoken(value)}"


def _spoken(value: Any) -> str:
    """A value as it is said; the voice reads numbers, dates and times itself."""
    if isinstance(value, Mapping):
        return ", ".join(_values(value))
    if isinstance(value, list | tuple):
        said = [_spoken(each) for each in value]
        return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else "".join(said)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else " ".join(str(value).replace("_", " ").split())


def _words(name: str) -> str:
    """A name as words: bookingDate and booking_date are both booking date."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").lower()


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None:
        yield str(value)


_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def _plain(text: str) -> str:
    """Lower case, small numbers as digits."""
    words = re.sub(r"[_-]", " ", text.lower())
    return re.sub(r"\b(" + "|".join(_NUMBERS) + r")\b", lambda found: str(_NUMBERS.index(found[1])), words)
