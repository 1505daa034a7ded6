"""Who calls and how: what the line tells of a call before anybody speaks, also to the tools that it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CallInformation:
    """What is not known is "". `way`: the way in, as in `twilio` or `audiosocket`. `id`: the line's own name
    of the call. `caller`, `called`: telephone numbers as the line tells them (networks let callers send wrong
    ones: a number is no proof of who calls). `parameters`: whatever else came with the call.
    """

    way: str = ""
    id: str = ""
    caller: str = ""
    called: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


_current: ContextVar[CallInformation | None] = ContextVar("stretto_call", default=None)


def call_information() -> CallInformation:
    """Of the call for which a tool runs; empty outside of a tool."""
    return _current.get() or CallInformation()


@contextmanager
def about(information: CallInformation) -> Iterator[None]:
    """Tasks and threads that are begun in the block find this call."""
    token = _current.set(information)
    try:
        yield
    finally:
        _current.reset(token)
