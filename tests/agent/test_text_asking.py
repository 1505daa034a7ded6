"""Questions before a tool runs, in text: what `stretto chat` does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from stretto.agent.answer import answer
from stretto.agent.text_asking import TextDialogue
from stretto.llm.language_model import Call, Draft
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import tool

QUESTION = "Shall I book a table: people 2?"


def dialogue(cast: Any, drafts: list[Any], *said: str) -> tuple[list[str], list[int], Any, list[Any]]:
    """The agent's words, the bookings made, the conversation, all results."""
    made: list[int] = []

    @tool(confirm=True)
    async def book(people: int) -> dict[str, int]:
        """Book a table."""
        made.append(people)
        return {"booked": people}

    @tool
    async def look() -> str:
        """Look."""
        return "found"

    async def hold() -> tuple[list[str], list[Any]]:
        conversation = cast.Model(drafts)
        opened = conversation.open("", [])
        runner, kept = ToolRunner([book, look]), TextDialogue()
        replies = [await answer(opened, runner, words, dialogue=kept) for words in said]
        return [reply.text for reply in replies], [opened, kept.history.messages]

    texts, (opened, messages) = asyncio.run(hold())
    return texts, made, opened, [json.loads(m["content"]) for m in messages if m["role"] == "tool"]


def wants(people: int = 2, name: str = "c0", text: str = "", *more: Call) -> Draft:
    return Draft(text, (*more, Call(name, "book", {"people": people})))


def test_yes_no_and_a_changed_mind(cast: Any) -> None:
    texts, made, _, results = dialogue(cast, [wants(), "Booked."], "book it", "yes")
    assert (texts, made) == ([QUESTION, "Booked."], [2]) and results == [{"confirmed": True, "booked": 2}]
    texts, made, _, results = dialogue(cast, [wants(), "Fine."], "book it", "no thanks")
    assert (texts, made) == ([QUESTION, "Fine."], []) and "declined" in results[0]
    drafts = [wants(), wants(3, "c1"), "Booked."]
    texts, made, _, _ = dialogue(cast, drafts, "book it", "yes but for three", "yes")
    assert (texts, made) == ([QUESTION, "Shall I book a table: people 3?", "Booked."], [3])


def test_an_unclear_answer_is_asked_about_once_and_then_not_done(cast: Any) -> None:
    texts, made, _, results = dialogue(cast, [wants()], "book it", "hmm", "maybe")
    assert texts == [QUESTION, QUESTION, "All right, I have not done it."]
    assert made == [] and "no clear answer" in results[0]["declined"]


def test_words_and_plain_calls_beside_it(cast: Any) -> None:
    draft = wants(2, "c0", "One moment.", Call("c9", "look", {}))
    texts, made, opened, results = dialogue(cast, [draft, "All done."], "look and book", "sure")
    assert texts == [f"One moment. {QUESTION}", "All done."] and made == [2]
    assert results == ["found", {"confirmed": True, "booked": 2}]
    assert [entry[0] for entry in opened.log if entry[0] == "restore"] == ["restore", "restore"]


@pytest.mark.parametrize("again", ["yes", "yes yes"])
def test_a_second_yes_runs_nothing_more(cast: Any, again: str) -> None:
    texts, made, _, _ = dialogue(cast, [wants(), "Booked.", "You are welcome."], "book it", "yes", again)
    assert made == [2] and texts[-1] == "You are welcome."


def test_the_same_call_written_again_at_once_is_not_run_again(cast: Any) -> None:
    texts, made, _, _ = dialogue(cast, [wants(), wants(2, "c7"), "Booked."], "book it", "yes")
    assert made == [2] and texts[-1] == "Booked."


def test_who_said_yes_to_the_models_own_question_is_not_asked_again(cast: Any) -> None:
    own = Draft("Shall I book a table for 2?")
    texts, made, _, results = dialogue(cast, [own, wants(), "Booked."], "a table for two", "yes please")
    assert (texts, made) == (["Shall I book a table for 2?", "Booked."], [2])
    assert results == [{"confirmed": True, "booked": 2}]
    # A call for something else is asked for, and so is the same once more.
    texts, made, _, _ = dialogue(cast, [own, wants(3)], "a table for two", "yes please")
    assert (texts[-1], made) == ("Shall I book a table: people 3?", [])
    drafts = [own, wants(), "Booked.", own, wants(2, "c1")]
    texts, made, _, _ = dialogue(cast, drafts, "a table for two", "yes", "one more", "yes")
    assert made == [2] and texts[-1].endswith("?") and "done that already" in texts[-1]
