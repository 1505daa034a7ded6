"""What a simulated caller wants: one or two tasks that the database can fulfil, drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any, Literal

from stretto.tools.concierge import names
from stretto.tools.concierge.availability import (
    around,
    clock,
    free_slots,
    free_tables,
    full_night,
    idle_taxis,
    minutes_apart,
    next_day_with_slots,
)
from stretto.tools.concierge.database import SERVICES, Database
from stretto.tools.concierge.task import ASKING, CHANGING, SLOTS, Kind, Task, Value
from stretto.tools.spoken_time import say_date, say_time

__all__ = ["ASKING", "CHANGING", "SLOTS", "Goal", "Kind", "Task", "Value", "describe", "draw"]


@dataclass(frozen=True)
class Goal:
    """What a call is for; `now` is the clock of the call."""

    tasks: tuple[Task, ...]
    now: datetime

    @property
    def change_of_mind(self) -> bool:
        return any(task.at_first for task in self.tasks)

    @property
    def changes(self) -> bool:
        """Whether the database differs once the goal is met."""
        return any(task.kind in CHANGING for task in self.tasks)


def draw(
    database: Database,
    now: datetime,
    rng: random.Random,
    tasks: int = 1,
    changes: bool = False,
    full: float = 0.12,
) -> Goal:
    """Draw a goal that can be met.

    Args:
        tasks: how many things the caller wants.
        changes: the first task changes the database.
        full: share of bookings whose first wish is taken, so that the caller must take another.
    """
    chosen: list[Task] = []
    while len(chosen) < tasks:
        weights = CHANGING if (changes and not chosen) else {**CHANGING, **ASKING}
        kind = rng.choices(list(weights), list(weights.values()))[0]
        if any(other.kind == kind for other in chosen) or (kind == "person" and tasks > 1):
            continue
        task = _DRAW[kind](_Draw(database, now, rng, full))
        if task is not None and _apart(task, chosen):
            chosen.append(task)
    return Goal(tuple(chosen), now)


def _apart(task: Task, others: list[Task]) -> bool:
    # Two tasks on one order would depend on each other.
    return all(task.slots.get(key) != other.slots.get(key) or key not in task.slots
               for other in others for key in ("order", "reference"))  # fmt: skip


def describe(goal: Goal) -> str:
    """The goal in one line."""
    return "; ".join(_describe(task) for task in goal.tasks)


def _describe(task: Task) -> str:
    parts = [task.kind.replace("_", " ")]
    for slot, value in {**task.search, **task.slots}.items():
        shown = str(value)
        if slot == "date":
            shown = say_date(date.fromisoformat(shown))
        elif slot == "time":
            shown = say_time(clock(shown))
        parts.append(f"{slot} {shown}")
        if slot in task.at_first:
            parts[-1] += f" (at first {task.at_first[slot]})"
        if slot in task.accept:
            parts[-1] += f" or {'/'.join(map(str, task.accept[slot]))}"
    return ", ".join(parts)


@dataclass
class _Draw:
    database: Database
    now: datetime
    rng: random.Random
    full: float

    def day(self) -> date:
        ahead = self.rng.choice((1, 1, 2, 3, 4, 5, 6, 7, self.rng.randint(1, 13), self.rng.randint(1, 20)))
        return self.now.date() + timedelta(days=ahead)

    def restaurant(self) -> Task | None:
        rng = self.rng
        row = rng.choice(self.database.rows("restaurants"))
        if rng.random() < self.full and (task := self._full_restaurant(row)):
            return task
        day, people = self.day(), rng.choice((1, 2, 2, 2, 3, 4, 4, 5, 6, 7, 8))
        moment = self._table_time(row)
        slots: dict[str, Value] = {
            "restaurant": row["name"],
            "date": day.isoformat(),
            "time": f"{moment:%H:%M}",
            "people": people,
        }
        if rng.random() < 0.35:
            search = _search(row, ("food", "area", "price"), rng)
            found = self.database.rows("restaurants", **search)[:2]
            for place in found:
                if not (clock(place["opens"]) <= moment < time(clock(place["closes"]).hour - 1)):
                    return None
                if not free_tables(self.database, place, day, people)(moment):
                    return None
            del slots["restaurant"]
            return self._searched("restaurant", slots, found, search)
        if not free_tables(self.database, row, day, people)(moment):
            return None
        # Changing the day or the party must stay possible.
        return Task(
            "restaurant",
            slots,
            at_first=self._change(
                {
                    "date": self.day,
                    "people": lambda: rng.randint(2, 8),
                    "time": lambda: self._table_time(row),
                },
                slots,
            ),
        )

    def _table_time(self, row: dict[str, Any]) -> time:
        opens, closes = clock(row["opens"]).hour + 1, clock(row["closes"]).hour - 1
        hour = self.rng.choice([h for h in range(opens, closes) if h in (12, 13, 18, 19, 20, 21)] or [18])
        return time(hour, self.rng.choice((0, 0, 0, 30, 30, 30, 15, 45)))

    def _full_restaurant(self, row: dict[str, Any]) -> Task | None:
        bookings = [
            b
            for b in self.database.rows("restaurant_bookings", restaurant=row["name"])
            if b["people"] >= row["seats"]
        ]
        bookings = [b for b in bookings if date.fromisoformat(b["date"]) > self.now.date()]
        if not bookings:
            return None
        booking, people = self.rng.choice(bookings), self.rng.randint(2, 6)
        free = free_tables(self.database, row, date.fromisoformat(booking["date"]), people)
        last = time(clock(row["closes"]).hour - 1, clock(row["closes"]).minute)
        others = [f"{t:%H:%M}" for t in around(clock(booking["time"]), clock(row["opens"]), last) if free(t)]
        if not others:
            return None
        slots: dict[str, Value] = {
            "restaurant": row["name"],
            "date": booking["date"],
            "time": booking["time"],
            "people": people,
        }
        return Task("restaurant", slots, {"time": tuple(others)})

    def hotel(self) -> Task | None:
        rng = self.rng
        hotels = self.database.rows("hotels")
        row = rng.choice(hotels)
        day, nights, people = (
            self.day(),
            rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 7)),
            rng.choice((1, 2, 2, 2, 3, 4)),
        )
        slots: dict[str, Value] = {
            "hotel": row["name"],
            "date": day.isoformat(),
            "nights": nights,
            "people": people,
        }
        rooms = (people + 1) // 2
        if rng.random() < self.full:
            taken = [
                b
                for b in self.database.rows("hotel_bookings", hotel=row["name"])
                if b["rooms"] >= row["rooms"]
            ]
            taken = [b for b in taken if date.fromisoformat(b["date"]) > self.now.date()]
            if taken:
                day = date.fromisoformat(rng.choice(taken)["date"])
                near = sorted(hotels, key=lambda other: other["area"] != row["area"])
                free = (h["name"] for h in near if full_night(self.database, h, day, nights, rooms) is None)
                return Task("hotel", {**slots, "date": day.isoformat()}, {"hotel": tuple(islice(free, 2))})
        if rng.random() < 0.35:
            search = _search(row, ("area", "stars", "price"), rng)
            found = self.database.rows("hotels", **search)[:2]
            if any(full_night(self.database, place, day, nights, rooms) for place in found):
                return None
            del slots["hotel"]
            return self._searched("hotel", slots, found, search)
        if full_night(self.database, row, day, nights, rooms):
            return None
        return Task(
            "hotel",
            slots,
            at_first=self._change(
                {"date": self.day, "nights": lambda: rng.randint(1, 7), "people": lambda: rng.randint(1, 4)},
                slots,
            ),
        )

    def _searched(
        self,
        kind: Literal["restaurant", "hotel"],
        slots: dict[str, Value],
        found: list[dict[str, Any]],
        search: dict[str, Value],
    ) -> Task:
        """A task that begins with a search, now and then first with one that finds nothing."""
        columns = ("food", "area", "price") if kind == "restaurant" else ("area", "stars", "price")
        first: dict[str, Value] = {}
        if self.rng.random() < 0.2:
            rows = self.database.rows(f"{kind}s")
            mixed = {column: self.rng.choice(rows)[column] for column in columns}
            first = {} if self.database.rows(f"{kind}s", **mixed) else mixed
        accept: dict[str, tuple[Value, ...]] = {kind: tuple(place["name"] for place in found)}
        return Task(kind, slots, accept, search=search, first_search=first)

    def appointment(self) -> Task | None:
        rng = self.rng
        service, day = rng.choice(SERVICES), self.day()
        free = free_slots(self.database, service, day, self.now)
        slots: dict[str, Value] = {"service": service, "date": day.isoformat()}
        known = [row["name"] for row in self.database.rows("customers")]
        name = (
            rng.choice(known)
            if rng.random() < 0.7
            else names.draw("person", 1, rng, names.held_out(known[0]))[0]
        )
        slots["name"] = name
        if not free:
            later = next_day_with_slots(self.database, service, day, self.now)
            if later is None or rng.random() < 0.7:
                return None
            times = free_slots(self.database, service, later, self.now)[:3]
            return Task(
                "appointment",
                slots,
                {"date": (later.isoformat(),), "time": tuple(f"{t:%H:%M}" for t in times)},
            )
        times = free[:3]
        kind = rng.random()
        if kind < self.full:
            wish = time(rng.randint(9, 17))
            if wish not in free:
                near = sorted(free, key=lambda other: minutes_apart(other, wish))[:3]
                return Task(
                    "appointment",
                    {**slots, "time": f"{wish:%H:%M}"},
                    {"time": tuple(f"{t:%H:%M}" for t in near)},
                )
        if kind < 0.35:
            return Task("appointment", {**slots, "time": f"{rng.choice(free):%H:%M}"})
        return Task("appointment", slots, {"time": tuple(f"{t:%H:%M}" for t in times)})

    def taxi(self) -> Task | None:
        rng = self.rng
        places = [row["name"] for row in self.database.rows("places")]
        stops = [row["name"] for table in ("restaurants", "hotels") for row in self.database.rows(table)]
        pickup, destination = (rng.choice(places if rng.random() < 0.7 else stops) for _ in range(2))
        day = self.day() if rng.random() < 0.8 else self.now.date()
        moment = self._ride_time()
        if pickup == destination or datetime.combine(day, moment) <= self.now + timedelta(minutes=30):
            return None
        if not idle_taxis(self.database, day)(moment):
            return None
        slots: dict[str, Value] = {
            "pickup": pickup,
            "destination": destination,
            "date": day.isoformat(),
            "time": f"{moment:%H:%M}",
        }
        return Task(
            "taxi",
            slots,
            at_first=self._change(
                {"date": self.day, "time": self._ride_time, "destination": lambda: rng.choice(places)}, slots
            ),
        )

    def _ride_time(self) -> time:
        return time(self.rng.randint(6, 22), self.rng.choice((0, 0, 15, 30, 30, 45)))

    def order_status(self) -> Task:
        return Task("order_status", {"order": self.rng.choice(self.database.rows("orders"))["number"]})

    def _open_order(self) -> dict[str, Any]:
        orders = [row for row in self.database.rows("orders") if row["status"] in ("processing", "shipped")]
        return self.rng.choice(orders)

    def change_delivery(self) -> Task | None:
        row, day = self._open_order(), self.day()
        if row["delivery"] == day.isoformat():
            return None
        slots: dict[str, Value] = {"order": row["number"], "date": day.isoformat()}
        return Task("change_delivery", slots, at_first=self._change({"date": self.day}, slots))

    def cancel_order(self) -> Task:
        return Task("cancel_order", {"order": self._open_order()["number"]})

    def cancel_booking(self) -> Task:
        table = self.rng.choice(
            ("restaurant_bookings", "hotel_bookings", "appointment_bookings", "taxi_bookings")
        )
        return Task("cancel_booking", {"reference": self.rng.choice(self.database.rows(table))["reference"]})

    def ask_restaurants(self) -> Task:
        row = self.rng.choice(self.database.rows("restaurants"))
        return Task("ask_restaurants", search=_search(row, ("food", "area", "price"), self.rng))

    def ask_hotels(self) -> Task:
        row = self.rng.choice(self.database.rows("hotels"))
        return Task("ask_hotels", search=_search(row, ("area", "stars", "price"), self.rng))

    def ask_appointments(self) -> Task | None:
        service, day = self.rng.choice(SERVICES), self.day()
        if not free_slots(self.database, service, day, self.now):
            return None
        return Task("ask_appointments", {"service": service, "date": day.isoformat()})

    def person(self) -> Task:
        return Task("person")

    def _change(
        self, ways: dict[str, Callable[[], date | time | int | str]], final: dict[str, Value]
    ) -> dict[str, Value]:
        """Now and then one value that the caller names first and takes back."""
        if self.rng.random() >= 0.15:
            return {}
        slot = self.rng.choice(list(ways))
        drawn = ways[slot]()
        value: Value = (
            f"{drawn:%H:%M}"
            if isinstance(drawn, time)
            else drawn.isoformat()
            if isinstance(drawn, date)
            else drawn
        )
        same = value == final[slot] or value == final.get("pickup")
        return {} if same else {slot: value}


def _search(row: dict[str, Any], columns: tuple[str, ...], rng: random.Random) -> dict[str, Value]:
    """One to three of a place's properties, most often two."""
    chosen = rng.sample(columns, rng.choice((1, 2, 2, 2, 3)))
    return {column: row[column] for column in columns if column in chosen}


_DRAW: dict[Kind, Callable[[_Draw], Task | None]] = {
    "restaurant": _Draw.restaurant, "hotel": _Draw.hotel, "appointment": _Draw.appointment,
    "taxi": _Draw.taxi,
    "order_status": _Draw.order_status, "change_delivery": _Draw.change_delivery,
    "cancel_order": _Draw.cancel_order, "cancel_booking": _Draw.cancel_booking,
    "ask_restaurants": _Draw.ask_restaurants, "ask_hotels": _Draw.ask_hotels,
    "ask_appointments": _Draw.ask_appointments, "person": _Draw.person,
}  # fmt: skip
