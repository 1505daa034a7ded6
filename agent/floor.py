"""Whose floor it is: tells the pure machines what caller, voice and replies do, and does what they say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence

from stretto.agent import events, turn
from stretto.agent.call import Call
from stretto.agent.early import EarlyDraft
from stretto.agent.endings import asks_for_digits
from stretto.agent.hearing import FRAME_S, Hearing
from stretto.agent.interruption import AgentAudible, AgentSilent, Interrupting, Interruption
from stretto.agent.keypad import Keypad
from stretto.agent.replying import Reply
from stretto.agent.speaking import Mouth, Outlet, Sink, Utterance, Voice
from stretto.agent.speculation import Key
from stretto.agent.timeline import TurnRecord
from stretto.agent.turn import TurnMachine, TurnState
from stretto.audio.pcm import Frame
from stretto.audio.vad import SpeechEnded, SpeechStarted
from stretto.tools.runner import ToolRunner

GRACE_S = 6.0
"""At the end of a call a tool that runs may take so long to finish."""


class Floor:
    """One per call. Synchronous but for replies: between an event and what follows nothing else runs."""

    def __init__(
        self,
        call: Call,
        hearing: Hearing,
        voice: Voice,
        sink: Sink,
        runner: ToolRunner,
        outlet: Outlet | None = None,
    ) -> None:
        options = call.options
        self.mouth = Mouth(voice, sink, call.clock, self, options.rate, options.synthesiser_timeout_s, outlet)
        self.runner = runner
        self.tasks: asyncio.TaskGroup | None = None
        """Owns the replies while the call runs."""
        self.now = 0.0
        """Time of the caller's audio processed so far, seconds on the clock."""
        self._call = call
        self._hearing = hearing
        self._turns = TurnMachine(options.turn_options())
        self._interruption = Interruption()
        self._early = EarlyDraft(call)
        self._turn = TurnRecord(0)
        self._speech_end = 0.0
        self._reply: Reply | None = None
        self._cut: Reply | None = None
        self._question = ""
        self._closing = False
        self._keypad = Keypad(options.keys_pause_s)

    @property
    def turn_number(self) -> int:
        """Number of the caller's current turn."""
        return self._turns.turn

    @property
    def caller_speaking(self) -> bool:
        return self._turns.state is TurnState.CALLER_SPEAKING

    @property
    def replying(self) -> bool:
        """A reply is prepared or spoken, or its tools run."""
        return self._newest() is not None

    @property
    def busy(self) -> bool:
        """The caller speaks or may go on, or a reply is on its way."""
        return self._turns.state is not TurnState.LISTENING or self.replying

    def caller(self, event: SpeechStarted | SpeechEnded) -> None:
        """The caller started or stopped to speak."""
        self._feed(event)
        self._interrupting(event)

    def time_passed(self) -> None:
        """Nothing happened, but `now` went on."""
        self._feed(None)
        self._interrupting(None)
        self._entered(self._keypad.time_passed(self._call.clock()))

    def press(self, key: str) -> None:
        """The caller pressed a key of the telephone: like speech it stops the agent, and may be answered."""
        call = self._call
        call.emit(events.KeyPressed(at_ms=call.ms(), key=key))
        if call.options.answer_keys and call.options.interruptible and not self._closing:
            self.cancel()
        self._entered(self._keypad.press(key, call.clock()))

    def _entered(self, keys: str | None) -> None:
        call = self._call
        if keys is None or self._closing:
            return
        call.emit(events.KeysEntered(at_ms=call.ms(), turn=self._turns.turn, keys=keys))
        if call.options.answer_keys:
            call.edited = True
            call.history.written("user", keys, call.ms())
            self.respond()

    def say(self, text: str, ends: str | None = None) -> None:
        """Say a canned sentence outside of any turn; then end the call for the reason `ends`, if given."""
        if text:
            record = TurnRecord(self._turns.turn, canned=True)
            self._call.record.turns.append(record)
            reply = self._reply_to(record)
            reply.commit()
            self._start(reply, reply.say(text, ends))
        elif ends is not None:
            self._call.end(ends)

    def respond(self) -> None:
        """Let the agent say what is next, without a new turn of the caller."""
        record = TurnRecord(self._turns.turn, committed_ms=self._call.ms())
        self._call.record.turns.append(record)
        reply = self._reply_to(record)
        reply.commit()
        self._start(reply, reply.go_on())

    def ask_again(self) -> bool:
        """The caller is silent: put the open question again, or give it up. False where none is open."""
        if not self._call.confirmation.pending:
            return False
        record = TurnRecord(self._turns.turn, canned=True)
        self._call.record.turns.append(record)
        reply = self._reply_to(record)
        reply.commit()
        self._start(reply, reply.press())
        return True

    def cancel(self) -> None:
        """Whatever the agent is about to say or says is cut short; what was heard of it stays."""
        self.mouth.stop()
        reply = self._newest()
        while reply is not None and not reply.over:
            if reply.committed:
                reply.interrupt()
            reply = reply.after

    async def draft_early(self, text: str) -> None:
        """Draft the reply to what was heard so far, while the caller speaks; see `EarlyDraft`."""
        call = self._call
        wanted = text and call.speculation.enabled and call.options.respond and not call.confirmation.pending
        if wanted and self.tasks is not None and self.caller_speaking and not self.replying:
            await self._early.begin(self.tasks, self._turn, text)

    def lead(self, options: turn.TurnOptions) -> None:
        """Take turns in another way from now on."""
        self._turns.options = options

    @property
    def undecided(self) -> bool:
        """The caller fell silent, and whether the turn is over is not known yet."""
        return self._turns.state is TurnState.MAYBE_END

    def spoken(self, frames: Sequence[Frame]) -> None:
        """A whole turn of the caller at once, from a line on which nobody listens for its end."""
        self._feed(turn.Sealed())
        self._feed(SpeechStarted(frames[0].at))
        self._hearing.pause(True)  # no partials: all of it is there
        for frame in frames:
            self._hearing.feed(frame)
        self.now = max(self.now, frames[-1].at + FRAME_S)
        self._feed(SpeechEnded(frames[-1].at + FRAME_S))
        self._feed(turn.Over())

    def discard(self) -> None:
        """Forget what the caller says in the open turn."""
        self._hearing.lost()
        self._feed(turn.Cleared())

    def over(self) -> None:
        """Whoever leads the call says that the caller's turn is over."""
        if self._turns.state is TurnState.CALLER_SPEAKING:
            self._feed(SpeechEnded(self.now))
        self._feed(turn.Over())

    def close(self, text: str, ends: str) -> None:
        """The last words: whatever goes on is cut short, and nobody interrupts them."""
        self._cut_short()
        self._closing = True
        self.say(text, ends)

    async def finish(self) -> None:
        """The call is over: silence, and the end of tools that run (at most a few seconds)."""
        self._closing = True
        self._cut_short()
        self.mouth.stop()
        reply = self._newest()
        if reply is not None and reply.committed:
            reply.interrupt()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await reply.done.wait()
        while reply is not None:
            reply.drop()
            reply = reply.after
        self._hearing.close(self._speech_end)

    # ------------------------------------------------------------------ what the machines decide

    def _interrupting(self, event: Interrupting | None) -> None:
        for _stop in self._interruption.feed(event, self.now):
            if self._closing or not self._call.options.interruptible:
                continue
            if self.mouth.stop() is not None:
                self._call.emit(events.BargeIn(at_ms=self._call.ms(), turn=self._turns.turn))

    def _feed(self, event: turn.TurnEvent | None) -> None:
        for action in self._turns.feed(event, self.now):
            if not self._closing:
                self._act(action)

    def _act(self, action: turn.TurnAction) -> None:
        call, key = self._call, (action.turn, getattr(action, "revision", 0))
        at_ms = call.ms()
        match action:
            case turn.Open(began=began):
                # A reply that was over before is not resumed after a cough.
                self._cut = self._newest() if call.options.interruptible else None
                if self._cut is not None:
                    self._cut.interrupt()
                self._turn = TurnRecord(action.turn, speech_start_ms=call.ms(began))
                with call.reporting("recogniser"):
                    self._hearing.close(self._speech_end)
                    self._hearing.open(began)
                call.emit(events.CallerSpeaking(at_ms=at_ms, turn=action.turn, began_ms=call.ms(began)))
            case turn.Speculate(revision=revision, speech_end=end):
                self._turn.begin_revision(revision, call.ms(end), at_ms)
                call.speculation.begin(key)
                self._hearing.pause(True)
                call.emit(
                    events.SoftEnd(at_ms=at_ms, turn=key[0], revision=revision, speech_end_ms=call.ms(end))
                )
                self._speech_end = end
                reply = self._reply_to(self._turn)
                reply.quiet = not call.options.respond
                self._start(reply, reply.listen() if reply.quiet else reply.answer())
            case turn.Drop() | turn.Reopen():
                self._withdraw(key)
                call.speculation.drop(key)
                self._hearing.pause(False)
                if reopened := isinstance(action, turn.Reopen):
                    self._turn.reopen()
                    if self._turn in self._call.record.turns:
                        self._call.record.turns.remove(self._turn)
                call.emit(events.DraftDropped(at_ms=at_ms, turn=key[0], revision=key[1], reopened=reopened))
            case turn.Commit():
                self._commit(key)
            case turn.Discard():
                self._withdraw(key)
                self._hearing.close(self._speech_end)
                call.emit(events.TurnIgnored(at_ms=at_ms, turn=action.turn))
                self._resume()

    def _commit(self, key: Key) -> None:
        call, record = self._call, self._turn
        record.committed_ms = call.ms()
        record.speculation = call.speculation.commit(key).value
        self._cut = None
        self._call.record.turns.append(record)
        if record.caller:
            call.history.caller(record.turn, record.caller, record.speech_end_ms or record.committed_ms)
        call.emit(
            events.Committed(
                at_ms=call.ms(),
                turn=key[0],
                revision=key[1],
                text=record.caller,
                speculation=record.speculation,
            )
        )
        if (reply := self._of(key)) is not None:
            reply.commit()

    # ------------------------------------------------------------------ replies

    def _newest(self) -> Reply | None:
        """The newest reply that is not over; one that ended early may stand before one under way."""
        while self._reply is not None and self._reply.over:
            self._reply = self._reply.after
        return self._reply

    def _reply_to(self, record: TurnRecord) -> Reply:
        return Reply(self._call, self.mouth, self.runner, record, owner=self, after=self._newest())

    def _start(self, reply: Reply, work: Coroutine[None, None, None]) -> None:
        if self.tasks is None:
            work.close()
            raise RuntimeError("the call does not run")
        self._reply = reply
        reply.task = self.tasks.create_task(work)
        # Also for a task that is cancelled before it began.
        reply.task.add_done_callback(lambda _: reply.done.set())

    def _resume(self) -> None:
        """A sound without words cut the agent short: go on."""
        cut = self._cut
        self._cut = None
        if cut is not None:
            reply = self._reply_to(cut.record)
            reply.commit()
            self._start(reply, reply.resume(cut))

    def _cut_short(self) -> None:
        """Say no more; what was heard of a reply that was being said stays."""
        reply = self._newest()
        if reply is not None and reply.committed:
            self.mouth.stop()
            reply.interrupt()
        else:
            self._withdraw()

    def _of(self, key: Key) -> Reply | None:
        """The reply to a revision; one that was asked for since then may stand behind it."""
        reply = self._newest()
        while reply is not None and reply.key != key:
            reply = reply.after
        return reply

    def _withdraw(self, key: Key | None = None) -> None:
        """Drop the reply to a revision, or the newest (one whose tools ran is cut short)."""
        reply = self._newest() if key is None else self._of(key)
        if reply is None:
            return
        if self.mouth.current is not None and self.mouth.current.record is reply.record:
            self.mouth.stop()
        if reply.sealed:
            reply.interrupt()
        else:
            reply.drop()
            if reply is self._reply:
                self._reply = reply.after

    # what a reply tells

    async def transcribe(self, key: Key) -> str | None:
        """The transcript of a revision, told to the turn machine; None where the recogniser failed."""
        text: str | None = None
        record = self._turn
        try:
            async with asyncio.timeout(self._call.options.recogniser_timeout_s):
                transcript = await self._hearing.final(self._speech_end)
            text = record.caller = transcript.text.strip()
            self._call.emit(
                events.CallerFinal(
                    at_ms=self._call.ms(),
                    turn=key[0],
                    revision=key[1],
                    text=text,
                    confidence=transcript.confidence,
                )
            )
        except Exception as error:
            record.caller = ""
            self._call.fail("recogniser", error, record)
        record.transcript_ms = self._call.ms()
        self.heard(key, text, None)
        return text

    async def settle(self, text: str) -> None:
        """The words of the turn are known: what was drafted before is ready or given up."""
        await self._early.settle(text)

    def heard(self, key: Key, text: str | None, p_end: float | None) -> None:
        """The words of a revision, and what the model thinks of them."""
        self._feed(turn.Heard(*key, text, p_end, asks_for_digits(self._question)))

    def sealed(self, reply: Reply) -> None:
        """This reply's turn cannot be reopened any more."""
        if reply.committed and reply.record is self._turn and self._turns.state is TurnState.LISTENING:
            self._feed(turn.Sealed())
            self._hearing.close(self._speech_end)

    # what the voice tells

    def voice_released(self, utterance: Utterance) -> None:
        """Words are on the line: from now on the caller can cut them short."""
        self._question = utterance.text
        self._interrupting(AgentAudible())

    def voice_audible(self, utterance: Utterance) -> None:
        """The first audible sample left."""
        record, at_ms = utterance.record, self._call.ms(utterance.audible_at)
        if record.first_audio_ms is None:
            record.first_audio_ms = at_ms
        if record.first_reply_ms is None and not utterance.canned:
            record.first_reply_ms = at_ms
        if record is self._turn:
            self._feed(turn.ReplyAudible())
        self._call.emit(
            events.AgentSpeaking(at_ms=at_ms, turn=record.turn, text=utterance.text, canned=utterance.canned)
        )

    def voice_over(self, utterance: Utterance) -> None:
        """The line is silent again."""
        self._interrupting(AgentSilent())
