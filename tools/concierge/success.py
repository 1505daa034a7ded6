"""Whether a call reached its goal: the database has changed exactly as the goal says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stretto.tools.concierge.database import Database, Snapshot
from stretto.tools.concierge.goals import CHANGING, SLOTS, Goal, Kind, Task

_BOOKINGS: dict[Kind, str] = {
    "restaurant": "restaurant_bookings",
    "hotel": "hotel_bookings",
    "appointment": "appointment_bookings",
    "taxi": "taxi_bookings",
}


@dataclass(frozen=True)
class Outcome:
    """`why` says in a line what is missing or wrong; `changes` as of `Database.changes`."""

    met: bool
    why: str
    changes: list[dict[str, Any]]


def check(database: Database, before: Snapshot, goal: Goal) -> Outcome:
    """Compare the database with what the goal expects: each task's rows, and nothing else."""
    changes = database.changes(before)
    left = list(changes)
    for task in goal.tasks:
        if task.kind not in CHANGING:
            continue
        found = next((change for change in left if _fits(change, task, before)), None)
        if found is None:
            return Outcome(False, _missing(task, left), changes)
        left.remove(found)
        left = [change for change in left if not _follows(change, found)]
    if left:
        return Outcome(False, f"changed beside the goal: {_brief(left[0])}", changes)
    return Outcome(True, "the database is as the goal says", changes)


def _fits(change: dict[str, Any], task: Task, before: Snapshot) -> bool:
    row, kind = change["row"], task.kind
    if kind in _BOOKINGS:
        right = change["change"] == "insert" and change["table"] == _BOOKINGS[kind]
        return right and all(task.takes(slot, row[slot]) for slot in SLOTS[kind])
    if kind == "cancel_booking":
        return bool(change["change"] == "delete" and row.get("reference") == task.slots["reference"])
    if change["table"] != "orders" or change["change"] != "update" or row["number"] != task.slots["order"]:
        return False
    old = change["old"]
    if kind == "change_delivery":
        return bool(row == {**old, "delivery": task.slots["date"]})
    return bool(row == {**old, "status": "cancelled"})


def _follows(change: dict[str, Any], cause: dict[str, Any]) -> bool:
    """An appointment that is made or cancelled also takes or frees its slot."""
    if change["table"] != "slots" or cause["table"] != "appointment_bookings":
        return False
    keys = ("service", "provider", "date", "time")
    return change["change"] == "update" and all(change["row"][key] == cause["row"][key] for key in keys)


def _missing(task: Task, left: list[dict[str, Any]]) -> str:
    wanted = f"{task.kind} {task.slots}"
    return f"expected {wanted}, found {_brief(left[0])}" if left else f"expected {wanted}, found nothing"


def _brief(change: dict[str, Any]) -> str:
    return f"{change['change']} in {change['table']} {change['row']}"
