"""What is still free: tables, rooms, appointments and taxis, computed from the booking rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from typing import Any

from stretto.tools.concierge.database import Database

SITTING_MIN = 60
"""Minutes that a table is taken."""
RIDE_MIN = 30
"""Minutes that a taxi is taken."""


def clock(text: str) -> time:
    """A time as the database stores it ("19:30")."""
    return time.fromisoformat(text)


def is_past(day: date, moment: time, now: datetime) -> bool:
    return datetime.combine(day, moment) <= now.replace(tzinfo=None)


def free_tables(
    database: Database, restaurant: dict[str, Any], day: date, people: int
) -> Callable[[time], bool]:
    """Whether so many people find seats at a time of that day."""
    bookings = database.rows("restaurant_bookings", restaurant=restaurant["name"], date=day.isoformat())

    def free(moment: time) -> bool:
        taken = sum(b["people"] for b in bookings if minutes_apart(clock(b["time"]), moment) < SITTING_MIN)
        return bool(taken + people <= restaurant["seats"])

    return free


def full_night(database: Database, hotel: dict[str, Any], day: date, nights: int, rooms: int) -> date | None:
    """The first night of a stay on which so many rooms are not free; None where all are."""
    bookings = database.rows("hotel_bookings", hotel=hotel["name"])
    for night in (day + timedelta(days=later) for later in range(nights)):
        taken = sum(
            b["rooms"] for b in bookings if 0 <= (night - date.fromisoformat(b["date"])).days < b["nights"]
        )
        if taken + rooms > hotel["rooms"]:
            return night
    return None


def free_slots(database: Database, service: str, day: date, now: datetime) -> list[time]:
    """Times of free appointments of a day, none of them past, in order."""
    slots = database.rows("slots", service=service, date=day.isoformat(), taken=0)
    times = {clock(slot["time"]) for slot in slots}
    return sorted(moment for moment in times if not is_past(day, moment, now))


def next_day_with_slots(database: Database, service: str, day: date, now: datetime) -> date | None:
    """The first later day with a free appointment, within two weeks."""
    days = (day + timedelta(days=later) for later in range(1, 15))
    return next((later for later in days if free_slots(database, service, later, now)), None)


def idle_taxis(database: Database, day: date) -> Callable[[time], list[str]]:
    """Plates of the taxis that have no ride at a time of that day."""
    rides = database.rows("taxi_bookings", date=day.isoformat())
    plates = [row["plate"] for row in database.rows("taxis")]

    def idle(moment: time) -> list[str]:
        busy = {ride["taxi"] for ride in rides if minutes_apart(clock(ride["time"]), moment) < RIDE_MIN}
        return [plate for plate in plates if plate not in busy]

    return idle


def minutes(moment: time) -> int:
    """Minutes since midnight."""
    return moment.hour * 60 + moment.minute


def minutes_apart(one: time, other: time) -> int:
    return abs(minutes(one) - minutes(other))


def around(moment: time, first: time, last: time) -> list[time]:
    """Times in steps of half an hour, up to four hours away and within bounds, nearest first."""
    steps = [minutes(moment) + sign * step for step in range(30, 241, 30) for sign in (-1, 1)]
    return [time(*divmod(step, 60)) for step in steps if minutes(first) <= step <= minutes(last)]


def offer(choices: Iterable[str]) -> str:
    """The end of an error that has alternatives: " Free: 9 am, 11:30 am or 3 pm.", or nothing."""
    options = list(choices)
    if not options:
        return ""
    *most, last = options
    return f" Free: {', '.join(most)} or {last}." if most else f" Free: {last}."
