"""A caller's recording as a way in: played to the agent in real time, both sides recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
from stretto.agent import events
from stretto.agent.session import Session
from stretto.agent.timeline import CallRecord
from stretto.agent.ways_in.stereo import StereoRecorder
from stretto.audio.pcm import FRAME, RATE, Frame, Int16

FRAME_S = FRAME / RATE
GAP_S = 0.3
"""From the end of the greeting to the start of the recording."""
QUIET_S = 3.0
"""The call is over when the recording is and nothing happened for so long."""
BUSY_S = 60.0
"""The same while the agent speaks or a tool runs."""
SILENT = 33
"""Amplitude (of 32768) that a recording with a voice in it exceeds: -60 dB of full scale."""
ACTIVE = (
    events.CallerSpeaking, events.SoftEnd, events.CallerFinal, events.DenoisingPass, events.DraftReady,
    events.Committed, events.ToolStarted, events.ToolFinished, events.AgentSpeaking, events.AgentHeard,
)  # fmt: skip


def is_silent(pcm: Int16) -> bool:
    """Nothing in it is loud enough to be a voice."""
    return len(pcm) == 0 or int(np.max(np.abs(pcm.astype(np.int32)))) < SILENT


class RecordedCaller:
    """Waits for the greeting, plays the recording frame by frame, then listens until the agent is done."""

    def __init__(
        self,
        session: Session,
        pcm: Int16,
        sent: Callable[[Int16, float], None],
        *,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._pcm = np.concatenate([pcm, np.zeros(-len(pcm) % FRAME, np.int16)])
        self._sent = sent
        self._quiet_s = quiet_s
        self._clock = clock
        self._active = clock()
        self._speaking = False
        self._tools = 0
        self._greeted = asyncio.Event()

    async def watch(self, happened: AsyncIterator[events.Event]) -> None:
        """Note from the session's events whether anything goes on."""
        async for event in happened:
            if isinstance(event, ACTIVE):
                self._active = self._clock()
            match event:
                case events.SessionStarted() if self._session.options.greeting == "":
                    self._greeted.set()
                case events.AgentSpeaking():
                    self._speaking = True
                case events.AgentHeard() | events.BargeIn():
                    self._speaking = False
                    self._greeted.set()
                case events.ToolStarted():
                    self._tools += 1
                case events.ToolFinished():
                    self._tools -= 1

    async def play(self) -> None:
        """Send the recording and silence after it; hang up when the agent has nothing more to say."""
        began, count, position, gap = self._clock(), 0, 0, GAP_S
        silence = np.zeros(FRAME, np.int16)
        while True:
            at = began + count * FRAME_S
            # A frame leaves when its last sample has been spoken.
            if (wait := at + FRAME_S - self._clock()) > 0:
                await asyncio.sleep(wait)
            frame = silence
            gap -= FRAME_S * self._greeted.is_set()
            if position < len(self._pcm) and gap <= 0:
                frame = self._pcm[position : position + FRAME]
                position += FRAME
                self._active = self._clock()
            self._sent(frame, at)
            self._session.hear(Frame(frame, at))
            count += 1
            busy = self._speaking or self._tools > 0
            idle = self._clock() - self._active
            if position >= len(self._pcm) and idle > (BUSY_S if busy else self._quiet_s):
                break
        await self._session.hang_up()


async def play_recording(
    session: Session,
    pcm: Int16,
    recorder: StereoRecorder,
    *,
    watch: Sequence[Callable[[events.Event], None]] = (),
    quiet_s: float = QUIET_S,
    clock: Callable[[], float] = time.monotonic,
) -> CallRecord:
    """Hold a call with a recorded caller (int16 at 16 kHz); returns when somebody hung up.

    The session's `sink` must be `recorder.agent`, its clock `clock`. The recording begins after the greeting.
    """
    caller = RecordedCaller(session, pcm, recorder.caller, quiet_s=quiet_s, clock=clock)

    async def show(happened: AsyncIterator[events.Event]) -> None:
        async for event in happened:
            for each in watch:
                each(event)

    async with asyncio.TaskGroup() as group:
        showing = group.create_task(show(session.events()))
        tasks = [group.create_task(caller.watch(session.events())), group.create_task(caller.play())]
        record = await session.run()
        await showing
        for task in tasks:
            task.cancel()
    return record
