"""The shop's database: customers, orders, refunds and what was handed over to people, in SQLite.

A refund carries the key of the call that made it, in a column that is unique: a call that is made twice pays
nothing twice, whatever broke in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from threading import RLock

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (phone TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
  number TEXT PRIMARY KEY, phone TEXT NOT NULL REFERENCES customers, item TEXT NOT NULL,
  price INTEGER NOT NULL CHECK (price > 0), status TEXT NOT NULL, delivery TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refunds (
  key TEXT PRIMARY KEY, number TEXT NOT NULL UNIQUE REFERENCES orders, amount INTEGER NOT NULL,
  reason TEXT NOT NULL, on_day TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS handovers (
  id INTEGER PRIMARY KEY, caller TEXT NOT NULL, summary TEXT NOT NULL
);
"""
_CUSTOMERS = (
    ("+15550100", "Anna Weiss"),
    ("+15550101", "Ben Carter"),
    ("+15550102", "Clara Novak"),
    ("+15550103", "David Okafor"),
)
_ORDERS = (  # number, customer, item, price in cents, status, days from today to the delivery
    ("4210", 0, "desk lamp", 3900, "shipped", 2),
    ("4371", 0, "office chair", 18900, "delivered", -6),
    ("5128", 1, "coffee grinder", 7900, "processing", 4),
    ("5566", 1, "water kettle", 4500, "delivered", -40),
    ("6034", 2, "bread knife", 2900, "shipped", 1),
    ("7781", 3, "garden hose", 3500, "delivered", -3),
    ("8042", 3, "tool box", 6200, "cancelled", 5),
)


class ShopError(Exception):
    """What a customer is told instead: one plain sentence."""


@dataclass(frozen=True)
class Order:
    """`price` in cents; `delivery`: the day that it comes or came."""

    number: str
    phone: str
    item: str
    price: int
    status: str
    delivery: date


class Shop:
    """Safe to use from several threads of one process."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        """Open a database file, or an empty one in memory. Raises ValueError for a file that is none."""
        self._lock = RLock()
        try:
            self._rows = sqlite3.connect(str(path), check_same_thread=False, isolation_level=None)
            self._rows.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise ValueError(f"{path} cannot be used as the shop's database: {error}") from error

    @classmethod
    def seeded(cls, today: date, path: str | Path = ":memory:") -> Shop:
        """A shop with a few customers and orders; a file that holds some already stays as it is."""
        shop = cls(path)
        with shop._changing() as rows:
            if not rows.execute("SELECT 1 FROM customers").fetchone():
                rows.executemany("INSERT INTO customers VALUES (?, ?)", _CUSTOMERS)
                rows.executemany(
                    "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (number, _CUSTOMERS[who][0], item, price, status, str(today + timedelta(days)))
                        for number, who, item, price, status, days in _ORDERS
                    ],
                )
        return shop

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()

    def customer(self, phone: str) -> str | None:
        """The name of whoever has this number."""
        with self._lock:
            found = self._rows.execute("SELECT name FROM customers WHERE phone = ?", (phone,)).fetchone()
        return None if found is None else str(found[0])

    def orders(self, phone: str) -> list[Order]:
        """All orders of a number, the latest delivery first."""
        with self._lock:
            rows = self._rows.execute(
                "SELECT * FROM orders WHERE phone = ? ORDER BY delivery DESC", (phone,)
            ).fetchall()
        return [_order(row) for row in rows]

    def order(self, number: str) -> Order:
        """Raises ShopError where there is none."""
        with self._lock:
            row = self._rows.execute("SELECT * FROM orders WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise ShopError(f"There is no order {number}.")
        return _order(row)

    def move(self, number: str, day: date, today: date) -> Order:
        """Have an order come on another day. Raises ShopError."""
        with self._changing() as rows:
            order = self.order(number)
            if order.status not in ("processing", "shipped"):
                raise ShopError(f"Order {number} is {order.status}, its day cannot be changed.")
            if day <= today:
                raise ShopError("The new day must be tomorrow or later.")
            rows.execute("UPDATE orders SET delivery = ? WHERE number = ?", (str(day), number))
        return self.order(number)

    def cancel(self, number: str) -> Order:
        """Raises ShopError for an order that is already on its way."""
        with self._changing() as rows:
            order = self.order(number)
            if order.status == "shipped":
                raise ShopError(f"Order {number} is already on its way; you can send it back.")
            if order.status == "delivered":
                raise ShopError(f"Order {number} was already delivered.")
            rows.execute("UPDATE orders SET status = 'cancelled' WHERE number = ?", (number,))
        return self.order(number)

    def refund(self, number: str, reason: str, key: str, today: date, days: int = 30) -> int:
        """Give the money of a delivered order back, once; the cents. Raises ShopError.

        The same `key` once more gives the same answer, and no money. `days`: of the right of return.
        """
        with self._changing() as rows:
            order = self.order(number)
            paid = rows.execute("SELECT key, amount FROM refunds WHERE number = ?", (number,)).fetchone()
            if paid is not None and paid[0] == key:
                return int(paid[1])
            if paid is not None:
                raise ShopError(f"Order {number} was already refunded.")
            if order.status != "delivered":
                raise ShopError(f"Order {number} is {order.status}: only delivered orders are refunded.")
            if today - order.delivery > timedelta(days):
                raise ShopError(f"Order {number} came more than {days} days ago, that is too long.")
            rows.execute(
                "INSERT INTO refunds VALUES (?, ?, ?, ?, ?)", (key, number, order.price, reason, str(today))
            )
        return order.price

    def refunds(self) -> list[tuple[str, int, str]]:
        """Number, cents and reason of all."""
        with self._lock:
            return self._rows.execute("SELECT number, amount, reason FROM refunds ORDER BY number").fetchall()

    def hand_over(self, caller: str, summary: str) -> int:
        """Keep what a colleague should know of a call; its number."""
        with self._changing() as rows:
            made = rows.execute("INSERT INTO handovers (caller, summary) VALUES (?, ?)", (caller, summary))
            return int(made.lastrowid or 0)

    def handovers(self) -> list[tuple[str, str]]:
        """Callers and summaries, the oldest first."""
        with self._lock:
            return self._rows.execute("SELECT caller, summary FROM handovers ORDER BY id").fetchall()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """All of it, or nothing."""
        with self._lock:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield self._rows
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise
            self._rows.execute("COMMIT")


def _order(row: tuple[str, str, str, int, str, str]) -> Order:
    number, phone, item, price, status, delivery = row
    return Order(number, phone, item, price, status, date.fromisoformat(delivery))
