"""What a reply says, from the first word on the line to what the history keeps of it."""

from __future__ import annotations

import asyncio

from stretto.agent import events
from stretto.agent.call import Call
from stretto.agent.speaking import Mouth, Utterance
from stretto.agent.timeline import TurnRecord

LONGEST_WAIT_S = 60.0
"""No reply waits longer for the end of the caller's turn, for the reply before it, or for a filler."""


class Saying:
    """The words of one reply."""

    def __init__(self, call: Call, mouth: Mouth, record: TurnRecord, number: int) -> None:
        self.interrupted = False
        """The caller took the floor: nothing more is begun."""
        self._call = call
        self._mouth = mouth
        self._record = record
        self._number = number
        self._filler: Utterance | None = None

    def utterance(self, text: str, canned: bool = False, last: bool = True) -> Utterance:
        """Words of this reply; `last`: as far as is known nothing follows."""
        return Utterance(text, self._record, canned, self._number, last)

    def release(self, utterance: Utterance) -> None:
        """Put words on the line."""
        self._record.agent = f"{self._record.agent} {utterance.text}".strip()
        self._mouth.release(utterance)

    def note(self, said: Utterance) -> None:
        """Put what was heard into record and history, and a failing voice into the failures."""
        call, turn = self._call, self._record
        if turn.audio_ready_ms is None and said.ready_at is not None:
            turn.audio_ready_ms = call.ms(said.ready_at)
        if said.error is not None:
            call.fail("synthesiser", said.error, turn)
        if said.heard_until is not None:
            turn.heard = f"{turn.heard} {said.heard}".strip()
            turn.interrupted = turn.interrupted or said.stopped
            turn.heard_until_ms = call.ms(said.heard_until)
            if said.heard:
                said.message = call.history.agent(
                    turn.turn, said.text, said.heard, call.ms(said.released_at), said.canned
                )
            self._emit_heard(said)

    def _emit_heard(self, said: Utterance) -> None:
        at, turn = self._call.ms(), self._record.turn
        self._call.emit(events.AgentHeard(at_ms=at, turn=turn, text=said.heard, complete=said.complete))

    async def filled(self) -> None:
        """Wait until a filler has been said to its end."""
        if self._filler is not None:
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._filler.over.wait()

    async def canned(self, text: str) -> Utterance | None:
        """Say a sentence that the model did not write; None where it was not begun."""
        await self.filled()
        if not text or self.interrupted:
            return None
        said = self.utterance(text, canned=True)
        # A turn that the model spoke in as well is still its own.
        self._record.canned = not self._record.agent
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mouth.speak(said))
            self.release(said)
        self.note(said)
        if said.heard:
            with self._call.reporting("model", self._record):
                async with self._call.thinking():
                    await self._call.conversation.say(said.heard)
        return said

    async def cover(self, finished: asyncio.Event) -> None:
        """Say "one moment" if what goes on takes long to be `finished`."""
        options = self._call.options
        try:
            async with asyncio.timeout(options.one_moment_ms / 1000):
                await finished.wait()
        except TimeoutError:
            if options.canned.one_moment and not self.interrupted:
                said = self._filler = self.utterance(options.canned.one_moment, canned=True, last=False)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._mouth.speak(said))
                    self._mouth.release(said)
                if said.error is None:
                    self._record.fillers.append(said.heard)
                    self._emit_heard(said)
