"""Calls that need the caller's yes: asked about, confirmed, run once. Pure: no clock, no asyncio.

`feed(event)` gives actions. Nothing is run but by `Run`, which only a yes to a question that was heard gives,
and each question gives it once. Any other words of the agent void a question: a later yes answers those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from stretto.agent.assent import Answer
from stretto.llm.language_model import Call

MOST_ASKED = 2
"""So often one question is put before it is given up."""


@dataclass(frozen=True)
class Wanted:
    """The model wrote these calls, all of which need a yes, in the caller's turn `turn`."""

    calls: tuple[Call, ...]
    turn: int


@dataclass(frozen=True)
class Asked:
    """The question is over; `heard`: the caller heard every word of it."""

    heard: bool


@dataclass(frozen=True)
class Answered:
    """What the caller's next words mean."""

    answer: Answer


@dataclass(frozen=True)
class Silent:
    """The caller said nothing for long."""


@dataclass(frozen=True)
class Withdrawn:
    """The question was not put after all, or something else was said since: no yes answers it now."""


ConfirmationEvent = Wanted | Asked | Answered | Silent | Withdrawn


@dataclass(frozen=True)
class Ask:
    """Put the question. `again`: the same was done before, in an earlier turn of this call."""

    calls: tuple[Call, ...]
    again: bool = False


@dataclass(frozen=True)
class Run:
    """The caller said yes."""

    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Decline:
    """They are not run. `answered`: the caller said no; else there was no clear answer."""

    calls: tuple[Call, ...]
    answered: bool


@dataclass(frozen=True)
class PassOn:
    """The caller wants something else: the words are for the model, which may call again."""

    calls: tuple[Call, ...]


ConfirmationAction = Ask | Run | Decline | PassOn


@dataclass
class _Question:
    calls: tuple[Call, ...]
    again: bool
    asked: int = 0
    heard: bool = False


class Confirmation:
    """One per call."""

    def __init__(self) -> None:
        self._open: _Question | None = None
        self._done: dict[str, tuple[int, Call]] = {}

    @property
    def pending(self) -> bool:
        """A question waits for its answer."""
        return self._open is not None

    @property
    def calls(self) -> tuple[Call, ...]:
        """What the open question asks for."""
        return self._open.calls if self._open is not None else ()

    @property
    def again(self) -> bool:
        """The open question is whether to do something once more."""
        return self._open is not None and self._open.again

    def repeats(self, call: Call, turn: int) -> Call | None:
        """The call that was confirmed and run already in this turn: another one like it is not asked for."""
        done = self._done.get(same(call))
        return done[1] if done is not None and done[0] == turn else None

    def feed(self, event: ConfirmationEvent, turn: int = 0) -> list[ConfirmationAction]:
        """Take an event; `turn` is the caller's turn with the answer."""
        match event:
            case Wanted(calls=calls, turn=wanted):
                # The same twice in one breath is one.
                new = tuple({same(c): c for c in calls if self.repeats(c, wanted) is None}.values())
                if not new:
                    return []
                self._open = _Question(new, any(same(call) in self._done for call in new))
                return [self._ask(self._open)]
            case Asked(heard=heard):
                if self._open is not None:
                    self._open.heard = heard
            case Answered(answer=answer):
                return self._answered(answer, turn)
            case Silent():
                return self._unclear()
            case Withdrawn():
                self._open = None
        return []

    def _answered(self, answer: Answer, turn: int) -> list[ConfirmationAction]:
        question = self._open
        if question is None:
            return []
        if answer is Answer.UNSURE or (answer is Answer.YES and not question.heard):
            return self._unclear()
        self._open = None
        if answer is Answer.YES:
            self._done |= {same(call): (turn, call) for call in question.calls}
            return [Run(question.calls)]
        return [Decline(question.calls, True)] if answer is Answer.NO else [PassOn(question.calls)]

    def _unclear(self) -> list[ConfirmationAction]:
        question = self._open
        if question is None:
            return []
        if question.asked < MOST_ASKED:
            return [self._ask(question)]
        self._open = None
        return [Decline(question.calls, False)]

    def _ask(self, question: _Question) -> Ask:
        question.asked += 1
        question.heard = False
        return Ask(question.calls, question.again)


def same(call: Call) -> str:
    """What two calls have in common that do the same: name and arguments."""
    return f"{call.name} {json.dumps(call.arguments, sort_keys=True, ensure_ascii=False, default=repr)}"
