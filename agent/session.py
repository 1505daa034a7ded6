"""One call: the caller's audio in, the agent's audio out, typed events beside them.

The shell: it brings audio and time to the floor (`floor.py`), which decides, and owns every task.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from stretto.agent import events
from stretto.agent.builtin import BUILT_IN, checked, open_conversation
from stretto.agent.call import Call, EventStream, SessionOptions
from stretto.agent.caller_id import CallInformation
from stretto.agent.events import Event
from stretto.agent.floor import GRACE_S, Floor
from stretto.agent.hearing import Hearing, Recogniser, VoiceActivity
from stretto.agent.history import History
from stretto.agent.keypad import check_key
from stretto.agent.listening import Listening
from stretto.agent.prefill import Prefill
from stretto.agent.speaking import Outlet, Sink, Utterance, Voice
from stretto.agent.speculation import Speculation
from stretto.agent.timeline import CallRecord
from stretto.agent.tool_calls import take_result
from stretto.audio.pcm import Frame
from stretto.audio.vad import VAD, VADOptions
from stretto.llm.language_model import Conversation, LanguageModel, ToolSpec
from stretto.tools.journal import Journal
from stretto.tools.runner import AnyTool, ToolRunner

__all__ = ["Session", "SessionOptions"]


class Session:
    """A call between a caller and the agent.

    `sink` gets 20 ms of int16 audio at `rate` Hz and the time at which its first sample is due, on `clock`
    (seconds, monotonic). Give the caller's frames to `hear`, with times on the same clock. `bias`: words that
    the recogniser should expect. `transcript_path`: a JSONL file that keeps every message as it is said.
    `journal`: keeps what tools were begun and what came of them, whatever happens; it is not closed.
    `built_in`: of the tools that the session handles itself, those to offer. `outlet`: takes speech ahead of
    the sink (see `Outlet`). `information`: who calls; tools find it with `call_information()`. `name`: the
    call's own, for whoever tells calls apart; `id` has it.
    Components are shared between calls; the session closes none of them.
    Raises `ValueError` for contradicting options and for two tools of one name.
    """

    def __init__(
        self,
        *,
        recogniser: Recogniser,
        synthesiser: Voice,
        model: LanguageModel,
        sink: Sink,
        tools: Sequence[AnyTool] = (),
        options: SessionOptions | None = None,
        vad: VoiceActivity | None = None,
        built_in: Sequence[ToolSpec] = BUILT_IN,
        outlet: Outlet | None = None,
        clock: Callable[[], float] = time.monotonic,
        bias: Sequence[str] = (),
        transcript_path: str | Path | None = None,
        information: CallInformation | None = None,
        journal: Journal | None = None,
        name: str | None = None,
    ) -> None:
        self.id = name or f"call_{secrets.token_hex(6)}"
        self.options = options or SessionOptions()
        self.information = information or CallInformation()
        self._built_in = tuple(built_in)
        self._model = model
        self._tools = checked(tools, self._built_in)
        vad = vad or VAD(VADOptions(min_silence_ms=self.options.soft_end_ms))
        self._hearing = Hearing(recogniser, vad, bias)
        self._call = Call(
            self.options,
            clock,
            self._opened(self.options, self._tools),
            History(transcript_path),
            self.information,
            speculation=Speculation(self.options.speculate),
        )
        runner = ToolRunner(self._tools, journal=journal, session=self.id)
        self._floor = Floor(self._call, self._hearing, synthesiser, sink, runner, outlet)
        self._prefill = Prefill(self._call, self._floor)
        self._listening = Listening(self._call, self._floor, self._hearing, self._prefill)
        self._running = False
        self._picked_up = asyncio.Event()
        self._finished = asyncio.Event()

    # ------------------------------------------------------------------ from outside

    @property
    def record(self) -> CallRecord:
        """What happened so far."""
        return self._call.record

    @property
    def rate(self) -> int:
        """Sample rate of the agent's audio, Hz."""
        return self._floor.mouth.playback.rate

    @property
    def started(self) -> float:
        """When the agent picked up, on the clock (s); times of events and records count from here."""
        return self._call.started

    def hear(self, frame: Frame) -> None:
        """The caller's next 20 ms. Ignored before the pick-up; if the session lags, old ones are dropped."""
        if self._running:
            self._listening.take(frame)

    def events(self) -> AsyncIterator[Event]:
        """Everything from now on, in order, until the call is over; several may read."""
        reader = EventStream()
        self._call.readers.append(reader)
        if self._finished.is_set():
            reader.close()
        return reader

    def watch(self, tell: Callable[[Event], None]) -> None:
        """Have a function told of every event at once, before what follows; it must return at once, too."""
        self._call.watchers.append(tell)

    def press(self, key: str) -> None:
        """The caller pressed a key (see `SessionOptions.answer_keys`). Raises ValueError for what is none."""
        check_key(key)
        if self._running and not self.over:
            self._floor.press(key)

    async def hang_up(self) -> None:
        """The caller hung up (or the embedder wants no more): end the call and wait until it is over."""
        self._call.end("caller")
        if self._running:
            async with asyncio.timeout(2 * GRACE_S):
                await self._finished.wait()

    # ------------------------------------------------------------------ leading the call

    @property
    def over(self) -> bool:
        """Somebody hung up: nothing is said, heard or answered any more."""
        return self._call.over.is_set()

    async def picked_up(self) -> None:
        """Wait for the pick-up: before it nobody can lead the call."""
        async with asyncio.timeout(2 * self.options.synthesiser_timeout_s):
            await self._picked_up.wait()

    @property
    def history(self) -> History:
        """What was said so far, as it was heard."""
        return self._call.history

    @property
    def backlog(self) -> int:
        """Frames of the caller's that wait; from `FRAMES_WAITING` on the oldest are lost."""
        return self._listening.waiting

    def say(self, text: str) -> None:
        """Have the agent say these words; they count as canned. Does nothing when the call is over."""
        if not self.over:
            self._floor.say(text)

    def leave(self, reason: Literal["hang_up", "transfer"], text: str = "") -> None:
        """Have the agent end the call, or hand it over, now; `text`: its last words ("": canned ones)."""
        if not self.over and self._running:
            last = self.options.canned.transferring if reason == "transfer" else ""
            self._floor.close(text or last, ends=reason)

    def write(
        self,
        text: str,
        role: Literal["user", "assistant"] = "user",
        before: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Put words into the history as if they had been said, behind all else or `before` a message.

        Returns the message. See `respond`.
        """
        self._call.edited = True
        return self.history.written(role, text, self._call.ms(), before)

    def called(self, call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Put a call into the history as if the agent had made it; its result is owed. The message."""
        self._call.edited = True
        return self.history.call(0, call_id, name, arguments, self._call.ms(), handed_over=True)

    def result(self, call_id: str, content: str) -> None:
        """What came (JSON text) of a call that was handed over (`DeclaredTool`); see `respond`.

        Raises KeyError where there is no such call, ValueError where it has a result.
        """
        take_result(self._call, call_id, content)

    def respond(self) -> None:
        """Let the agent say what is next, without a turn of the caller. Nothing when the call is over."""
        if not self.over:
            self._floor.respond()

    def cancel(self) -> None:
        """Cut short what the agent says or is about to say; tools that run are finished."""
        self._floor.cancel()

    def correct(self, said: Utterance, heard: str) -> None:
        """The caller heard no more of an utterance than these words; if it is still played, it stops."""
        if self._floor.mouth.current is said:
            self._floor.mouth.stop()
        said.complete, said.stopped = False, True
        if said.message is None:
            said.heard = heard  # its reply puts it into the history next
            return
        turn, before = said.record, said.heard
        if before and turn.heard.endswith(before):
            turn.heard = f"{turn.heard[: -len(before)]}{heard}".strip()
        said.heard = heard
        self.history.correct(said.message, heard)
        self._call.edited = True

    def forget(self, message: dict[str, Any]) -> None:
        """Take a message out of the history; the model does not know of it any more."""
        self.history.forget(message)
        self._call.edited = True

    async def end_turn(self) -> bool:
        """The caller's turn is over now, whatever the silence; False where no audio waits for an end.

        Raises TimeoutError where the audio before it cannot be worked off.
        """
        return await self._listening.end_turn()

    def clear(self) -> None:
        """Forget the caller's audio that is in no committed turn."""
        self._listening.clear()

    async def update(
        self,
        options: SessionOptions | None = None,
        tools: Sequence[AnyTool] | None = None,
        vad: VADOptions | None = None,
        manual: bool | None = None,
        built_in: Sequence[ToolSpec] | None = None,
    ) -> None:
        """Lead the call in another way from now on; the dialogue so far stays known.

        `rate` stays what it was. `manual`: nobody listens for ends of turns, `end_turn` tells them. Raises
        ValueError as the constructor does, before anything is changed.
        """
        options = replace(options or self.options, rate=self.options.rate)
        turns, patience = options.turn_options(), options.patience()
        before, told = self._built_in, (options.system, options.tool_choice)
        anew = tools is not None or built_in is not None
        anew = anew or told != (self.options.system, self.options.tool_choice)
        if built_in is not None:
            self._built_in = tuple(built_in)
        try:
            offered = self._tools if tools is None else checked(tools, self._built_in)
            conversation = await asyncio.to_thread(self._opened, options, offered) if anew else None
        except ValueError:
            self._built_in = before
            raise
        if conversation is not None:
            async with asyncio.timeout(2 * options.model_timeout_s), self._call.model:
                old, self._call.conversation = self._call.conversation, conversation
                self._call.edited = True
                old.close()
            if tools is not None:
                self._tools = offered
                self._floor.runner = ToolRunner(offered, before=self._floor.runner, session=self.id)
        self.options = self._call.options = options
        self._floor.lead(turns)
        if self._running:
            self._listening.wait(patience)
        if vad is not None:
            self._hearing.use(VAD(vad), vad.prefix_padding_ms)
        if manual is not None:
            self._listening.lead(manual)

    def _opened(self, options: SessionOptions, tools: Sequence[AnyTool]) -> Conversation:
        return open_conversation(
            self._model, options.system, [tool.spec for tool in tools], self._built_in, options.tool_choice
        )

    # ------------------------------------------------------------------ the call

    async def run(self) -> CallRecord:
        """Pick up, talk until somebody hangs up, and return the record. Call it once."""
        call = self._call
        try:
            greeting = (
                self.options.canned.greeting if self.options.greeting is None else self.options.greeting
            )
            with call.reporting("synthesiser"):
                await self._floor.mouth.record(greeting)
            call.started = call.clock()
            self._listening.begin()
            call.history.system(self.options.system)
            for observer in self.options.observers:
                with call.reporting("session"):
                    observer(self)
            self._running = True
            self._picked_up.set()
            call.emit(events.SessionStarted(at_ms=0.0))
            async with asyncio.TaskGroup() as tasks:
                self._floor.tasks = tasks
                owned = [
                    tasks.create_task(work())
                    for work in (self._speak, self._listening.run, self._prefill.run, self._rehearse)
                ]
                if greeting:
                    self._floor.say(greeting)
                try:
                    async with asyncio.timeout(self.options.longest_call_s + 60):
                        await call.over.wait()
                except TimeoutError:
                    call.end("too_long")
                await self._floor.finish()
                for task in owned:
                    task.cancel()
        finally:
            self._running = False
            if not self.record.ended:
                call.end("cancelled")
            call.conversation.close()
            self.record.seconds = call.ms() / 1000
            # What began goes on for a while, also where the call was broken off; then it is told and kept.
            await self._floor.runner.aclose(GRACE_S if self.record.ended == "cancelled" else 0.1)
            self.record.messages = call.history.messages
            for reader in call.readers:
                reader.close()
            self._finished.set()
            await asyncio.to_thread(call.history.close)
        return self.record

    # ------------------------------------------------------------------ tasks of the call

    async def _speak(self) -> None:
        try:
            await self._floor.mouth.run()
        except Exception as error:
            self._call.fail("session", error)
            self._call.end("line")

    async def _rehearse(self) -> None:
        """Synthesise the canned sentences while the greeting is heard: they must not depend on luck later."""
        with self._call.reporting("synthesiser"):
            for text in self.options.canned.all():
                await self._floor.mouth.record(text)
