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
    """The model's own words are the question: they end as one, and name every value of the calls."""
    if not words.rstrip().endswith("?"):
        return False
    asked = set(re.findall(r"\w+", plain(words)))
    values = [value for call in calls for value in leaves(call.arguments)]
    return bool(values) and all(set(re.findall(r"\w+", plain(value))) <= asked for value in values)


def _values(arguments: Mapping[str, Any]) -> Iterator[str]:
    for name, value in arguments.items():
        if value is True:
            yield as_words(name)
        elif value is False:
            yield f"not {as_words(name)}"
        elif value not in (None, "", [], {}):
            yield f"{as_words(name)} {_spoken(value)}"


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


def as_words(name: str) -> str:
    """A name as words: bookingDate and booking_date are both booking date."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").lower()


def leaves(value: Any) -> Iterator[str]:
    """All values of arguments, as text."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    elif value is not None:
        yield str(value)


_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def plain(text: str) -> str:
    """Lower case, small numbers as digits."""
    words = re.sub(r"[_-]", " ", text.lower())
    return re.sub(r"\b(" + "|".join(_NUMBERS) + r")\b", lambda found: str(_NUMBERS.index(found[1])), words)
