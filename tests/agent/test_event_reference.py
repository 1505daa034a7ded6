"""The page of events is that of their classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stretto.agent import events
from stretto.agent.event_reference import kinds, page

COMMITTED = (Path(__file__).parents[2] / "agent" / "EVENTS.md").read_text(encoding="utf-8")


def test_the_page_is_that_of_the_classes() -> None:
    assert page() == COMMITTED, "run: python -m stretto.agent.event_reference > agent/EVENTS.md"


def test_every_event_stands_there_with_when_it_comes_and_its_fields() -> None:
    rows = {line.split("`")[1]: line for line in COMMITTED.splitlines() if line.startswith("| `")}
    classes = {each.__name__: each for each in events.Event.__subclasses__()}
    assert len(classes) > 20 and set(rows) == set(classes) == {kind.__name__ for kind in kinds()}
    for name, kind in classes.items():
        fields = {field.name for field in dataclasses.fields(kind)} - {"at_ms"}
        assert all(f"`{field}`: " in rows[name] for field in fields), name
        _, _, when, _ = rows[name].replace("\\|", "/").split("|", 3)
        assert when.strip().endswith("."), name
