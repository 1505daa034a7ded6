"""One thing that a caller wants done, with its slots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stretto.tools.concierge.lookup import ranked

Kind = Literal[
    "restaurant", "hotel", "appointment", "taxi", "order_status", "change_delivery", "cancel_order",
    "cancel_booking", "ask_restaurants", "ask_hotels", "ask_appointments", "person",
]  # fmt: skip
Value = str | int

CHANGING: dict[Kind, int] = {
    "restaurant": 30, "hotel": 16, "appointment": 18, "taxi": 18, "change_delivery": 8, "cancel_order": 6,
    "cancel_booking": 8,
}  # fmt: skip
"""Tasks that change the database, with their weights."""
ASKING: dict[Kind, int] = {
    "order_status": 9, "ask_restaurants": 5, "ask_hotels": 3, "ask_appointments": 4, "person": 2,
}  # fmt: skip
SLOTS: dict[Kind, tuple[str, ...]] = {
    "restaurant": ("restaurant", "date", "time", "people"),
    "hotel": ("hotel", "date", "nights", "people"),
    "appointment": ("service", "date", "time", "name"),
    "taxi": ("pickup", "destination", "date", "time"),
    "order_status": ("order",),
    "change_delivery": ("order", "date"),
    "cancel_order": ("order",),
    "cancel_booking": ("reference",),
    "ask_restaurants": (),
    "ask_hotels": (),
    "ask_appointments": ("service", "date"),
    "person": (),
}
"""Slots of every task, in the order in which they are asked for."""


@dataclass(frozen=True)
class Task:
    """One thing to get done.

    Attributes:
        slots: canonical values that the caller knows: names as in the database, ISO dates, "19:30".
        accept: for slots whose value the database decides, what the caller would take: the places that
            match a search, the free times around one that is full.
        at_first: values that the caller names first and changes later; `slots` has the final ones.
        search: what the caller looks for where it has no name: food, area, price, stars.
        first_search: what it looks for first, and does not find.
    """

    kind: Kind
    slots: dict[str, Value] = field(default_factory=dict)
    accept: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    at_first: dict[str, Value] = field(default_factory=dict)
    search: dict[str, Value] = field(default_factory=dict)
    first_search: dict[str, Value] = field(default_factory=dict)

    def takes(self, slot: str, value: Value) -> bool:
        """Whether a value is fine with the caller."""
        if slot == "name":
            return ranked(str(value), [str(self.slots["name"])])[0][0] >= 80
        return value == self.slots.get(slot) or value in self.accept.get(slot, ())
