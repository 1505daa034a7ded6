"""Every concierge tool: it works, shows in the next query, and refuses with a reason."""

from __future__ import annotations

import asyncio
import json
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.tools import SYSTEM, concierge, system_text
from stretto.tools.spoken_time import say_date, say_time
from stretto.tools.tool import Tool

NOW = datetime(2026, 11, 21, 10, 0)
MONDAY = "2026-11-23"


class Desk:
    """The tools over a fresh city, called by name."""

    def __init__(self, database: Database | None = None, now: datetime = NOW) -> None:
        self.now = now
        self.database = database or Database.seed(1, NOW.date(), held_out=False)
        self.tools: dict[str, Tool] = {
            tool.spec.name: tool for tool in concierge(self.database, lambda: self.now)
        }

    def __call__(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        before = self.database.snapshot()
        jsonschema.validate(arguments, self.tools[tool].spec.parameters)
        result = asyncio.run(self.tools[tool].run(arguments, "key"))
        if result.error is not None:
            assert self.database.changes(before) == []
            assert result.error.endswith((".", "?"))
        found = json.loads(result.text)
        assert isinstance(found, dict)
        return found

    def error(self, tool: str, /, **arguments: Any) -> str:
        return str(self(tool, **arguments)["error"])

    def changes(self, tool: str, /, **arguments: Any) -> list[tuple[str, str, dict[str, Any]]]:
        before = self.database.snapshot()
        self(tool, **arguments)
        return [(entry["table"], entry["change"], entry["row"]) for entry in self.database.changes(before)]

    def quiet_restaurant(self) -> dict[str, Any]:
        """A restaurant without bookings on the Monday that opens at lunch."""
        busy = {row["restaurant"] for row in self.database.rows("restaurant_bookings", date=MONDAY)}
        rows = self.database.rows("restaurants")
        return next(row for row in rows if row["name"] not in busy and row["opens"] <= "12:00")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_specs_are_short_for_a_small_model(desk: Desk) -> None:
    assert list(desk.tools) == [
        "find_restaurants",
        "book_restaurant",
        "find_hotels",
        "book_hotel",
        "find_appointments",
        "book_appointment",
        "book_taxi",
        "order_status",
        "change_delivery",
        "cancel_order",
        "cancel_booking",
    ]
    for tool in desk.tools.values():
        assert 1 <= len(tool.spec.description.split()) <= 8
        jsonschema.Draft202012Validator.check_schema(tool.spec.parameters)
        assert "description" not in str(tool.spec.parameters)
        assert tool.read_only == (tool.spec.name.startswith("find_") or tool.spec.name == "order_status")
    area = desk.tools["find_hotels"].spec.parameters["properties"]["area"]
    assert area == {"type": "string", "enum": ["north", "south", "east", "west", "centre"]}
    assert desk.tools["find_restaurants"].spec.parameters["required"] == []


def test_system_text() -> None:
    assert system_text(NOW) == f"{SYSTEM} Today is Saturday, November 21st 2026."


def test_find_restaurants(desk: Desk) -> None:
    everything = desk("find_restaurants")
    assert everything["count"] == len(desk.database.rows("restaurants"))
    assert len(everything["restaurants"]) == 2
    row = desk.database.rows("restaurants")[3]
    found = desk("find_restaurants", food=row["food"].upper(), area=row["area"], price=row["price"])
    assert {key: row[key] for key in ("name", "food", "area", "price")} in found["restaurants"]
    assert desk("find_restaurants", food="pizza") == desk("find_restaurants", food="italian food")
    assert desk("find_restaurants", food="martian") == {"count": 0, "restaurants": []}
    assert "'area'" in asyncio.run(desk.tools["find_restaurants"].run({"area": "moon"}, "")).text


def test_book_restaurant_books_a_row(desk: Desk) -> None:
    place = desk.quiet_restaurant()
    booked = desk(
        "book_restaurant", restaurant=place["name"].lower(), date="Monday", time="half past seven", people=4
    )
    assert booked == {
        "booked": place["name"],
        "date": "Monday the 23rd of November",
        "time": "7:30 pm",
        "people": 4,
        "reference": booked["reference"],
    }
    assert desk.database.rows("restaurant_bookings", reference=booked["reference"]) == [
        {
            "reference": booked["reference"],
            "restaurant": place["name"],
            "date": MONDAY,
            "time": "19:30",
            "people": 4,
        }
    ]


def test_seats_run_out_and_alternatives_are_offered(desk: Desk) -> None:
    place = desk.quiet_restaurant()
    slot = {"restaurant": place["name"], "date": "Monday"}
    desk("book_restaurant", **slot, time="7 pm", people=place["seats"] - 1)
    assert desk("book_restaurant", **slot, time="7 pm", people=1)["booked"] == place["name"]
    error = desk.error("book_restaurant", **slot, time="7 pm", people=1)
    assert error == f"{place['name']} is full at 7 pm. Free: 6 pm or 8 pm."
    # The table is taken for an hour.
    assert "is full at 7:30 pm" in desk.error("book_restaurant", **slot, time="7:30 pm", people=1)
    assert desk("book_restaurant", **slot, time="8 pm", people=1)["time"] == "8 pm"


def test_a_table_that_the_city_has_booked_is_full(desk: Desk) -> None:
    row = next(row for row in desk.database.rows("restaurant_bookings") if row["people"] >= 20)
    said = say_time(time.fromisoformat(row["time"]))
    error = desk.error("book_restaurant", restaurant=row["restaurant"], date=row["date"], time=said, people=2)
    assert error.startswith(f"{row['restaurant']} is full at {said}. Free: ")
    free = error.split("Free: ")[1].rstrip(".").split(" or ")
    assert desk("book_restaurant", restaurant=row["restaurant"], date=row["date"], time=free[0], people=2)[
        "booked"
    ]


def test_restaurants_refuse_what_cannot_be(desk: Desk) -> None:
    place = desk.quiet_restaurant()
    good = {"restaurant": place["name"], "date": "Monday", "time": "7 pm", "people": 2}

    def error(**change: Any) -> str:
        return desk.error("book_restaurant", **{**good, **change})

    opens, closes = (say_time(time.fromisoformat(place[key])) for key in ("opens", "closes"))
    assert error(time="3 am") == f"{place['name']} is open from {opens} to {closes}."
    assert error(people=0) == "A table needs at least one person."
    assert error(people=900) == f"{place['name']} has only {place['seats']} seats."
    assert error(date="blue") == "I could not tell which day 'blue' is."
    assert error(time="blue") == "I could not tell which time 'blue' is."
    assert "in the past" in error(date="2026-11-20")
    assert "could not find a restaurant called zzyzx" in error(restaurant="zzyzx")
    desk.now = datetime(2026, 11, 23, 20)
    assert error(date="today") == "7 pm today has already passed."


def test_find_hotels(desk: Desk) -> None:
    row = desk.database.rows("hotels")[2]
    found = desk("find_hotels", area=row["area"], stars=row["stars"], price=row["price"])
    assert found["count"] >= 1
    assert {key: row[key] for key in ("name", "area", "stars", "price")} in found["hotels"]
    assert len(desk("find_hotels")["hotels"]) == 2
    assert desk("find_hotels", stars=9) == {"count": 0, "hotels": []}


def test_book_hotel_until_its_rooms_run_out(desk: Desk) -> None:
    hotel = desk.database.rows("hotels")[0]
    stay = {"hotel": hotel["name"], "date": "January 4th", "nights": 2}
    booked = desk("book_hotel", **stay, people=hotel["rooms"] * 2 - 2)
    assert booked["date"] == "Monday the 4th of January"
    assert (booked["nights"], booked["people"]) == (2, hotel["rooms"] * 2 - 2)
    assert desk("book_hotel", **stay, people=1)["booked"] == hotel["name"]
    error = desk.error("book_hotel", **{**stay, "date": "January 3rd"}, people=2)
    assert error.startswith(f"{hotel['name']} is full on Monday the 4th of January. Free: ")
    other = error.split("Free: ")[1].rstrip(".").split(" or ")[0]
    assert desk.database.rows("hotels", name=other)[0]["area"] == hotel["area"]
    assert desk("book_hotel", hotel=other, date="January 3rd", nights=2, people=2)["booked"] == other
    assert desk("book_hotel", **{**stay, "date": "January 6th"}, people=2)["booked"] == hotel["name"]


def test_hotels_refuse_what_cannot_be(desk: Desk) -> None:
    hotel = desk.database.rows("hotels")[0]
    good = {"hotel": hotel["name"], "date": "tomorrow", "nights": 1, "people": 1}

    def error(**change: Any) -> str:
        return desk.error("book_hotel", **{**good, **change})

    assert error(nights=0) == "A stay is at least one night."
    assert error(nights=31) == "A stay is at most 30 nights."
    assert error(people=0) == "A room needs at least one person."
    assert error(people=500) == f"{hotel['name']} has only {hotel['rooms']} rooms."
    assert "could not find a hotel called zzyzx" in error(hotel="zzyzx")


def test_appointments_are_offered_booked_and_gone(desk: Desk) -> None:
    offered = desk("find_appointments", service="dentist", date="Monday")
    assert offered["date"] == "Monday the 23rd of November"
    assert 1 <= len(offered["free"]) <= 3
    customer = desk.database.rows("customers")[0]["name"]
    arguments = {"service": "dentist", "date": "Monday", "time": offered["free"][0]}
    changes = desk.changes("book_appointment", **arguments, name=customer.lower())
    assert [(table, change) for table, change, _ in changes] == [
        ("slots", "update"),
        ("appointment_bookings", "insert"),
    ]
    assert changes[0][2]["taken"] == 1
    assert changes[1][2]["name"] == customer
    assert offered["free"][0] not in desk("find_appointments", service="dentist", date="Monday")["free"]
    error = desk.error("book_appointment", **arguments, name="Somebody Else")
    start = f"No dentist appointment is free at {offered['free'][0]} on Monday the 23rd of November."
    assert error.startswith(start)
    assert "Free: " in error


def test_a_new_person_may_have_an_appointment(desk: Desk) -> None:
    free = desk("find_appointments", service="vet", date="Monday")["free"]
    booked = desk("book_appointment", service="vet", date="Monday", time=free[0], name="zebedee quux")
    assert booked["name"] == "Zebedee Quux"
    assert booked["booked"] == "vet"
    assert "need a name" in desk.error(
        "book_appointment", service="vet", date="Monday", time=free[-1], name=" "
    )


def test_a_day_without_appointments_names_the_next(desk: Desk) -> None:
    for name, more in (("find_appointments", {}), ("book_appointment", {"time": "9 am", "name": "Ann Bell"})):
        assert desk.error(name, service="doctor", date="Sunday", **more) == (
            "No doctor appointment is free on Sunday the 22nd of November. "
            "The next free day is Monday the 23rd of November."
        )
    far = say_date(NOW.date() + timedelta(days=200))
    assert desk.error("find_appointments", service="doctor", date=far) == (
        f"No doctor appointment is free on {far}."
    )


def test_past_appointments_of_today_are_not_offered() -> None:
    desk = Desk(Database.seed(1, date(2026, 11, 23), False), datetime(2026, 11, 23, 17, 30))
    assert "No haircut appointment is free on Monday" in desk.error(
        "find_appointments", service="haircut", date="today"
    )


def test_book_taxi_until_none_is_free(desk: Desk) -> None:
    ride = {
        "pickup": "airport",
        "destination": "central station",
        "date": "January 4th",
        "time": "8 in the morning",
    }
    taxis = {row["plate"] for row in desk.database.rows("taxis")}
    references = {desk("book_taxi", **ride)["reference"] for _ in taxis}
    assert len(references) == len(taxis)
    rows = [row for row in desk.database.rows("taxi_bookings") if row["reference"] in references]
    assert {row["taxi"] for row in rows} == taxis
    assert {(row["pickup"], row["destination"], row["time"]) for row in rows} == {
        ("the airport", "Central Station", "08:00")
    }
    assert desk.error("book_taxi", **ride) == "No taxi is free at 8 am. Free: 7:30 am or 8:30 am."
    later = desk("book_taxi", **{**ride, "time": "8:30 am"})
    assert (later["booked"], later["date"], later["time"]) == ("taxi", "Monday the 4th of January", "8:30 am")


def test_taxis_go_to_restaurants_but_not_in_circles_or_to_the_moon(desk: Desk) -> None:
    place = desk.database.rows("restaurants")[0]["name"]
    ride = {"pickup": "the airport", "destination": place, "date": "tomorrow", "time": "9 pm"}
    assert desk("book_taxi", **ride)["destination"] == place
    assert "start and end at the airport" in desk.error("book_taxi", **{**ride, "destination": "airport"})
    assert "could not find a place called the moon" in desk.error(
        "book_taxi", **{**ride, "pickup": "the moon"}
    )


def order(desk: Desk, status: str) -> dict[str, Any]:
    return desk.database.rows("orders", status=status)[0]


def test_order_status_by_spoken_number(desk: Desk) -> None:
    row = order(desk, "shipped")
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    expected = {
        "order": row["number"],
        "item": row["item"],
        "status": "shipped",
        "delivery": say_date(date.fromisoformat(row["delivery"])),
    }
    spoken = " ".join(words[int(digit)] for digit in row["number"])
    for said in (row["number"], spoken, "-".join(row["number"]), f"{row['number'][:2]} {row['number'][2:]}"):
        assert desk("order_status", order=said) == expected
    assert "4 digits" in desk.error("order_status", order="blue")
    free = next(
        str(number) for number in range(1000, 9999) if not desk.database.rows("orders", number=str(number))
    )
    assert desk.error("order_status", order=free) == f"There is no order {free}."


def test_change_delivery_shows_in_the_status(desk: Desk) -> None:
    row = order(desk, "processing")
    assert desk.changes("change_delivery", order=row["number"], date="next Friday") == [
        ("orders", "update", {**row, "delivery": "2026-11-27"})
    ]
    assert desk("order_status", order=row["number"])["delivery"] == "Friday the 27th of November"
    assert "in the past" in desk.error("change_delivery", order=row["number"], date="2026-01-01")


def test_cancel_order_once(desk: Desk) -> None:
    row = order(desk, "processing")
    assert desk("cancel_order", order=row["number"]) == {
        "order": row["number"],
        "item": row["item"],
        "status": "cancelled",
    }
    assert desk("order_status", order=row["number"])["status"] == "cancelled"
    for name, more in (("cancel_order", {}), ("change_delivery", {"date": "tomorrow"})):
        assert desk.error(name, order=row["number"], **more) == f"Order {row['number']} is already cancelled."


def test_a_delivered_order_stays(desk: Desk) -> None:
    row = order(desk, "delivered")
    said = say_date(date.fromisoformat(row["delivery"]))
    for name, more in (("cancel_order", {}), ("change_delivery", {"date": "tomorrow"})):
        error = desk.error(name, order=row["number"], **more)
        assert error == f"Order {row['number']} was already delivered on {said}."


def test_cancelled_bookings_free_what_they_held(desk: Desk) -> None:
    place = desk.quiet_restaurant()["name"]
    table = {
        "restaurant": place,
        "date": "Monday",
        "time": "7 pm",
        "people": desk.quiet_restaurant()["seats"],
    }
    slot = {"service": "massage", "date": "Monday", "name": "Ann Bell"}
    slot["time"] = desk("find_appointments", service="massage", date="Monday")["free"][0]
    hotel = desk.database.rows("hotels")[0]
    room = {"hotel": hotel["name"], "date": "January 4th", "nights": 1, "people": hotel["rooms"] * 2}
    ride = {"pickup": "the airport", "destination": "City Hall", "date": "tomorrow", "time": "8 pm"}
    for name, arguments, said in (
        ("book_restaurant", table, f"table at {place}"),
        ("book_appointment", slot, "massage appointment"),
        ("book_hotel", room, f"room at {hotel['name']}"),
        ("book_taxi", ride, "taxi to City Hall"),
    ):
        before = desk.database.snapshot()
        reference = desk(name, **arguments)["reference"]
        assert desk("cancel_booking", reference=" ".join(reference)) == {
            "reference": reference,
            "cancelled": said,
        }
        assert desk.database.changes(before) == []
        assert desk.error("cancel_booking", reference=reference) == (
            f"There is no booking with the reference {reference}."
        )
        assert desk(name, **arguments)["reference"] != reference


def test_parallel_bookings_of_the_last_slot_succeed_once(tmp_path: Path) -> None:
    desk = Desk(Database.seed(1, NOW.date(), False, tmp_path / "city.db"))
    free = desk("find_appointments", service="dentist", date="Monday")["free"][0]
    arguments = {"service": "dentist", "date": "Monday", "time": free, "name": "Ann Bell"}

    async def both() -> list[bool]:
        tool = desk.tools["book_appointment"]
        results = await asyncio.gather(*(tool.run(arguments, str(key)) for key in range(4)))
        return [result.error is None for result in results]

    assert sorted(asyncio.run(both())) == [False, False, False, True]
    assert len(desk.database.rows("slots", service="dentist", date=MONDAY, taken=0)) + 1 == len(
        Desk().database.rows("slots", service="dentist", date=MONDAY, taken=0)
    )
