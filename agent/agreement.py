"""A yes that came before the call: the model asked in its own words, and called when the caller agreed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stretto.agent.assent import Answer, understand
from stretto.agent.question import Confirmable, asks_to_do
from stretto.llm.language_model import Call


def agreed(messages: Sequence[Mapping[str, Any]], calls: Sequence[Call], tools: Confirmable) -> str:
    """The question for just these calls that the caller has answered with a plain yes; "" if there is none.

    `messages`: a `History`'s, up to what the model says beside the calls. The question stands right before
    the caller's last words, was heard to its end, and names the deed and every value of each call. Nothing
    ran since.
    """
    said = list(messages)
    while said and _words_of("assistant", said[-1]):
        if said.pop()["content"].rstrip().endswith("?"):
            return ""  # the model asks anew
    answers = []
    while said and _words_of("user", said[-1]):
        answers.append(said.pop()["content"])
    if not (answers and said and _words_of("assistant", said[-1])) or "said" in said[-1]:
        return ""
    asked: str = said[-1]["content"]
    plain_yes = understand(" ".join(reversed(answers)), asked) is Answer.YES
    return asked if plain_yes and asks_to_do(asked, calls, tools) else ""


def _words_of(role: str, message: Mapping[str, Any]) -> bool:
    return message["role"] == role and bool(message["content"]) and not message.get("tool_calls")
