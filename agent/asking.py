"""Ask the caller before a tool runs that needs a yes, and take the answer (`confirmation.py` decides)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from stretto.agent import confirmation, events
from stretto.agent.agreement import agreed
from stretto.agent.assent import Answer, understand
from stretto.agent.call import Call
from stretto.agent.question import asks_itself, question
from stretto.agent.speaking import Utterance
from stretto.agent.timeline import ToolRecord, TurnRecord
from stretto.llm.language_model import Call as ToolCall
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import dump

DECLINED = {"declined": "The caller said no. It was not done."}
UNCLEAR = {"declined": "The caller gave no clear answer. It was not done."}

Say = Callable[[str], Awaitable[Utterance | None]]
"""Says a canned sentence to its end, or to where the caller cut in; None where it was not begun."""


@dataclass(frozen=True)
class Next:
    """How a reply goes on after the caller's answer: with calls to run, with the model's words, or not."""

    run: tuple[ToolCall, ...] = ()
    speaks: bool = False


def sort(
    calls: Sequence[ToolCall], asked: confirmation.Confirmation, runner: ToolRunner, turn: int
) -> tuple[list[ToolCall], list[ToolCall]]:
    """Calls that run at once, and those to ask for; one that was just run has its result already."""
    run, ask = [], []
    for each in calls:
        first = asked.repeats(each, turn)
        if not runner.needs_yes(each.name):
            run.append(each)
        elif first is not None:
            runner.repeat(each, first)
            run.append(each)
        else:
            ask.append(each)
    return run, ask


class Asking:
    """The questions of one reply; what is open is the whole call's (`Call.confirmation`)."""

    def __init__(self, call: Call, runner: ToolRunner, record: TurnRecord, say: Say) -> None:
        self._call = call
        self._runner = runner
        self._record = record
        self._say = say
        self.asked = False
        """This reply put a question."""

    def sort(self, calls: Sequence[ToolCall]) -> tuple[list[ToolCall], list[ToolCall]]:
        """See `sort`."""
        return sort(calls, self._call.confirmation, self._runner, self._record.turn)

    async def ask(self, calls: Sequence[ToolCall], said: Utterance | None) -> Next:
        """Ask for calls that the model just wrote; its own words `said` count if they ask for all of it.

        Where it had asked before, and the caller's words were a plain yes to that (`agreement.py`), nobody is
        asked once more.
        """
        call = self._call
        before = agreed(call.history.messages, calls, self._runner) if said is None else ""
        actions = call.confirmation.feed(confirmation.Wanted(tuple(calls), self._record.turn))
        again = call.confirmation.again
        if before and not again and call.confirmation.calls:
            self._emit_asked(call.confirmation.calls, before)
            call.confirmation.feed(confirmation.Asked(True))
            return await self.answered(Answer.YES)
        own = said is not None and asks_itself(said.text, calls) and not again
        for action in actions:
            if isinstance(action, confirmation.Ask):
                await self._put(action.calls, said if own else None)
        return Next()

    async def ask_on(self) -> None:
        """Put the open question once more, for a sound without words cut it short."""
        if calls := self._call.confirmation.calls:
            await self._put(calls, None)

    def understood(self, words: str) -> Answer | None:
        """What words say to the open question; None where none is open. Nothing is decided yet."""
        if not self._call.confirmation.pending:
            return None
        return understand(words, self._call.question[0])

    def written(self) -> str:
        """What the caller said or typed since the open question."""
        messages, (_, asked) = self._call.history.messages, self._call.question
        place = next((n for n, each in enumerate(messages) if each is asked), len(messages))
        return " ".join(str(m["content"]) for m in messages[place:] if m["role"] == "user")

    async def answered(self, answer: Answer) -> Next:
        """The caller's turn with this answer is over: what follows from it."""
        calls = self._call.confirmation.calls
        actions = self._call.confirmation.feed(confirmation.Answered(answer), self._record.turn)
        self._emit_answer(calls, answer.value)
        return await self._act(actions)

    async def silent(self) -> None:
        """The caller said nothing for long."""
        calls = self._call.confirmation.calls
        self._emit_answer(calls, "silence")
        await self._act(self._call.confirmation.feed(confirmation.Silent()))

    def withdraw(self) -> None:
        """Something else is said: a later yes does not answer the question any more."""
        self._call.confirmation.feed(confirmation.Withdrawn())

    async def _act(self, actions: Sequence[confirmation.ConfirmationAction]) -> Next:
        for action in actions:
            match action:
                case confirmation.Ask(calls=calls):
                    await self._put(calls, None)
                case confirmation.Run(calls=calls):
                    for each in calls:
                        self._runner.allow(each)
                    return Next(run=calls)
                case confirmation.Decline(calls=calls, answered=True):
                    self._note_declined(calls, DECLINED)
                    return Next(speaks=True)
                case confirmation.Decline(calls=calls):
                    self._note_declined(calls, UNCLEAR)
                    await self._say(self._call.options.canned.not_confirmed)
                case confirmation.PassOn():
                    return Next(speaks=True)
        return Next()

    async def _put(self, calls: Sequence[ToolCall], own: Utterance | None) -> None:
        """Ask, unless the model's `own` words did."""
        self.asked = True
        call, canned = self._call, self._call.options.canned
        text = own.text if own else question(calls, self._runner, canned, call.confirmation.again)
        self._emit_asked(calls, text)
        said = own or await self._say(text)
        if said is None:
            self.withdraw()
            return
        call.question = text, said.message
        heard = said.complete or said.heard.split() == said.text.split()
        call.confirmation.feed(confirmation.Asked(heard))

    def _note_declined(self, calls: Sequence[ToolCall], why: dict[str, str]) -> None:
        call, turn = self._call, self._record
        for each in calls:
            at = call.ms()
            turn.tools.append(ToolRecord(each.name, each.arguments, at, at, None, next(iter(why.values()))))
            call.history.call(turn.turn, each.id, each.name, each.arguments, at)
            call.history.result(turn.turn, each.id, each.name, dump(why), at)
        call.edited = True

    def _emit_asked(self, calls: Sequence[ToolCall], text: str) -> None:
        names, turn = tuple(each.id for each in calls), self._record.turn
        self._call.emit(events.ConfirmationAsked(at_ms=self._call.ms(), turn=turn, call_ids=names, text=text))

    def _emit_answer(self, calls: Sequence[ToolCall], answer: str) -> None:
        names, turn = tuple(each.id for each in calls), self._record.turn
        self._call.emit(
            events.ConfirmationAnswered(at_ms=self._call.ms(), turn=turn, call_ids=names, answer=answer)
        )
