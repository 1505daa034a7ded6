"""The microphone as a way in: a call held over the microphone and the speaker of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
from stretto.agent import events
from stretto.agent.session import Session
from stretto.agent.timeline import CallRecord
from stretto.agent.ways_in.stereo import StereoRecorder
from stretto.audio.devices import FAINTEST_DB, DeviceLost, level_dbfs
from stretto.audio.echo import MARGIN_S, EchoCanceller
from stretto.audio.pcm import FRAME, Frame, Int16
from stretto.audio.streams import Microphone, Speaker

SILENCE = np.zeros(FRAME, np.int16)


class MicrophoneCall:
    """One call over `microphone` and `speaker`. Give `sink` to the session, then `hold` it.

    `recorder` gets both sides; the caller's as the agent hears it. `line_open`: whether what is said at a
    time (s) is meant for the agent; otherwise the agent hears silence. Both devices are closed at the end.
    """

    def __init__(
        self,
        microphone: Microphone,
        speaker: Speaker,
        recorder: StereoRecorder,
        *,
        echo_cancelling: bool = True,
        line_open: Callable[[float], bool] = lambda now: True,
    ) -> None:
        self.microphone = microphone
        self.speaker = speaker
        self.lost: DeviceLost | None = None
        """The device that went away, and ended the call."""
        self.caller_db = self.agent_db = FAINTEST_DB
        """Loudness of the newest 20 ms of both sides, dB of full scale."""
        self._recorder = recorder
        self._echo_cancelling = echo_cancelling
        self._echo: EchoCanceller | None = None
        self._line_open = line_open

    def sink(self, pcm: Int16, at: float) -> None:
        """The agent's next 20 ms. Raises `DeviceLost`: the session ends the call then."""
        self._recorder.agent(pcm, at)
        self.agent_db = level_dbfs(pcm)
        if self.lost is None:
            try:
                self.speaker.play(pcm)
            except DeviceLost as error:
                self.lost = error
        if self.lost is not None:
            raise self.lost

    async def hold(
        self,
        session: Session,
        watch: Sequence[Callable[[events.Event], None]] = (),
        hang_up: asyncio.Event | None = None,
    ) -> CallRecord:
        """The whole call, until somebody hangs up, `hang_up` is set, or a device is gone.

        The session's clock must be `time.monotonic`. Raises `DeviceError` if a device cannot be opened.
        """
        try:
            await self.speaker.open(session.rate)
            await self.microphone.open()
            await self.speaker.flowing()
            await self.microphone.flowing()
            if self._echo_cancelling:
                self._echo = EchoCanceller(self.speaker.rate, MARGIN_S + self.speaker.margin_s)
            async with asyncio.TaskGroup() as group:
                showing = group.create_task(_show(session.events(), watch))
                tasks = [group.create_task(self._listen(session))]
                if hang_up is not None:
                    tasks.append(group.create_task(_hang_up(session, hang_up)))
                record = await session.run()
                await showing
                for task in tasks:
                    task.cancel()
            return record
        finally:
            await self.microphone.close()
            await self.speaker.close()

    async def _listen(self, session: Session) -> None:
        try:
            async for frame in self.microphone.frames():
                heard = self._without_echo(frame)
                if not self._line_open(frame.at):
                    heard = Frame(SILENCE, heard.at)
                self.caller_db = level_dbfs(heard.pcm)
                if heard.at >= session.started > 0:  # before the pick-up there is no call to record
                    self._recorder.caller(heard.pcm, heard.at)
                session.hear(heard)
        except DeviceLost as error:
            self.lost = self.lost or error  # the sink tells the session

    def _without_echo(self, frame: Frame) -> Frame:
        # Whatever was played before this frame came is known by now.
        for pcm, at in self.speaker.played():
            if self._echo is not None:
                self._echo.played(pcm, at)
        return frame if self._echo is None else self._echo.clean(frame)


async def _show(
    happened: AsyncIterator[events.Event], watch: Sequence[Callable[[events.Event], None]]
) -> None:
    async for event in happened:
        for each in watch:
            each(event)


async def _hang_up(session: Session, wanted: asyncio.Event) -> None:
    await wanted.wait()  # owned by the call, ends with it
    await session.hang_up()
