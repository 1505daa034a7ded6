"""The concierge's tools over its database; every booking is a row that later queries see."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from datetime import date as Date
from datetime import datetime
from datetime import time as Time
from itertools import islice
from typing import Any, Literal

from stretto.tools.concierge.availability import (
    SITTING_MIN,
    around,
    clock,
    free_slots,
    free_tables,
    full_night,
    idle_taxis,
    is_past,
    minutes,
    minutes_apart,
    next_day_with_slots,
    offer,
)
from stretto.tools.concierge.database import FOODS, Database
from stretto.tools.concierge.lookup import SAME_PERSON, UnknownNameError, find_name, ranked
from stretto.tools.spoken_number import SpokenNumberError, ordinal
from stretto.tools.spoken_time import (
    SpokenTimeError,
    resolve_date,
    resolve_digits,
    resolve_time,
    say_date,
    say_time,
)
from stretto.tools.tool import Tool, ToolError

SYSTEM = "You are the concierge of Harbor City. Plain spoken English, short."

Area = Literal["north", "south", "east", "west", "centre"]
Price = Literal["cheap", "moderate", "expensive"]
Service = Literal["dentist", "doctor", "haircut", "massage", "vet"]

OFFICE_HOURS = (Time(9), Time(18))
"""Opening hours of everyone who gives appointments."""
_DISHES = {
    "pizza": "italian",
    "pasta": "italian",
    "sushi": "japanese",
    "ramen": "japanese",
    "tacos": "mexican",
    "burritos": "mexican",
    "curry": "indian",
    "burgers": "american",
    "burger": "american",
    "fish": "seafood",
    "tapas": "spanish",
    "kebab": "turkish",
    "noodles": "chinese",
    "vegan": "vegetarian",
    "veggie": "vegetarian",
    "gyros": "greek",
    "pho": "vietnamese",
    "barbecue": "korean",
    "steak": "american",
}


def system_text(now: datetime) -> str:
    """The system text of a call: who the agent is and what day it is."""
    return f"{SYSTEM} Today is {now:%A}, {now:%B} {ordinal(now.day)} {now.year}."


def concierge(database: Database, now: Callable[[], datetime]) -> list[Tool]:
    """The eleven tools of one call; days and times are resolved by the session's clock, `now`."""
    desk = _Desk(database, now)
    readers = (desk.find_restaurants, desk.find_hotels, desk.find_appointments, desk.order_status)
    functions = (
        desk.find_restaurants,
        desk.book_restaurant,
        desk.find_hotels,
        desk.book_hotel,
        desk.find_appointments,
        desk.book_appointment,
        desk.book_taxi,
        desk.order_status,
        desk.change_delivery,
        desk.cancel_order,
        desk.cancel_booking,
    )
    return [
        # Rows in memory are there within microseconds; a file may wait for its disk.
        Tool(_speakable(database, function), read_only=function in readers, thread=not database.in_memory)
        for function in functions
    ]


def _speakable(database: Database, function: Callable[..., Any]) -> Callable[..., Any]:
    """Run in one transaction; what could not be understood becomes the tool's error."""

    @functools.wraps(function)
    def run(**arguments: Any) -> Any:
        try:
            with database.transaction():
                return function(**arguments)
        except (SpokenTimeError, SpokenNumberError, UnknownNameError) as error:
            raise ToolError(str(error)) from error

    return run


class _Desk:
    """The tools as methods, for they share the database and the clock."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._db = database
        self._now = now

    def find_restaurants(
        self, food: str | None = None, area: Area | None = None, price: Price | None = None
    ) -> dict[str, Any]:
        """Find restaurants by food, area, price."""
        equals: dict[str, Any] = {"area": area, "price": price, "food": _food(food) if food else None}
        rows = self._db.rows("restaurants", **{key: value for key, value in equals.items() if value})
        return {"count": len(rows), "restaurants": _columns(rows[:2], "name", "food", "area", "price")}

    def book_restaurant(self, restaurant: str, date: str, time: str, people: int) -> dict[str, Any]:
        """Book a table."""
        name = self._name("restaurants", restaurant, "restaurant")
        row = self._db.rows("restaurants", name=name)[0]
        opens, closes = clock(row["opens"]), clock(row["closes"])
        day, moment = self._future(date, time, (opens, closes))
        if not opens <= moment < closes:
            raise ToolError(f"{name} is open from {say_time(opens)} to {say_time(closes)}.")
        _at_least_one(people, "A table needs at least one person.")
        if people > row["seats"]:
            raise ToolError(f"{name} has only {row['seats']} seats.")
        free = free_tables(self._db, row, day, people)
        if not free(moment):
            last = Time(*divmod(minutes(closes) - SITTING_MIN, 60))
            others = [other for other in around(moment, opens, last) if free(other)]
            others = [other for other in others if not is_past(day, other, self._now())]
            raise ToolError(
                f"{name} is full at {say_time(moment)}.{offer(map(say_time, sorted(others[:2])))}"
            )
        reference = self._db.next_reference()
        booking = {
            "reference": reference,
            "restaurant": name,
            "date": day.isoformat(),
            "time": f"{moment:%H:%M}",
            "people": people,
        }
        self._db.insert("restaurant_bookings", booking)
        return {
            "booked": name,
            "date": say_date(day),
            "time": say_time(moment),
            "people": people,
            "reference": reference,
        }

    def find_hotels(
        self, area: Area | None = None, stars: int | None = None, price: Price | None = None
    ) -> dict[str, Any]:
        """Find hotels by area, stars, price."""
        equals: dict[str, Any] = {"area": area, "stars": stars, "price": price}
        rows = self._db.rows("hotels", **{key: value for key, value in equals.items() if value is not None})
        return {"count": len(rows), "hotels": _columns(rows[:2], "name", "area", "stars", "price")}

    def book_hotel(self, hotel: str, date: str, nights: int, people: int) -> dict[str, Any]:
        """Book hotel rooms."""
        name = self._name("hotels", hotel, "hotel")
        row = self._db.rows("hotels", name=name)[0]
        day = resolve_date(date, self._now())
        _at_least_one(people, "A room needs at least one person.")
        _at_least_one(nights, "A stay is at least one night.")
        if nights > 30:
            raise ToolError("A stay is at most 30 nights.")
        rooms = math.ceil(people / 2)
        if rooms > row["rooms"]:
            raise ToolError(f"{name} has only {row['rooms']} rooms.")
        full = full_night(self._db, row, day, nights, rooms)
        if full is not None:
            nearest = sorted(self._db.rows("hotels"), key=lambda other: other["area"] != row["area"])
            free = (h["name"] for h in nearest if full_night(self._db, h, day, nights, rooms) is None)
            raise ToolError(f"{name} is full on {say_date(full)}.{offer(islice(free, 2))}")
        reference = self._db.next_reference()
        booking = {
            "reference": reference,
            "hotel": name,
            "date": day.isoformat(),
            "nights": nights,
            "people": people,
            "rooms": rooms,
        }
        self._db.insert("hotel_bookings", booking)
        return {
            "booked": name,
            "date": say_date(day),
            "nights": nights,
            "people": people,
            "reference": reference,
        }

    def find_appointments(self, service: Service, date: str) -> dict[str, Any]:
        """Find free appointment times."""
        day = resolve_date(date, self._now())
        free = self._slots(service, day)
        return {"service": service, "date": say_date(day), "free": [say_time(moment) for moment in free[:3]]}

    def book_appointment(self, service: Service, date: str, time: str, name: str) -> dict[str, Any]:
        """Book an appointment."""
        day, moment = self._future(date, time, OFFICE_HOURS)
        free = self._slots(service, day)
        if moment not in free:
            near = sorted(sorted(free, key=lambda other: minutes_apart(other, moment))[:3])
            raise ToolError(
                f"No {service} appointment is free at {say_time(moment)} on {say_date(day)}."
                f"{offer(map(say_time, near))}"
            )
        slot = {"service": service, "date": day.isoformat(), "time": f"{moment:%H:%M}"}
        provider = self._db.rows("slots", **slot, taken=0)[0]["provider"]
        customer = self._customer(name)
        reference = self._db.next_reference()
        self._db.update("slots", {**slot, "provider": provider}, taken=1)
        booking = {"reference": reference, "provider": provider, "name": customer, **slot}
        self._db.insert("appointment_bookings", booking)
        return {
            "booked": service,
            "date": say_date(day),
            "time": say_time(moment),
            "name": customer,
            "reference": reference,
        }

    def _slots(self, service: str, day: Date) -> list[Time]:
        """Free times of a day; none is an error with the next day that has some."""
        free = free_slots(self._db, service, day, self._now())
        if not free:
            later = next_day_with_slots(self._db, service, day, self._now())
            hint = f" The next free day is {say_date(later)}." if later else ""
            raise ToolError(f"No {service} appointment is free on {say_date(day)}.{hint}")
        return free

    def _customer(self, heard: str) -> str:
        """The customer's name as it is on file, or the new one as it was heard."""
        order = ranked(heard, [row["name"] for row in self._db.rows("customers")])
        # Stricter than for a place: an unknown person is a new customer, not a mistake.
        if order and order[0][0] >= SAME_PERSON and (len(order) < 2 or order[0][0] - order[1][0] >= 3):
            return order[0][1]
        new = " ".join(heard.strip(" .").split())
        if not new:
            raise ToolError("I need a name for the appointment.")
        return new.title() if new.islower() else new

    def book_taxi(self, pickup: str, destination: str, date: str, time: str) -> dict[str, Any]:
        """Book a taxi."""
        places = [
            row["name"] for table in ("places", "restaurants", "hotels") for row in self._db.rows(table)
        ]
        start, end = find_name(pickup, places, "place"), find_name(destination, places, "place")
        if start == end:
            raise ToolError(f"The taxi would start and end at {start}.")
        day, moment = self._future(date, time, None)
        idle = idle_taxis(self._db, day)
        if not idle(moment):
            others = [other for other in around(moment, Time(0), Time(23, 59)) if idle(other)]
            raise ToolError(
                f"No taxi is free at {say_time(moment)}.{offer(map(say_time, sorted(others[:2])))}"
            )
        reference = self._db.next_reference()
        booking = {
            "reference": reference,
            "taxi": idle(moment)[0],
            "pickup": start,
            "destination": end,
            "date": day.isoformat(),
            "time": f"{moment:%H:%M}",
        }
        self._db.insert("taxi_bookings", booking)
        return {
            "booked": "taxi",
            "pickup": start,
            "destination": end,
            "date": say_date(day),
            "time": say_time(moment),
            "reference": reference,
        }

    def order_status(self, order: str) -> dict[str, Any]:
        """Status of an order."""
        row = self._order(order)
        return {"order": row["number"], "item": row["item"], "status": row["status"], "delivery": _said(row)}

    def change_delivery(self, order: str, date: str) -> dict[str, Any]:
        """Change an order's delivery date."""
        row = self._open_order(order)
        day = resolve_date(date, self._now())
        self._db.update("orders", {"number": row["number"]}, delivery=day.isoformat())
        return {"order": row["number"], "item": row["item"], "delivery": say_date(day)}

    def cancel_order(self, order: str) -> dict[str, Any]:
        """Cancel an order."""
        row = self._open_order(order)
        self._db.update("orders", {"number": row["number"]}, status="cancelled")
        return {"order": row["number"], "item": row["item"], "status": "cancelled"}

    def _order(self, order: str) -> dict[str, Any]:
        number = resolve_digits(order)
        rows = self._db.rows("orders", number=number)
        if not rows:
            raise ToolError(f"There is no order {number}.")
        return rows[0]

    def _open_order(self, order: str) -> dict[str, Any]:
        row = self._order(order)
        if row["status"] == "delivered":
            raise ToolError(f"Order {row['number']} was already delivered on {_said(row)}.")
        if row["status"] == "cancelled":
            raise ToolError(f"Order {row['number']} is already cancelled.")
        return row

    def cancel_booking(self, reference: str) -> dict[str, Any]:
        """Cancel a booking by reference."""
        number = resolve_digits(reference)
        wordings = {
            "restaurant_bookings": "table at {restaurant}",
            "hotel_bookings": "room at {hotel}",
            "appointment_bookings": "{service} appointment",
            "taxi_bookings": "taxi to {destination}",
        }
        for table, wording in wordings.items():
            for row in self._db.rows(table, reference=number):
                self._db.delete(table, {"reference": number})
                if table == "appointment_bookings":
                    slot = {key: row[key] for key in ("service", "provider", "date", "time")}
                    self._db.update("slots", slot, taken=0)
                return {"reference": number, "cancelled": wording.format(**row)}
        raise ToolError(f"There is no booking with the reference {number}.")

    def _name(self, table: str, heard: str, what: str) -> str:
        return find_name(heard, [row["name"] for row in self._db.rows(table)], what)

    def _future(self, date: str, time: str, hours: tuple[Time, Time] | None) -> tuple[Date, Time]:
        """Day and time of day, not yet past."""
        now = self._now()
        day, moment = resolve_date(date, now), resolve_time(time, hours)
        if is_past(day, moment, now):
            raise ToolError(f"{say_time(moment)} today has already passed.")
        return day, moment


def _food(heard: str) -> str:
    word = heard.lower().strip(" .").removesuffix(" food")
    if word in FOODS or word in _DISHES:
        return _DISHES.get(word, word)
    try:
        return find_name(word, FOODS)
    except UnknownNameError:
        return word


def _columns(rows: Iterable[dict[str, Any]], *columns: str) -> list[dict[str, Any]]:
    return [{column: row[column] for column in columns} for row in rows]


def _at_least_one(value: int, message: str) -> None:
    if value < 1:
        raise ToolError(message)


def _said(order: dict[str, Any]) -> str:
    return say_date(Date.fromisoformat(order["delivery"]))
