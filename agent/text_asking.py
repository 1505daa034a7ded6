"""Questions before a tool runs, in a dialogue of text (`asking.py` is the same for a spoken call)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stretto.agent import confirmation
from stretto.agent.agreement import agreed
from stretto.agent.asking import DECLINED, UNCLEAR
from stretto.agent.assent import Answer, understand
from stretto.agent.canned import Canned
from stretto.agent.confirmation import Confirmation
from stretto.agent.history import History, told
from stretto.agent.question import question
from stretto.llm.language_model import Call, Conversation, Draft
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import dump


@dataclass
class TextDialogue:
    """What a dialogue remembers from turn to turn: the open question, and all that was said and done."""

    confirmation: Confirmation = field(default_factory=Confirmation)
    history: History = field(default_factory=History)
    turn: int = 0
    asked: str = ""

    def caller(self, words: str) -> None:
        """A new turn of the caller's."""
        self.turn += 1
        self.history.caller(self.turn, words, self._at())

    def agent(self, text: str) -> None:
        """Words of the agent's."""
        if text:
            self.history.agent(self.turn, text, text, self._at())

    def call(self, call: Call, result: str) -> None:
        """A call, and what the model is to read of it (JSON text)."""
        self.history.call(self.turn, call.id, call.name, call.arguments, self._at())
        self.history.result(self.turn, call.id, call.name, result, self._at())

    async def retell(self, conversation: Conversation) -> None:
        """Have the model know the dialogue as it was, not as it wrote it."""
        await conversation.restore(told(self.history.messages))

    def answered(
        self, words: str, runner: ToolRunner, canned: Canned
    ) -> tuple[tuple[Call, ...], str, bool] | None:
        """What the caller's words do to the open question; None where none is open.

        The calls to run now, what to say, and whether the model goes on behind that.
        """
        if not self.confirmation.pending:
            return None
        run: tuple[Call, ...] = ()
        say, goes_on = "", True
        answer = understand(words, self.asked)
        for action in self.confirmation.feed(confirmation.Answered(answer), self.turn):
            match action:
                case confirmation.Ask(calls=calls, again=again):
                    say, goes_on = self.ask(calls, runner, canned, again), False
                case confirmation.Run(calls=calls):
                    run = calls
                    for each in calls:
                        runner.allow(each)
                case confirmation.Decline(calls=calls, answered=answered):
                    for each in calls:
                        self.call(each, dump(DECLINED if answered else UNCLEAR))
                    if not answered:
                        say, goes_on = canned.not_confirmed, False
                case confirmation.PassOn():
                    pass
        return run, say, goes_on

    def want(
        self, calls: Sequence[Call], runner: ToolRunner, canned: Canned
    ) -> tuple[tuple[Call, ...], str]:
        """Of calls that the model just wrote those that the caller has said yes to; the question, or ""."""
        before = agreed(self.history.messages, calls, runner)
        run: tuple[Call, ...] = ()
        for action in self.confirmation.feed(confirmation.Wanted(tuple(calls), self.turn)):
            if not isinstance(action, confirmation.Ask):
                continue
            if not before or action.again:
                return (), self.ask(action.calls, runner, canned, action.again)
            run = action.calls
            self.confirmation.feed(confirmation.Asked(True))
            self.confirmation.feed(confirmation.Answered(Answer.YES), self.turn)
            for each in run:
                runner.allow(each)
        return run, ""

    def ask(self, calls: Sequence[Call], runner: ToolRunner, canned: Canned, again: bool) -> str:
        """The question; what is written is read to its end."""
        self.asked = question(calls, runner, canned, again)
        self.confirmation.feed(confirmation.Asked(True))
        return self.asked

    async def keep_words(self, conversation: Conversation) -> None:
        """The caller's words stay in the conversation without a draft behind them."""
        await conversation.commit(Draft("", revision=-self.turn))

    def _at(self) -> float:
        return float(len(self.history.messages))
