"""The caller's audio of one call, frame by frame to the floor; where none comes, the time."""

from __future__ import annotations

import asyncio
from collections import deque

from stretto.agent import events
from stretto.agent.call import Call
from stretto.agent.floor import Floor
from stretto.agent.hearing import FRAME_S, Hearing
from stretto.agent.line import FrameLine
from stretto.agent.patience import Patience, PatienceOptions, Prompt
from stretto.agent.prefill import Prefill
from stretto.audio.pcm import Frame
from stretto.audio.vad import SpeechEnded, SpeechStarted

LONGEST_TURN = 6000
"""Frames (2 min) of a turn whose end is told; the oldest are dropped."""
STALL_S = 0.3
"""Without a frame for so long, time is taken from the clock and the caller counts as silent."""


class Listening:
    """One per call. `begin` when the agent picks up, then `run`."""

    def __init__(self, call: Call, floor: Floor, hearing: Hearing, prefill: Prefill) -> None:
        self._call = call
        self._floor = floor
        self._hearing = hearing
        self._prefill = prefill
        self._line = FrameLine()
        self._manual: deque[Frame] | None = None
        self._frame_at = 0.0
        self._patience = Patience(call.options.patience(), call.started)

    @property
    def waiting(self) -> int:
        """Frames that were not worked off yet."""
        return self._line.waiting

    def take(self, frame: Frame) -> None:
        """The caller's next frame; if nobody keeps up, old ones are dropped, and that is told."""
        if not self._line.put(frame):
            self._call.record.frames_dropped = count = self._line.dropped
            if count % 50 == 1:
                self._call.emit(events.FramesDropped(at_ms=self._call.ms(), count=count))

    async def end_turn(self) -> bool:
        """See `Session.end_turn`."""
        options = self._call.options
        async with asyncio.timeout(options.recogniser_timeout_s + options.longest_call_s):
            while self._line.waiting or (self._manual and self._floor.undecided):  # noqa: ASYNC110
                await asyncio.sleep(FRAME_S)
        if self._manual is None:
            open_turn = self._floor.caller_speaking or self._floor.undecided
            self._floor.over()
            return open_turn
        frames = list(self._manual)
        self._manual.clear()
        if frames:
            self._floor.spoken(frames)
        return bool(frames)

    def clear(self) -> None:
        """Forget what is in no committed turn."""
        self._line.clear()
        if self._manual is not None:
            self._manual.clear()
        else:
            self._floor.discard()

    def lead(self, manual: bool) -> None:
        """`manual`: nobody listens for ends of turns, `end_turn` tells them."""
        if manual != (self._manual is not None):
            self.clear()
            self._manual = deque(maxlen=LONGEST_TURN) if manual else None

    def wait(self, patience: PatienceOptions) -> None:
        """How long a silent caller is waited for from now on."""
        self._patience = Patience(patience, self._call.started)

    def begin(self) -> None:
        """The agent picks up now."""
        self._floor.now = self._frame_at = self._call.started
        self.wait(self._call.options.patience())

    async def run(self) -> None:
        """Until the call is over."""
        while not self._call.over.is_set():
            frame = await self._line.next(STALL_S)
            with self._call.reporting("session"):
                if frame is None:
                    self._stalled()
                else:
                    self._frame(frame)
                self._time_passed()

    def _frame(self, frame: Frame) -> None:
        self._frame_at = self._call.clock()
        self._floor.now = frame.at + FRAME_S
        if self._manual is not None:
            self._manual.append(frame)
            return
        for event in self._hearing.detect(frame):
            if isinstance(event, SpeechStarted):
                self._prefill.begin()
            self._floor.caller(event)
        try:
            partials = self._hearing.feed(frame)
        except Exception as error:
            self._call.fail("recogniser", error)
            return
        for partial in partials:
            self._prefill.heard(partial)
            self._call.emit(
                events.CallerPartial(
                    at_ms=self._call.ms(),
                    turn=self._floor.turn_number,
                    stable=partial.stable,
                    tentative=partial.tentative,
                )
            )

    def _stalled(self) -> None:
        """No frame came: the line is silent, or gone."""
        clock = self._call.clock()
        if clock - self._frame_at > self._call.options.caller_gone_s:
            self._call.end("caller")
        if self._floor.caller_speaking:
            self._hearing.lost()
            self._floor.caller(SpeechEnded(self._floor.now))
        self._floor.now = max(self._floor.now, clock - STALL_S)

    def _time_passed(self) -> None:
        self._floor.time_passed()
        canned = self._call.options.canned
        match self._patience.feed(self._floor.busy, self._floor.turn_number, self._call.clock()):
            case Prompt.STILL_THERE:
                self._call.emit(events.CallerSilent(at_ms=self._call.ms()))
                if not self._floor.ask_again():
                    self._floor.say(canned.still_there)
            case Prompt.GOODBYE as prompt:
                self._floor.say(canned.goodbye, ends=prompt.value)
            case Prompt.TOO_LONG as prompt:
                self._floor.close(canned.too_long, ends=prompt.value)
