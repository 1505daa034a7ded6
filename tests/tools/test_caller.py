"""The text caller hears only the agent's words: it answers, corrects, objects and gives up."""

from __future__ import annotations

import random
from datetime import date, datetime, time

import pytest
from stretto.tools.concierge.caller import LONGEST, TextCaller
from stretto.tools.concierge.caller_reading import understand, wrong_slots
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.goals import Goal, Task, Value, draw
from stretto.tools.concierge.wording import Style, Utterance
from stretto.tools.concierge.wording_agent import SAY
from stretto.tools.concierge.wording_values import code_form, date_form, time_form, time_of
from stretto.tools.spoken_time import resolve_date, resolve_digits

NOW = datetime(2026, 11, 21, 10)
TABLE: dict[str, Value] = {
    "restaurant": "The Copper Kettle", "date": "2026-11-27", "time": "19:30", "people": 4,
}  # fmt: skip


def caller(task: Task | None = None, seed: int = 0, reveal: float = 0.0) -> TextCaller:
    rng = random.Random(seed)
    style = Style(rng, reveal=reveal, misspelling=0.0, slips=0.0, hesitation=0.0, interludes=0.0)
    return TextCaller(Goal((task or Task("restaurant", dict(TABLE)),), NOW), style, rng)


def kinds(utterance: Utterance) -> set[str]:
    return {act.kind for act in utterance.acts}


def slot(utterance: Utterance, name: str) -> str:
    return next(act.value for act in utterance.acts if act.slot == name)


def test_answers_what_is_asked() -> None:
    person = caller()
    assert "request" in kinds(person.open())
    assert (
        slot(person.reply("Which restaurant would you like?"), "restaurant").lower().endswith("copper kettle")
    )
    said = slot(person.reply("For what day?"), "date")
    assert resolve_date(said, NOW) == date(2026, 11, 27)
    assert time_of(slot(person.reply("What time?"), "time"), (time(11), time(23))) == time(19, 30)
    assert slot(person.reply("For how many people?"), "people") in ("4", "four")


def test_reveals_all_at_once() -> None:
    said = caller(reveal=1.0).open()
    assert {act.slot for act in said.acts if act.kind == "inform"} == {"restaurant", "date", "time", "people"}


@pytest.mark.parametrize(
    "read_back",
    [
        "A table for four at The Copper Kettle, Friday at half past seven. Is that right?",
        "A table for 4 at copper cattle, November 27th at 7.30 p.m. Is that correct?",
        "The Copper Kettle, the 27th at 7:30 in the evening, for 4. Is that right?",
    ],
)
def test_agrees_with_a_right_read_back(read_back: str) -> None:
    for seed in range(10):
        person = caller(seed=seed)
        person.open()
        assert kinds(person.reply(read_back)) == {"yes"}


@pytest.mark.parametrize(
    ("read_back", "wrong"),
    [
        (
            "A table for five at The Copper Kettle, Friday at half past seven. Is that right?",
            "people",
        ),
        (
            "A table for four at The Copper Kettle, Saturday at half past seven. Is that right?",
            "date",
        ),
        (
            "A table for four at The Copper Kettle, Friday at half past eight. Is that right?",
            "time",
        ),
        (
            "A table for four at Lucky Lantern, Friday at half past seven. Is that right?",
            "restaurant",
        ),
    ],
)
def test_corrects_a_wrong_read_back(read_back: str, wrong: str) -> None:
    for seed in range(10):
        person = caller(seed=seed)
        person.open()
        said = person.reply(read_back)
        if kinds(said) == {"no"}:
            said = person.reply("What should I change?")
        assert {act.slot for act in said.acts if act.kind == "inform"} == {wrong}


def test_changes_its_mind_before_the_booking() -> None:
    person = caller(Task("restaurant", dict(TABLE), at_first={"people": 2}))
    person.open()
    said = person.reply("A table for 2 at The Copper Kettle, Friday at half past seven. Is that right?")
    assert slot(said, "people") in ("4", "four")
    said = person.reply("Okay. A table for 4 at The Copper Kettle, Friday at half past seven. Is that right?")
    assert kinds(said) == {"yes"}


def test_objects_to_a_wrong_result() -> None:
    person = caller()
    person.open()
    said = person.reply(
        "Your table at The Copper Kettle is booked for Friday the 27th of November at 9 pm, for 4. "
        "The reference is 4821. Anything else?"
    )
    assert kinds(said) == {"cancel_that"}
    assert kinds(person.reply("You want to cancel booking 4821. Is that correct?")) == {"yes"}
    again = person.reply("Done. Your table at The Copper Kettle is cancelled. Anything else?")
    assert "request" in kinds(again)


def test_ends_after_the_right_result() -> None:
    person = caller()
    person.open()
    said = person.reply(
        "Your table at The Copper Kettle is booked for Friday the 27th of November at 7:30 pm, for 4. "
        "The reference is 4821. Anything else?"
    )
    assert kinds(said) == {"nothing_else"}
    assert person.reply("Thanks for calling. Goodbye!") == Utterance("", "", hang_up=True)


def test_takes_an_offered_time_when_full() -> None:
    person = caller(Task("restaurant", dict(TABLE), accept={"time": ("18:30", "20:30")}))
    person.open()
    said = person.reply(
        "Sorry. The Copper Kettle is full at 7:30 pm. I have 6:30 pm or 8:30 pm. Which would you like?"
    )
    assert kinds(said) <= {"inform", "choose"}
    assert {act.slot for act in said.acts} == {"time"}


def test_picks_an_offered_place() -> None:
    slots = {key: value for key, value in TABLE.items() if key != "restaurant"}
    task = Task(
        "restaurant", slots, {"restaurant": ("Casa Verde", "The Red Fox")}, search={"food": "italian"}
    )
    for seed in range(10):
        person = caller(task, seed=seed)
        person.open()
        said = person.reply("I have Casa Verde and The Red Fox. Which would you like?")
        assert {act.slot for act in said.acts} == {"restaurant"}


@pytest.mark.parametrize("nonsense", ["What?", "", "...", "The the of.", "Sorry, could you say that again?"])
def test_gives_up_on_an_agent_that_makes_no_sense(nonsense: str) -> None:
    for seed in range(5):
        person = caller(seed=seed)
        said = person.open()
        turns = 1
        while not said.hang_up:
            said = person.reply(nonsense)
            turns += 1
        assert person.gave_up
        assert turns <= 8


def test_gives_up_on_an_agent_that_always_asks_the_same() -> None:
    person = caller()
    said = person.open()
    turns = 1
    while not said.hang_up:
        said = person.reply(random.Random(turns).choice(("What time?", "At what time?")))
        turns += 1
    assert person.gave_up
    assert turns <= 12


def test_never_fails_and_always_ends_whatever_is_said() -> None:
    database = Database.seed(3, NOW.date(), held_out=True)
    rng = random.Random(9)
    fields = [
        "restaurant",
        "hotel",
        "date",
        "time",
        "people",
        "nights",
        "service",
        "name",
        "pickup",
        "destination",
        "order",
        "reference",
        "a",
        "b",
        "options",
        "booked",
        "item",
        "delivery",
        "cancelled",
        "reason",
        "status",
    ]
    values = (
        "Friday",
        "half past seven",
        "4",
        "Casa Verde",
        "the 27th",
        "4821",
        "desk lamp",
        "9 am or 3 pm",
        "",
    )
    lines = [line for group in SAY.values() for line in group]
    for seed in range(150):
        goal = draw(database, NOW, rng, tasks=rng.choice((1, 2)))
        person = TextCaller(goal, Style.draw(rng, held_out=True), random.Random(seed))
        said = person.open()
        turns = 1
        while not said.hang_up:
            said = person.reply(rng.choice(lines).format_map({field: rng.choice(values) for field in fields}))
            turns += 1
            assert turns <= LONGEST + 2


def test_the_same_seed_says_the_same() -> None:
    assert [caller(seed=s).open() for s in range(20)] == [caller(seed=s).open() for s in range(20)]


def test_forms_mean_what_they_stand_for() -> None:
    rng = random.Random(1)
    for ahead in range(21):
        day = date.fromordinal(NOW.toordinal() + ahead)
        for _ in range(15):
            form = date_form(day, NOW, rng)
            assert resolve_date(form.spoken, NOW) == resolve_date(form.written, NOW) == day
    for hour in range(9, 18):
        for minute in (0, 15, 30, 45):
            moment = time(hour, minute)
            for _ in range(10):
                form = time_form(moment, (time(9), time(18)), rng)
                assert time_of(form.spoken, (time(9), time(18))) == moment
                assert time_of(form.written, (time(9), time(18))) == moment
    for number in range(1000, 9999, 37):
        form = code_form(str(number), rng)
        assert resolve_digits(form.written) == resolve_digits(form.spoken) == str(number)


def test_wrong_slots_sees_codes_routes_and_nights() -> None:
    order = Task("cancel_order", {"order": "4821"})
    assert (
        wrong_slots("You want to cancel order 4-8-2-1. Is that correct?", order, order.slots, NOW, False)
        == []
    )
    assert wrong_slots("Cancel order 4831. Is that right?", order, order.slots, NOW, False) == ["order"]
    ride = Task(
        "taxi", {"pickup": "the airport", "destination": "City Hall", "date": "2026-11-27", "time": "19:30"}
    )
    text = "A taxi from City Hall to the airport, Friday at half past seven. Is that right?"
    assert wrong_slots(text, ride, ride.slots, NOW, False) == ["pickup", "destination"]
    stay = Task("hotel", {"hotel": "Plaza Inn", "date": "2026-11-27", "nights": 2, "people": 2})
    text = "So that's Plaza Inn from Friday, three nights, for two. Is that right?"
    assert wrong_slots(text, stay, stay.slots, NOW, False) == ["nights"]


def test_understands_errors_offers_and_ends() -> None:
    assert understand("I could not find cattle. Did you mean Copper Kettle or Casa Verde?").options == (
        "Copper Kettle", "Casa Verde",
    )  # fmt: skip
    offer = understand(
        "On Friday the 27th of November I have 9 am, 11:30 am or 3 pm. Which time would you like?"
    )
    assert offer.options == ("9 am", "11:30 am", "3 pm")
    assert understand("Have a good day. Goodbye!").bye
    assert not understand("Order 4821, desk lamp, is already cancelled.").read_back
