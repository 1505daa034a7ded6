"""The city's data: restaurants, hotels, appointments, taxis, orders and their bookings, in SQLite.

Dates are stored as ISO text ("2026-11-27"), times as "19:30". References of bookings and numbers of
orders are four digits and come from one sequence, so none is ever used twice in a database.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from stretto.tools.concierge import names

Row = tuple[Any, ...]
Snapshot = dict[str, set[Row]]

AREAS = ("north", "south", "east", "west", "centre")
PRICES = ("cheap", "moderate", "expensive")
FOODS = (
    *("italian", "chinese", "indian", "french", "mexican", "thai", "japanese", "greek", "spanish"),
    *("american", "turkish", "korean", "vietnamese", "seafood", "vegetarian"),
)
SERVICES = ("dentist", "doctor", "haircut", "massage", "vet")
DAYS_AHEAD = 28
"""Appointments exist and tables are taken for this many days from the seeding day on."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "restaurants": ("name", "food", "area", "price", "opens", "closes", "seats"),
    "hotels": ("name", "area", "stars", "price", "rooms"),
    "slots": ("service", "provider", "date", "time", "taken"),
    "customers": ("name", "phone"),
    "places": ("name", "area"),
    "taxis": ("plate", "seats"),
    "orders": ("number", "customer", "item", "status", "delivery"),
    "restaurant_bookings": ("reference", "restaurant", "date", "time", "people"),
    "hotel_bookings": ("reference", "hotel", "date", "nights", "people", "rooms"),
    "appointment_bookings": ("reference", "service", "provider", "date", "time", "name"),
    "taxi_bookings": ("reference", "taxi", "pickup", "destination", "date", "time"),
}
KEYS: dict[str, int] = {table: 4 if table == "slots" else 1 for table in COLUMNS}
"""How many leading columns identify a row of a table."""
_INTEGERS = frozenset({"seats", "stars", "rooms", "taken", "people", "nights"})

_OPENING = (
    *(("11:00", "22:00"), ("11:30", "22:30"), ("12:00", "22:00")),
    *(("12:00", "23:00"), ("17:00", "23:00")),
)
_SLOT_TIMES = (
    *("09:00", "09:30", "10:00", "11:00", "11:30"),
    *("13:00", "14:00", "14:30", "15:30", "16:00", "17:00"),
)
_STATUSES = ("processing", "processing", "shipped", "shipped", "delivered", "cancelled")
_CITY = {"restaurants": 48, "hotels": 30, "customers": 60, "places": 36, "taxis": 8, "orders": 60}


def _schema() -> str:
    statements = ["CREATE TABLE sequence (next INTEGER NOT NULL, offset INTEGER NOT NULL)"]
    for table, columns in COLUMNS.items():
        typed = ", ".join(f"{name} {'INTEGER' if name in _INTEGERS else 'TEXT'} NOT NULL" for name in columns)
        key = ", ".join(columns[: KEYS[table]])
        statements.append(f"CREATE TABLE {table} ({typed}, PRIMARY KEY ({key})) WITHOUT ROWID")
    return ";\n".join(statements)


_SCHEMA = _schema()
_INSERT = {
    table: f"INSERT INTO {table} VALUES ({','.join('?' * len(columns))})"
    for table, columns in COLUMNS.items()
}


def _number(index: int, offset: int) -> str:
    """The index-th four-digit number of a sequence that visits all of 1000..9999 once."""
    return str(1000 + (offset + index * 7919) % 9000)


class Database:
    """The concierge's database; safe to use from several threads of one process."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        """Open a database file, or an empty one in memory; tables are made where there are none.

        Raises:
            ValueError: the file cannot be opened, or is something else.
        """
        self.in_memory = str(path) == ":memory:"
        self._lock = RLock()
        # The lock, not the thread, is what guards the connection.
        try:
            self._connection = sqlite3.connect(str(path), check_same_thread=False, isolation_level=None)
            self._prepare()
        except sqlite3.Error as error:
            raise ValueError(f"{path} cannot be used as a database: {error}. Name another file.") from error

    def _prepare(self) -> None:
        if not self.in_memory:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
        found = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name='sequence'").fetchone()
        if not found:
            self._connection.executescript(_SCHEMA)
            self._connection.execute("INSERT INTO sequence VALUES (0, 0)")

    @classmethod
    def seed(cls, seed: int, today: date, held_out: bool, path: str | Path = ":memory:") -> Database:
        """Make a city: the same rows for the same arguments.

        `held_out` chooses the names: those kept out of training, or only those that are not.

        Raises:
            ValueError: the file already holds rows.
        """
        database = cls(path)
        if database.rows("restaurants"):
            database.close()
            raise ValueError(f"{path} already holds a city. Delete the file or name another one.")
        offset = random.Random(seed).randrange(9000)
        tables, used = _city(random.Random(f"{seed} {today}"), today, held_out, offset)
        with database.transaction():
            for table, rows in tables.items():
                database._connection.executemany(_INSERT[table], rows)
            database._connection.execute("UPDATE sequence SET next = ?, offset = ?", (used, offset))
        return database

    def copy(self) -> Database:
        """An independent copy in memory; far cheaper than seeding again."""
        other = Database.__new__(Database)
        other.in_memory = True
        other._lock = RLock()
        other._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        with self._lock:
            self._connection.backup(other._connection)
        return other

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the database; what was written inside is undone when the block raises. Does not nest."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and return its rows."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def rows(self, table: str, **equals: Any) -> list[dict[str, Any]]:
        """Rows of a table as dictionaries, in key order, where every given column has the given value."""
        columns = COLUMNS[table]
        unknown = equals.keys() - set(columns)
        if unknown:
            raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}.")
        where = " AND ".join(f"{name} = ?" for name in equals)
        sql = f"SELECT * FROM {table}" + (f" WHERE {where}" if where else "")
        return [dict(zip(columns, row, strict=True)) for row in self.query(sql, tuple(equals.values()))]

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Insert one row; every column must be given."""
        self.query(_INSERT[table], [row[name] for name in COLUMNS[table]])

    def update(self, table: str, key: Mapping[str, Any], **values: Any) -> None:
        """Set columns of the rows whose columns equal `key`."""
        sets = ", ".join(f"{name} = ?" for name in values)
        where = " AND ".join(f"{name} = ?" for name in key)
        self.query(f"UPDATE {table} SET {sets} WHERE {where}", [*values.values(), *key.values()])

    def delete(self, table: str, key: Mapping[str, Any]) -> None:
        """Delete the rows whose columns equal `key`."""
        where = " AND ".join(f"{name} = ?" for name in key)
        self.query(f"DELETE FROM {table} WHERE {where}", list(key.values()))

    def next_reference(self) -> str:
        """Take the next unused four-digit reference."""
        index, offset = self.query("UPDATE sequence SET next = next + 1 RETURNING next - 1, offset")[0]
        return _number(index, offset)

    def snapshot(self) -> Snapshot:
        """All rows of all tables, to be compared by `changes`."""
        with self._lock:
            return {table: set(self.query(f"SELECT * FROM {table}")) for table in COLUMNS}

    def changes(self, before: Snapshot) -> list[dict[str, Any]]:
        """What differs from an earlier snapshot, table by table, rows in key order.

        Each is {"table", "change": "insert" | "update" | "delete", "row": {column: value}}; an update
        also has the "old" row.
        """
        found: list[dict[str, Any]] = []
        for table, now in self.snapshot().items():
            gone, new = before[table] - now, now - before[table]
            if not gone and not new:
                continue
            columns, width = COLUMNS[table], KEYS[table]
            old = {row[:width]: row for row in gone}
            current = {row[:width]: row for row in new}
            for key in sorted(old.keys() | current.keys()):
                change: Literal["insert", "update", "delete"] = "update"
                if key not in old:
                    change = "insert"
                elif key not in current:
                    change = "delete"
                row = current.get(key) or old[key]
                entry = {"table": table, "change": change, "row": dict(zip(columns, row, strict=True))}
                if change == "update":
                    entry["old"] = dict(zip(columns, old[key], strict=True))
                found.append(entry)
        return found


def _city(rng: random.Random, today: date, held_out: bool, offset: int) -> tuple[dict[str, list[Row]], int]:
    """Rows of every table, and how many numbers of the sequence they used."""
    days = [(today + timedelta(days=ahead)).isoformat() for ahead in range(DAYS_AHEAD)]
    used = 0

    def number() -> str:
        nonlocal used
        used += 1
        return _number(used - 1, offset)

    def pick(values: Sequence[Any]) -> Any:
        return values[int(rng.random() * len(values))]

    people = names.draw("person", _CITY["customers"], rng, held_out)
    restaurants: list[Row] = [
        (name, FOODS[i % len(FOODS)], pick(AREAS), pick(PRICES), *pick(_OPENING), pick((20, 24, 30, 36, 40)))
        for i, name in enumerate(names.draw("restaurant", _CITY["restaurants"], rng, held_out))
    ]
    hotels: list[Row] = [
        (name, AREAS[i % len(AREAS)], stars, PRICES[0 if stars < 3 else 1 if stars == 3 else pick((1, 2))],
         pick((8, 12, 16, 20)))
        for i, name in enumerate(names.draw("hotel", _CITY["hotels"], rng, held_out))
        for stars in (pick((2, 3, 3, 4, 4, 5)),)
    ]  # fmt: skip
    places: list[Row] = [
        (name, pick(AREAS))
        for name in (*names.EVERYWHERE, *names.draw("place", _CITY["places"], rng, held_out))
    ]
    taxis: list[Row] = [(f"HC {100 + i * 37}", pick((4, 4, 6))) for i in range(_CITY["taxis"])]
    orders: list[Row] = []
    for item in names.draw("item", _CITY["orders"], rng, held_out):
        status = pick(_STATUSES)
        ahead = -int(1 + rng.random() * 14) if status == "delivered" else int(2 + rng.random() * 12)
        delivery = (today + timedelta(days=ahead)).isoformat()
        orders.append((number(), pick(people), item, status, delivery))

    tables_taken: dict[tuple[str, str, str], Row] = {}
    for name, _, _, _, opens, _, seats in restaurants:
        hours = range(max(18, int(opens[:2]) + 1), 22)
        for full in (True, True, True, False):
            day, time = pick(days), f"{pick(hours)}:{pick(('00', '30'))}"
            people_in = seats if full else pick((2, 3, 4, 5, 6))
            tables_taken.setdefault((name, day, time), (number(), name, day, time, people_in))
    rooms_taken: list[Row] = []
    for name, _, _, _, rooms in hotels:
        rooms_taken.append((number(), name, pick(days), pick((1, 2)), rooms * 2, rooms))
        rooms_taken.append((number(), name, pick(days), pick((1, 2, 3)), 2, 1))

    slots: list[Row] = []
    appointments: list[Row] = []
    providers = names.draw("person", len(SERVICES), rng, held_out)
    for service, provider in zip(SERVICES, providers, strict=True):
        for ahead, day in enumerate(days):
            if (today + timedelta(days=ahead)).weekday() == 6:
                continue
            for time in rng.sample(_SLOT_TIMES, 5):
                taken = rng.random() < 0.3
                slots.append((service, provider, day, time, int(taken)))
                if taken:
                    appointments.append((number(), service, provider, day, time, pick(people)))
    rides: list[Row] = []
    for _ in range(20):
        start, end = rng.sample(places, 2)
        time = f"{pick(range(7, 22)):02}:{pick(('00', '30'))}"
        rides.append((number(), pick(taxis)[0], start[0], end[0], pick(days), time))
    tables: dict[str, list[Row]] = {
        "restaurants": restaurants,
        "hotels": hotels,
        "slots": slots,
        "customers": [(name, f"555 0{int(rng.random() * 900) + 100}") for name in people],
        "places": places,
        "taxis": taxis,
        "orders": orders,
        "restaurant_bookings": list(tables_taken.values()),
        "hotel_bookings": rooms_taken,
        "appointment_bookings": appointments,
        "taxi_bookings": rides,
    }
    return tables, used
