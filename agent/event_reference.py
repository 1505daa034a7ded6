"""The page of the typed events, made from their classes so that it cannot fall behind them."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator

from stretto.agent import events


def kinds() -> list[type[events.Event]]:
    """Every kind of event, in the order of the module."""
    found = inspect.getmembers(events, inspect.isclass)
    mine = [kind for _, kind in found if issubclass(kind, events.Event) and kind is not events.Event]
    return sorted(mine, key=lambda kind: inspect.getsourcelines(kind)[1])


def page() -> str:
    """The page, Markdown: every event with when it comes and its fields."""
    return "\n".join([_HEAD, *(_row(kind) for kind in kinds())]) + "\n"


def _row(kind: type[events.Event]) -> str:
    when = " ".join((kind.__doc__ or "").split())
    fields = "<br>".join(_fields(kind))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{kind.__name__}`", when, fields)) + " |"


def _fields(kind: type[events.Event]) -> Iterator[str]:
    for field in dataclasses.fields(kind):
        if field.name != "at_ms":
            yield f"`{field.name}`: {field.type}"


_HEAD = """# Events

*Made from the classes in `agent/events.py`: `python -m stretto.agent.event_reference > agent/EVENTS.md`.*

What happens in a call, as it happens: small frozen dataclasses. In your own program:

```python
async with agent.call(play) as call:
    async for event in call.events():
        if isinstance(event, events.CallerFinal):      # from stretto.agent import events
            print(event.at_ms, event.text)
```

`Session.watch` calls a function with each, `SyncAgent`'s calls have `events()`, too, and a client of
`stretto serve` that connects to `/v1/realtime?stretto=events` gets them as JSON, `stretto.` before the name
in `type`.

Every event has `at_ms`: milliseconds since the agent picked up. `turn` counts the caller's turns from 1 (0:
before the first), `revision` the soft ends inside one turn from 1: what was prepared at one is void when the
caller goes on. `reply` counts the agent's replies from 1. A field that may be missing is `None` then.

| event | when it comes | fields beside `at_ms` |
|---|---|---|"""


if __name__ == "__main__":
    sys.stdout.write(page())
