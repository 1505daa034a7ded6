"""The machine of questions and yes, what an answer means, and how the question is put."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.agent import confirmation as c
from stretto.agent.agreement import agreed
from stretto.agent.assent import Answer, understand
from stretto.agent.canned import Canned
from stretto.agent.question import action, asks_itself, question
from stretto.llm.language_model import Call
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import tool

HERE = Path(__file__).parent


def call(number: int, day: str = "friday") -> Call:
    return Call(f"c{number}", "book", {"day": day})


days = st.sampled_from(["friday", "saturday"])
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("wanted"), st.lists(days, min_size=1, max_size=2)),
        st.tuples(st.just("asked"), st.booleans()),
        st.tuples(st.just("answered"), st.sampled_from(list(Answer))),
        st.tuples(st.just("silent"), st.none()),
        st.tuples(st.just("withdrawn"), st.none()),
        st.tuples(st.just("turn"), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=500)
@given(happenings)
def test_nothing_runs_without_a_yes_to_its_question_and_nothing_twice(events) -> None:
    machine, turn, number = c.Confirmation(), 1, 0
    open_calls: tuple[Call, ...] = ()
    heard, asked = False, 0
    ran: Counter[str] = Counter()
    for kind, value in events:
        before, was_heard = open_calls, heard
        if kind == "turn":
            turn += 1
            continue
        if kind == "wanted":
            wanted = tuple(call(number + n, day) for n, day in enumerate(value))
            number += len(value)
            actions = machine.feed(c.Wanted(wanted, turn))
            assert all(machine.repeats(each, turn) is None for each in machine.calls)
            asked = 0
        elif kind == "asked":
            actions = machine.feed(c.Asked(value))
            heard = value
        elif kind == "answered":
            actions = machine.feed(c.Answered(value), turn)
        else:
            actions = machine.feed(c.Silent() if kind == "silent" else c.Withdrawn())
        assert len(actions) <= 1
        for done in actions:
            if isinstance(done, c.Run):
                assert (kind, value) == ("answered", Answer.YES) and was_heard and done.calls == before
                ran.update(each.id for each in done.calls)
            if isinstance(done, c.Ask):
                asked += 1
                heard = False
                assert asked <= c.MOST_ASKED and done.calls == machine.calls
        open_calls = machine.calls
        if not machine.pending:
            heard = False
    assert all(count == 1 for count in ran.values())


def test_a_repeat_is_known_in_the_turn_of_the_yes_and_asked_about_later() -> None:
    machine = c.Confirmation()
    machine.feed(c.Wanted((call(0),), 1))
    machine.feed(c.Asked(True))
    assert machine.feed(c.Answered(Answer.YES), 2) == [c.Run((call(0),))]
    assert machine.repeats(call(1), 2) == call(0) and machine.repeats(call(1, "saturday"), 2) is None
    assert machine.feed(c.Wanted((call(1),), 2)) == []
    assert machine.feed(c.Wanted((call(2),), 3)) == [c.Ask((call(2),), again=True)]


# ---------------------------------------------------------------------- what an answer means


def rows(name: str) -> list[tuple[str, str, str]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "right"), [("confirmation_answers.tsv", 114), ("confirmation_answers.others.tsv", 60)]
)
def test_answers_of_real_callers_are_understood_and_none_is_taken_for_a_yes(name: str, right: int) -> None:
    found = [(expected, understand(said, asked)) for expected, asked, said in rows(name)]
    wrongly = [pair for pair in found if pair[1] is Answer.YES and pair[0] != "yes"]
    assert wrongly == []
    assert sum(expected == got for expected, got in found) >= right


@given(st.text(max_size=80))
def test_any_text_has_a_meaning_and_needs_a_word_of_assent_to_be_a_yes(text: str) -> None:
    if understand(text, "Shall I?") is Answer.YES:
        assert any(letter.isascii() and letter.isalpha() for letter in text)


@pytest.mark.parametrize("said", ["", "   ", "...", "a table", "thank you", "日本語"])
def test_words_that_say_neither_are_no_yes(said: str) -> None:
    assert understand(said, "Shall I book a table?") is not Answer.YES


def test_what_the_question_said_itself_is_no_change() -> None:
    asked = "Shall I book a table: people 2, time 7 pm?"
    assert understand("yes a table for two at seven", asked) is Answer.YES
    assert understand("yes a table for four at seven", asked) is Answer.OTHER


# ---------------------------------------------------------------------- the question


@pytest.mark.parametrize(
    ("description", "arguments", "said"),
    [
        ("Book a table.", {"day": "Friday", "people": 2}, "book a table: day Friday, people 2"),
        ("Open the front door. Only for guests.", {}, "open the front door"),
        (
            "Send an SMS",
            {"toNumber": "555", "urgent": True, "note": None},
            "send an SMS: to number 555, urgent",
        ),
        ("SMS somebody", {}, "SMS somebody"),
        ("Order", {"items": ["soup", "tea"], "gift": False}, "order: items soup and tea, not gift"),
        ("Move", {"to": {"room": "living_room"}}, "move: to room living room"),
    ],
)
def test_an_action_is_said_with_its_values(description, arguments, said) -> None:
    assert action(description, arguments) == said


def test_a_tools_own_question_has_the_values_in_it() -> None:
    @tool(confirm="Shall I book a table for {people} on {day}?")
    async def book(day: str, people: int = 2) -> str:
        """Book a table."""
        return ""

    runner = ToolRunner([book])
    whole = Call("c0", "book", {"day": "Friday", "people": 3})
    assert question([whole], runner, Canned()) == "Shall I book a table for 3 on Friday?"
    part = Call("c0", "book", {"day": "Friday"})
    assert question([part], runner, Canned()) == "Shall I book a table: day Friday?"
    again = question([whole], runner, Canned(), again=True)
    assert again == "I have done that already. Shall I do it once more: book a table: day Friday, people 3?"


def test_the_models_words_are_the_question_only_with_every_value() -> None:
    wanted = [Call("c0", "book", {"day": "Friday", "people": 2})]
    assert asks_itself("So a table for two on friday, right?", wanted)
    assert not asks_itself("Shall I book it?", wanted)
    assert not asks_itself("A table for two on Friday.", wanted)


QUESTION = "You want to cancel order 5128. Is that correct?"


def said(*words: str, heard: bool = True) -> list[dict[str, object]]:
    """Messages by turns, of which the caller's is the last."""
    roles = ["assistant", "user"] * len(words)
    messages: list[dict[str, object]] = [
        {"role": role, "content": text} for role, text in zip(roles[len(words) % 2 :], words, strict=False)
    ]
    if not heard:
        messages[-2]["said"] = f"{messages[-2]['content']} Or so."
    return messages


@tool(confirm=True)
def cancel_order(order: str) -> str:
    """Take back an order."""
    return "done"


@tool(confirm=True)
def order_cancel(order: str) -> str:
    """The order is not made, or taken back."""
    return "done"


@tool(confirm=True)
def add_address(address: str) -> str:
    """Add an address."""
    return "done"


@tool(confirm=True)
def transfer(amount: float, source: str, target: str) -> str:
    """Transfer money."""
    return "done"


@tool(confirm=True)
def book_hotel(hotel: str, nights: int) -> str:
    """Book a hotel."""
    return "done"


TOOLS = ToolRunner([cancel_order, order_cancel, add_address, transfer, book_hotel])
CANCEL = Call("c0", "cancel_order", {"order": "5128"})
HOTEL = Call("c0", "book_hotel", {"hotel": "Gonville", "nights": 2})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((QUESTION, "Yes, please."), CANCEL),
        (("Hello.", "cancel 5128", "Shall I cancel order 5128?", "go ahead"), CANCEL),
        (("So I cancel your order 5128. Right?", "right"), CANCEL),
        (("Do you want me to take back order 5128?", "yes"), CANCEL),
        (("Would you like me to book the hotel Gonville for two nights?", "yes please"), HOTEL),
    ],
)
def test_a_yes_to_the_models_own_offer_is_a_yes_to_the_call(words: tuple[str, ...], wanted: Call) -> None:
    assert agreed(said(*words), [wanted], TOOLS) == words[-2]


@pytest.mark.parametrize(
    "asked",
    [
        "You want to cancel order 5128.",  # no question
        "Is order 5128 the right one?",
        "Is order 5128 to be cancelled?",
        "Was order 5128 cancelled by you?",
        "Shall I cancel order 5129?",
        "Shall I change order 5128?",
        "Shall I cancel or change order 5128?",
        "Shall I leave order 5128 as it is and not cancel it?",
        "You don't want to cancel order 5128. Is that correct?",
        "You don\u2019t want to cancel order 5128. Is that correct?",
        "To cancel order 5128 costs nothing. Anything else?",
        "Do you want to keep order 5128 rather than cancel it?",
        "Do you want to keep order 5128? Should I cancel it?",
        "Can I ask why you want to cancel order 5128?",
        "Before I cancel order 5128, may I offer you a discount?",
        "Shall I check whether order 5128 can be cancelled?",
        "Would you like to hear what it costs to cancel order 5128?",
        "Shall I cancel the express delivery of order 5128?",
        "Shall I change order 5128 and cancel the Thursday slot?",
        "Shall I cancel order 5128 and keep 5130?",
        "I found 5128 and 5130. Shall I cancel order 5128?",
        "It will cost 20 dollars. Shall I cancel order 5128?",
    ],
)
def test_other_questions_are_no_offer_of_the_call(asked: str) -> None:
    assert agreed(said(asked, "yes"), [CANCEL], TOOLS) == ""


@pytest.mark.parametrize(
    ("asked", "name", "arguments"),
    [
        ("Is your order number 5128?", "order_cancel", {"order": "5128"}),
        ("Shall I order 5128?", "order_cancel", {"order": "5128"}),
        ("Is your address 12 Mill Road?", "add_address", {"address": "12 Mill Road"}),
        ("Shall I transfer 50 source savings target checking?", "transfer",
         {"amount": 50, "source": "checking", "target": "savings"}),
        ("Shall I book a taxi to the hotel Gonville for two nights?", "book_hotel",
         {"hotel": "Gonville", "nights": 2}),
        ("Shall I book a hotel?", "book_hotel", {}),
    ],
)  # fmt: skip
def test_nor_are_those_that_only_share_its_words(asked: str, name: str, arguments: dict[str, object]) -> None:
    assert agreed(said(asked, "yes"), [Call("c0", name, arguments)], TOOLS) == ""


@pytest.mark.parametrize("answer", ["yes but the other one", "no", "hmm", "yes, 5130"])
def test_an_answer_that_is_no_plain_yes_is_none(answer: str) -> None:
    assert agreed(said(QUESTION, answer), [CANCEL], TOOLS) == ""


def test_the_offer_was_heard_whole_and_nothing_came_since() -> None:
    assert agreed(said(QUESTION, "yes"), [CANCEL], TOOLS)
    assert agreed(said(QUESTION, "yes", heard=False), [CANCEL], TOOLS) == ""
    ran = [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c9"}]},
        {"role": "tool", "content": "{}"},
    ]
    assert agreed([*said(QUESTION, "yes"), *ran], [CANCEL], TOOLS) == ""
    for more in ("Really cancel order 5128?", "All right, I leave it."):
        assert agreed([*said(QUESTION, "yes"), {"role": "assistant", "content": more}], [CANCEL], TOOLS) == ""
    # Said on after a cough: nobody knows what its first half made of it.
    first = {"role": "assistant", "content": "You don't", "said": f"You don't {QUESTION}"}
    assert agreed([first, *said(QUESTION, "yes")], [CANCEL], TOOLS) == ""
    typed = [{**said(QUESTION, "yes")[0], "typed": True}, said(QUESTION, "yes")[1]]
    assert agreed(typed, [CANCEL], TOOLS) == ""
    assert agreed([], [CANCEL], TOOLS) == "" and agreed(said("cancel order 5128"), [CANCEL], TOOLS) == ""
    assert agreed(said(QUESTION, "yes"), [CANCEL, HOTEL], TOOLS) == ""
    assert agreed(said(QUESTION, "yes", "It is done.", "great"), [CANCEL], TOOLS) == ""


def test_a_wording_without_the_action_is_refused() -> None:
    with pytest.raises(ValueError, match="action"):
        Canned(confirm="Are you sure?")


def test_read_only_tools_have_nothing_to_confirm() -> None:
    def look() -> str:
        """Look."""
        return ""

    with pytest.raises(TypeError, match="nothing to confirm"):
        tool(read_only=True, confirm=True)(look)
