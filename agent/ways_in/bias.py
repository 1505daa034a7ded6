"""Names that a caller of the concierge is likely to say, for the recogniser."""

from __future__ import annotations

from stretto.tools.concierge.database import Database

TABLES = ("restaurants", "hotels", "places", "customers")


def names_in(database: Database) -> list[str]:
    """Every name in the database, as the concierge's tools know it."""
    return [str(row["name"]) for table in TABLES for row in database.rows(table)]
