"""The agent's side of one turn: draft, speech held until the commit, tools after it, what was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from stretto.agent import events
from stretto.agent.asking import Asking, Next
from stretto.agent.assent import Answer
from stretto.agent.builtin import split
from stretto.agent.call import Call
from stretto.agent.drafting import write
from stretto.agent.saying import LONGEST_WAIT_S, Saying
from stretto.agent.speaking import Mouth, Utterance
from stretto.agent.speculation import Key
from stretto.agent.timeline import TurnRecord
from stretto.agent.tool_rounds import ToolRounds
from stretto.llm.language_model import Call as ToolCall
from stretto.llm.language_model import Draft, Prioritised, TurnSignal
from stretto.tools.runner import ToolRunner


class Owner(Protocol):
    """Whose turn a reply answers: the session."""

    async def transcribe(self, key: Key) -> str | None:
        """The final transcript of a revision: "" for noise, None where the recogniser failed."""
        ...

    async def settle(self, text: str) -> None: ...
    def heard(self, key: Key, text: str | None, p_end: float | None) -> None: ...
    def sealed(self, reply: Reply) -> None: ...


class Reply:
    """The answer to one revision of one turn; run as a task of its own.

    Cancelling it before the commit leaves no trace. After the commit `interrupt` ends it early: what was
    heard goes into the history, and tools that run are finished, for what they changed is changed.
    """

    def __init__(
        self,
        call: Call,
        mouth: Mouth,
        runner: ToolRunner,
        record: TurnRecord,
        *,
        owner: Owner,
        after: Reply | None = None,
    ) -> None:
        self.key: Key = (record.turn, record.revision)
        self.record = record
        call.replies += 1
        self.number = call.replies
        self.quiet = False
        """Listens, and says nothing."""
        self.done = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._call = call
        self._mouth = mouth
        self._runner = runner
        self.after = after
        self._owner = owner
        self._saying = Saying(call, mouth, record, self.number)
        self.asking = Asking(call, runner, record, self._saying.canned)
        self._tools = ToolRounds(call, runner, record, self.number, self._saying.cover)
        self._committed = asyncio.Event()
        self.sealed = False
        """Tools ran: the turn cannot be reopened."""
        self.unanswered = False
        """Tools ran and the caller took the floor before their results were spoken about."""
        self.last: tuple[Utterance, Draft] | None = None
        """What was said last, and the draft that it is from."""
        self._work: asyncio.Task[Any] | None = None

    @property
    def over(self) -> bool:
        return self.done.is_set()

    @property
    def committed(self) -> bool:
        return self._committed.is_set()

    def commit(self) -> None:
        """The caller's turn is over: what is held may be heard, tools may run."""
        if not self.committed:
            self._committed.set()
            if isinstance(self._call.conversation, Prioritised):
                self._call.conversation.prioritise(due=True)
            if self.quiet:
                return
            at_ms = self._call.ms()
            self._call.emit(events.Answering(at_ms=at_ms, turn=self.record.turn, reply=self.number))

    def drop(self) -> None:
        """Withdraw the reply; only before a tool ran."""
        if self.asking.asked and not self.over:
            self.asking.withdraw()
        if self.task is not None:
            self.task.cancel()

    def interrupt(self) -> None:
        """The caller took the floor: say no more (tools that run are finished)."""
        self._saying.interrupted = True
        if self._work is not None:
            self._work.cancel()

    # ------------------------------------------------------------------ what a reply can be

    async def answer(self) -> None:
        """Answer the caller. A part that fails is reported and apologised for; nothing is raised."""
        try:
            text = await self._owner.transcribe(self.key)
            if text is None:
                await self._until(self._committed)
                await self._saying.canned(self._call.options.canned.not_heard)
            elif text:
                await self._reply_to(text)
        except Exception as error:
            self._call.fail("session", error, self.record)
        finally:
            self._close()

    async def listen(self) -> None:
        """Take the caller's words and say nothing: whoever leads the call asks for the reply."""
        try:
            with self._call.reporting("session", self.record):
                if text := await self._owner.transcribe(self.key):
                    await self._previous()
                    async with self._call.thinking():
                        signal = await self._hear(text)
                    self._owner.heard(self.key, text, signal.p_end)
                    await self._until(self._committed)
                    await self._keep_words()
        finally:
            self._close()

    async def go_on(self) -> None:
        """Say what is next without a new turn of the caller; what was typed may answer a question."""
        try:
            with self._call.reporting("session", self.record):
                await self._previous()
                words = self.asking.written()
                answer = self.asking.understood(words) if words else None
                after = Next(speaks=True) if answer is None else await self.asking.answered(answer)
                if answer is None:
                    self.asking.withdraw()
                await self._go_on(after)
        finally:
            self._close()

    async def press(self) -> None:
        """The caller does not answer the open question: put it again, or give it up."""
        try:
            with self._call.reporting("session", self.record):
                await self._previous()
                await self.asking.silent()
        finally:
            self._close()

    async def say(self, text: str, ends: str | None = None) -> None:
        """Say a canned sentence; unless the caller spoke into it, end the call for the reason `ends`."""
        try:
            with self._call.reporting("session", self.record):
                await self._previous()
                self.asking.withdraw()
                await self._saying.canned(text)
            if ends is not None and not self.record.interrupted:
                self._call.end(ends)
        finally:
            self._close()

    async def resume(self, cut: Reply) -> None:
        """Go on where `cut` was interrupted by a sound that was no speech."""
        try:
            with self._call.reporting("session", self.record):
                await self._previous()
                if cut.unanswered:
                    await self._go_on(Next(speaks=True))
                elif cut.asking.asked:
                    await self.asking.ask_on()
                elif cut.last is not None:
                    await self._finish(*cut.last)
        finally:
            self._close()

    async def _finish(self, cut: Utterance, draft: Draft) -> None:
        rest = cut.text.split()[len(cut.heard.split()) :]
        if not rest or self._saying.interrupted:
            return
        said = self._saying.utterance(" ".join(rest))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mouth.speak(said))
            self._mouth.release(said)
        self.record.interrupted = False
        self._saying.note(said)
        whole = replace(said, text=cut.text, heard=f"{cut.heard} {said.heard}".strip())
        self.last = (whole, draft)
        await self._commit(draft, None if said.complete else whole.heard)
        _, ends = split(draft.calls)
        if ends is not None and said.complete:
            self._call.end(ends)

    def _close(self) -> None:
        self.done.set()
        current = asyncio.current_task()
        if self.committed and not self.quiet and not self._call.over.is_set():
            cut = (
                self._saying.interrupted or self.record.interrupted or bool(current and current.cancelling())
            )
            at_ms, turn = self._call.ms(), self.record.turn
            self._call.emit(events.Answered(at_ms=at_ms, turn=turn, reply=self.number, interrupted=cut))
        if current is None or not current.cancelling():
            self._owner.sealed(self)

    async def _previous(self) -> None:
        if self.after is not None:
            await self._until(self.after.done)
            self.after = None

    async def _until(self, event: asyncio.Event) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            await event.wait()

    # ------------------------------------------------------------------ the model's reply

    async def _reply_to(self, text: str) -> None:
        await self._previous()
        if not self._call.speculation.enabled:
            await self._until(self._committed)
        draft: Draft | None = None
        answer = self.asking.understood(text)
        with self._call.reporting("model", self.record):
            await self._owner.settle(text)
            async with self._call.thinking():
                signal = await self._hear(text)
            self._owner.heard(self.key, text, signal.p_end)
            if answer in (None, Answer.OTHER):
                draft = self._adopt(text) or await self._draft(self._call.speculation.earlier(self.key))
        if answer is not None:
            await self._until(self._committed)
            after = await self.asking.answered(answer)
            if after.run:
                self._seal()  # a caller who goes on now cannot take the yes back
            if answer is not Answer.OTHER:
                await self._keep_words()
                await self._go_on(after)
                return
        await self._converse(draft)

    async def _keep_words(self) -> None:
        """The caller's words stay in the conversation, without a reply to them."""
        with self._call.reporting("model", self.record):
            async with self._call.thinking():
                await self._call.conversation.commit(Draft("", revision=-self.number))

    async def _go_on(self, after: Next) -> None:
        """Run what was confirmed, and have the model say what is next, if it is its turn."""
        if after.run:
            self._seal()
            self._call.edited = True  # the call stands behind the yes, not where the model wrote it
            async with asyncio.TaskGroup() as fillers:
                await self._tools.make(after.run, fillers, words=False, confirmed=True)
                self.unanswered = True
                handed = any(self._runner.hands_over(each.name) for each in after.run)
                if handed or self._saying.interrupted:
                    return
                await self._rounds(await self._reported_draft(), fillers, 1)
        elif after.speaks:
            await self._converse(await self._reported_draft())

    async def _reported_draft(self) -> Draft | None:
        """A draft of what is next; None where the model failed, which is told."""
        draft: Draft | None = None
        with self._call.reporting("model", self.record):
            draft = await self._next_draft()
        return draft

    def _seal(self) -> None:
        self.sealed = True
        self._owner.sealed(self)

    async def _hear(self, text: str) -> TurnSignal:
        await self._call.catch_up(self.key[0])
        return await self._call.conversation.hear(text)

    async def _converse(self, draft: Draft | None) -> None:
        """Perform a draft, and those that follow its tools' results; None: the model failed."""
        # "One moment" may still be on the line while the reply after it is written.
        async with asyncio.TaskGroup() as fillers:
            await self._rounds(draft, fillers)

    async def _rounds(self, draft: Draft | None, fillers: asyncio.TaskGroup, rounds: int = 0) -> None:
        while True:
            calls, ends = split(draft.calls) if draft is not None else ([], None)
            if self._saying.interrupted:
                self.unanswered = rounds > 0
                return
            if draft is None or not (draft.text.strip() or draft.calls):
                if draft is not None:
                    self._call.fail("model", "the reply is empty", self.record)
                break
            if calls and rounds == self._call.options.max_tool_rounds:
                self._call.fail("model", f"more than {rounds} rounds of tool calls", self.record)
                break
            rounds += bool(calls)
            calls, ask = self.asking.sort(calls)
            utterance = await self._perform(draft, calls, fillers, bool(ask))
            if ask and not self._saying.interrupted and not self._stopped(utterance):
                await self._go_on(await self.asking.ask(ask, utterance))
                return
            if any(self._runner.hands_over(call.name) for call in calls):
                return
            if utterance is not None and utterance.error is not None and not utterance.heard:
                break
            if ends is not None and not calls and not self._stopped(utterance):
                if ends == "transfer" and utterance is None:
                    await self._saying.canned(self._call.options.canned.transferring)
                self._call.end(ends)
                return
            if not calls or self._saying.interrupted or self._stopped(utterance):
                self.unanswered = bool(calls)
                return
            draft = await self._reported_draft()
        await self._until(self._committed)
        await self._saying.canned(self._call.options.canned.apology)

    def _stopped(self, utterance: Utterance | None) -> bool:
        return utterance is not None and utterance.stopped

    def _adopt(self, text: str) -> Draft | None:
        """A draft of an earlier revision that answers the same words."""
        draft = self._call.speculation.transcribed(self.key, text)
        if draft is not None:
            self.record.draft_ms = self._call.ms()
            self.record.forwards = draft.forwards
        return draft

    async def _next_draft(self) -> Draft | None:
        """A draft of what comes after all that is in the history."""
        async with self._call.thinking():
            await self._call.catch_up()
        return await self._draft()

    async def _draft(self, revise: Draft | None = None) -> Draft | None:
        """Have the model write; None when the caller took the floor. Raises what the model raises."""
        async with asyncio.TaskGroup() as group:
            self._work = group.create_task(write(self._call, self.record, self.key, self._committed, revise))
            if self._saying.interrupted:
                self._work.cancel()
        work, self._work = self._work, None
        return None if work.cancelled() else work.result()

    # ------------------------------------------------------------------ performing it

    async def _perform(
        self, draft: Draft, calls: Sequence[ToolCall], fillers: asyncio.TaskGroup, asks: bool = False
    ) -> Utterance | None:
        """Prepare the words; after the commit speak them and run the calls at once. Returns what was said.

        `asks`: the draft has other calls, too, of which the model shall not know before they are confirmed.
        """
        said: Utterance | None = None
        async with asyncio.TaskGroup() as group:
            if draft.text.strip():
                said = self._saying.utterance(draft.text.strip(), last=not calls and not asks)
                group.create_task(self._mouth.speak(said))
            await self._until(self._committed)
            if said is not None:
                await self._saying.filled()
                if self._saying.interrupted:
                    self._mouth.abandon(said)
                else:
                    self._saying.release(said)
            if self._saying.interrupted and self.sealed:
                # Between two rounds of tools: nothing of this one is begun once the caller has the floor.
                return said
            if calls:
                self._seal()
                await self._commit(draft, None)
                self._call.edited |= asks
                await self._tools.make(calls, fillers, words=said is not None)
        heard = None
        if said is not None:
            self._saying.note(said)
            heard = None if said.complete else said.heard
            self.last = (said, draft)
        if not calls or heard is not None:
            await self._commit(draft, heard)
        self._call.edited |= asks
        return said

    async def _commit(self, draft: Draft, heard: str | None) -> None:
        with self._call.reporting("model", self.record):
            async with self._call.thinking():
                await self._call.conversation.commit(draft, heard)
