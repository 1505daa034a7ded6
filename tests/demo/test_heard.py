"""Dialogues with recognised callers: the agent copies what was heard, and pauses are written down."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from stretto.demo.heard import LOST, Ears, as_heard, counterpart
from stretto.tools.concierge.dialogues import generate
from stretto.tools.concierge.wording import Act, Utterance

NOW = datetime(2026, 11, 20, 12)


@pytest.mark.parametrize(
    ("value", "written", "heard", "found"),
    [
        ("Birch Theater", "I'm at Birch Theater.", "I'm Matt, works theater.", "works theater"),
        ("78 49", "78 49 I think.", "7 8 4 9 I think", "7 8 4 9"),
        ("4:30 p.m.", "Make it 4:30 p.m.", "make it for 30 p.m.", "for 30 p.m."),
        ("the third", "On the third.", "on the 3rd.", "the 3rd"),
        ("four", "It's Joe, for four.", "It's Joe for four.", "four"),
        ("Joe", "It's Joe, for four.", "It's Joe for four.", "Joe"),
        ("6 2", "It's 6 2, right.", "It's right.", None),
        ("Elm", "To Elm please.", "To all of them and then to the police", None),
    ],
)
def test_a_value_is_found_where_it_was_said(value: str, written: str, heard: str, found: str | None) -> None:
    assert counterpart(value, written, heard) == found


def said(text: str, *acts: Act) -> Utterance:
    return Utterance(text, text, acts)


def test_values_are_those_that_were_heard() -> None:
    meant = said("A table at the Copper Kettle, for four.", Act("inform", "restaurant", "the Copper Kettle"))
    heard = as_heard(meant, "A table at the copper cattle for four.", NOW)
    assert heard.acts == (Act("inform", "restaurant", "the copper cattle"),)
    assert heard.written == "A table at the copper cattle for four."


@pytest.mark.parametrize(
    ("meant", "heard"),
    [
        (said("Yes please."), "The weather tomorrow is fine."),
        (said("On Sunday, please.", Act("inform", "date", "Sunday")), "On someday, please."),
        (said("A table for two.", Act("inform", "people", "two")), "A table for do."),
        (
            said("The Copper Kettle.", Act("inform", "restaurant", "The Copper Kettle")),
            "I'll see you tomorrow.",
        ),
        (said("An Italian place.", Act("search", "food", "italian")), "A tiling place."),
    ],
    ids=["another sentence", "no day", "no number", "no name", "the food is gone"],
)
def test_what_nobody_could_answer_is_asked_again(meant: Utterance, heard: str) -> None:
    found = as_heard(meant, heard, NOW)
    assert found.acts == LOST and found.written == heard


def test_a_value_that_is_gone_takes_only_its_own_act_along() -> None:
    meant = said(
        "A table for two on Sunday.", Act("inform", "people", "two"), Act("inform", "date", "Sunday")
    )
    assert as_heard(meant, "A table for do on Sunday.", NOW).acts == (Act("inform", "date", "Sunday"),)


def test_the_same_value_in_other_signs_is_no_other_sentence() -> None:
    meant = said("At eight fifteen a m.", Act("inform", "time", "eight fifteen a m"))
    assert as_heard(meant, "at 815 AM.", NOW).acts == (Act("inform", "time", "815 AM"),)
    meant = said("A 4-star place.", Act("search", "stars", "4"))
    assert as_heard(meant, "A four-star place.", NOW).acts == meant.acts


def test_spoken_and_recognised_dialogues_copy_what_was_heard() -> None:
    ears = Ears(3)
    dialogues = list(generate(3, 3, hear=ears))
    assert ears.turns > 2 * ears.lost and all(d["heard"] and d["split"] == "train" for d in dialogues)
    callers = [m for d in dialogues for m in d["messages"] if m["role"] == "user"]
    assert any("pauses" in message for message in callers)
    for dialogue in dialogues:
        assert_copied(dialogue)


def assert_copied(dialogue: dict[str, Any]) -> None:
    """Every string argument was heard, or read out by the agent, before the call."""
    before = ""
    for message in dialogue["messages"]:
        for call in message.get("tool_calls", ()):
            for slot, value in call["arguments"].items():
                named = slot in ("restaurant", "hotel", "pickup", "destination")
                if isinstance(value, str) and named and "slip" not in message:
                    assert value.lower().rstrip(".") in before.lower()
        before += f" {message.get('content') or ''}"
