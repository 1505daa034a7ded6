"""Goals are feasible, and the success check takes exactly the goal's change of the database."""

from __future__ import annotations

import asyncio
import random
from datetime import date, datetime, time
from typing import Any

import pytest
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.goals import CHANGING, SLOTS, Goal, Task, describe, draw
from stretto.tools.concierge.success import check
from stretto.tools.concierge.tools import concierge

NOW = datetime(2026, 11, 21, 10)


@pytest.fixture
def database() -> Database:
    return Database.seed(7, NOW.date(), held_out=False)


def run(database: Database, name: str, arguments: dict[str, Any]) -> Any:
    tools = {tool.spec.name: tool for tool in concierge(database, lambda: NOW)}
    return asyncio.run(tools[name].run(arguments, ""))


def free_goal(database: Database) -> Goal:
    """A named table that is free."""
    rng = random.Random(1)
    while True:
        goal = draw(database, NOW, rng, changes=True, full=0.0)
        task = goal.tasks[0]
        if task.kind == "restaurant" and not task.search and not task.at_first:
            return goal


def test_a_goal_with_changes_changes_the_database(database: Database) -> None:
    rng = random.Random(2)
    for tasks in (1, 2):
        for _ in range(60):
            goal = draw(database, NOW, rng, tasks=tasks, changes=True)
            assert len(goal.tasks) == tasks
            assert goal.changes
            assert goal.tasks[0].kind in CHANGING


def test_slots_are_known_names_and_coming_days(database: Database) -> None:
    rng = random.Random(3)
    names = {row["name"] for table in ("restaurants", "hotels", "places") for row in database.rows(table)}
    for _ in range(200):
        for task in draw(database, NOW, rng).tasks:
            for slot, value in task.slots.items():
                assert slot in SLOTS[task.kind]
                if slot == "date":
                    assert date.fromisoformat(str(value)) >= NOW.date()
                elif slot == "time":
                    time.fromisoformat(str(value))
                elif slot in ("restaurant", "hotel", "pickup", "destination"):
                    assert value in names
            assert all(task.slots[slot] != value for slot, value in task.at_first.items())


def test_full_tables_have_a_fallback(database: Database) -> None:
    rng = random.Random(4)
    full = [t for _ in range(200) for t in draw(database, NOW, rng, full=1.0).tasks if t.kind == "restaurant"]
    taken = [task for task in full if "time" in task.accept]
    assert taken
    for task in taken[:5]:
        slots = {slot: str(value) for slot, value in task.slots.items() if slot != "people"}
        result = run(database, "book_restaurant", {**slots, "people": task.slots["people"]})
        assert "is full" in result.error


def test_describe_is_one_line(database: Database) -> None:
    rng = random.Random(5)
    for _ in range(50):
        text = describe(draw(database, NOW, rng, tasks=2))
        assert text
        assert "\n" not in text


def test_draws_repeat_with_the_seed(database: Database) -> None:
    first, second = random.Random(6), random.Random(6)
    assert [draw(database, NOW, first) for _ in range(20)] == [draw(database, NOW, second) for _ in range(20)]


def test_check_takes_the_right_booking_only(database: Database) -> None:
    goal = free_goal(database)
    before = database.snapshot()
    assert not check(database, before, goal).met
    slots = dict(goal.tasks[0].slots)
    other = "20:00" if slots["time"] != "20:00" else "19:00"
    wrong = database.copy()
    assert run(wrong, "book_restaurant", {**slots, "time": other}).error is None
    outcome = check(wrong, before, goal)
    assert not outcome.met
    assert "expected restaurant" in outcome.why
    assert run(database, "book_restaurant", slots).error is None
    outcome = check(database, before, goal)
    assert outcome.met
    assert [change["change"] for change in outcome.changes] == ["insert"]


def test_check_refuses_a_change_beside_the_goal(database: Database) -> None:
    goal = free_goal(database)
    before = database.snapshot()
    run(database, "book_restaurant", dict(goal.tasks[0].slots))
    order = next(row for row in database.rows("orders") if row["status"] == "processing")
    run(database, "cancel_order", {"order": order["number"]})
    outcome = check(database, before, goal)
    assert not outcome.met
    assert "beside the goal" in outcome.why


def test_check_of_an_appointment_includes_its_slot(database: Database) -> None:
    row = next(row for row in database.rows("slots", taken=0) if row["date"] > NOW.date().isoformat())
    slots = {"service": row["service"], "date": row["date"], "time": row["time"], "name": "Jane Doe"}
    goal = Goal((Task("appointment", dict(slots)),), NOW)
    before = database.snapshot()
    assert run(database, "book_appointment", slots).error is None
    outcome = check(database, before, goal)
    assert outcome.met
    assert {change["table"] for change in outcome.changes} == {"appointment_bookings", "slots"}


def test_check_of_orders_and_cancellations(database: Database) -> None:
    order = next(row for row in database.rows("orders") if row["status"] == "shipped")
    booking = database.rows("appointment_bookings")[0]
    tasks = (
        Task("change_delivery", {"order": order["number"], "date": "2026-12-10"}),
        Task("cancel_booking", {"reference": booking["reference"]}),
    )
    before = database.snapshot()
    run(database, "change_delivery", {"order": order["number"], "date": "2026-12-10"})
    assert not check(database, before, Goal(tasks, NOW)).met
    run(database, "cancel_booking", {"reference": booking["reference"]})
    assert check(database, before, Goal(tasks, NOW)).met


def test_a_question_is_met_by_no_change_at_all(database: Database) -> None:
    before = database.snapshot()
    assert check(database, before, Goal((Task("order_status", {"order": "1234"}),), NOW)).met
