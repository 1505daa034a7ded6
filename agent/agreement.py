"""A yes that came before the call: the model asked in its own words, and called when the caller agreed.

Everything that is doubtful counts as none; then the agent asks. So the question may hold nothing but an offer
(`_OFFER`), what the call does and its values, and words that bind these (`_BINDING`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from stretto.agent.assent import Answer, understand
from stretto.agent.question import Confirmable, as_words, leaves, plain
from stretto.llm.language_model import Call

_OFFER = re.compile(
    r"\b(?:(?:shall|should|may|can) i|(?:would you like|(?:do )?you want|you(?:'d| would) like)(?: me)? to"
    r"|so i|i will|i'll)(?: go ahead and)? (\w+)"
)
_BINDING = frozenset(
    """a an the for to on at of in with from by your you i me so then and now please just okay ok is that this
    it correct right fine do does want would like will shall should may can go ahead d ll""".split()
)
_OTHERWISE = frozenset("not no nor or never without unless instead except t".split())


def agreed(messages: Sequence[Mapping[str, Any]], calls: Sequence[Call], tools: Confirmable) -> str:
    """The question for just this call that the caller has answered with a plain yes; "" if there is none.

    `messages`: a `History`'s. The caller's words are its last, the question, heard to its end, stands right
    before them. One call only, with one text and one number at most: of two nobody could tell which is which.
    """
    said = list(messages)
    answers = []
    while said and _words_of("user", said[-1]):
        answers.append(said.pop())
    if not answers or not said or len(calls) != 1:
        return ""
    question = said.pop()
    if not _words_of("assistant", question) or "said" in question:
        return ""
    if said and _words_of("assistant", said[-1]):
        return ""  # the end of something longer
    if question.get("typed") and not all(each.get("typed") for each in answers):
        return ""  # nobody heard it
    asked: str = question["content"]
    answer = " ".join(each["content"] for each in reversed(answers))
    return asked if understand(answer, asked) is Answer.YES and offers(asked, calls[0], tools) else ""


def offers(words: str, call: Call, tools: Confirmable) -> bool:
    """Some words offer to make a call, name its values, and say nothing else."""
    text = plain(words.replace("\u2019", "'"))
    values = [plain(value) for value in leaves(call.arguments)]
    numbers = [value for value in values if value.replace(".", "").isdigit()]
    told_apart = len(values) == 1 or (len(values) == 2 and len(numbers) == 1)
    if not told_apart or not text.rstrip().endswith("?"):
        return False
    described = plain(re.split(r"(?<=[.!?])\s", tools.description(call.name).strip())[0])
    deeds = [deed for each in (as_words(call.name), described) if (deed := _content(each))]
    spoken = re.findall(r"\w+", text)
    offered = _OFFER.search(text)
    if offered is None or not any(_inflected(offered[1], deed[0]) for deed in deeds):
        return False
    if not any(all(any(_inflected(each, word) for each in spoken) for word in deed) for deed in deeds):
        return False
    left = Counter(spoken)
    left.subtract(re.findall(r"\w+", " ".join(values)))
    known = {word for name in call.arguments for word in as_words(name).split()}.union(*deeds)

    def explained(word: str) -> bool:
        bound = word in _BINDING or any(_inflected(word, each) for each in known)
        return bound and word not in _OTHERWISE

    return all(count >= 0 and (count == 0 or explained(word)) for word, count in left.items())


def _content(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text) if word not in _BINDING]


def _inflected(word: str, plain_word: str) -> bool:
    """ "booking", "booked" of "book"; "cancelled" of "cancel"; "moving" of "move"."""
    stem = plain_word.removesuffix("e")
    ends = {plain_word + "s", stem + "ed", stem + "ing"}
    ends |= {plain_word + plain_word[-1:] + end for end in ("ed", "ing")}
    return word == plain_word or word in ends


def _words_of(role: str, message: Mapping[str, Any]) -> bool:
    return message["role"] == role and bool(message["content"]) and not message.get("tool_calls")
