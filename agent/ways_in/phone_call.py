"""A session on a telephone line, whatever protocol brings it: 8 kHz both ways, packets put in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from stretto.agent.caller_id import CallInformation
from stretto.agent.realtime.connection import Service
from stretto.agent.realtime.wire import new_id
from stretto.agent.session import Session
from stretto.agent.speaking import Outlet
from stretto.audio.g711 import G711_RATE
from stretto.audio.packets import PacketStream
from stretto.audio.pcm import FRAME, RATE, Frame, Int16, Resampler

log = logging.getLogger("stretto.server")

PHONE_RATE = G711_RATE
"""Of the audio on the line, Hz."""


class PhoneCall:
    """What a door for telephones needs of a call; `session` leads it.

    `send` gets what the agent says, 20 ms at a time and paced: int16 at `PHONE_RATE`, and when it is due (s).
    An `outlet` takes it ahead of that (see `Outlet`).
    """

    confirmed = False
    """The line tells when what `played` gets was played."""

    def __init__(
        self,
        service: Service,
        information: CallInformation,
        *,
        send: Callable[[Int16, float], object] | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        self.id = new_id("phone")
        self.clock = time.monotonic
        self.packets = PacketStream(PHONE_RATE)
        self.played: Callable[[Int16, float], object] | None = None
        """Gets what the agent says, for a recording."""
        self.heard: Callable[[Int16, float], object] | None = None
        """Gets the caller's frames, for a recording."""
        self._send = send
        self._resampler = Resampler(PHONE_RATE, RATE)
        self._waiting: Int16 = np.zeros(0, np.int16)
        self._made = 0
        self.session = Session(
            recogniser=service.recogniser,
            synthesiser=service.voice(1.0),
            model=service.model,
            sink=self._said,
            tools=service.tools,
            options=replace(service.options, rate=PHONE_RATE),
            clock=self.clock,
            bias=service.bias,
            outlet=outlet,
            transcript_path=service.record and service.record / f"{self.id}.jsonl",
            information=information,
        )

    def hear(self, pcm: Int16, stamp_ms: int | None = None, rate: int = PHONE_RATE) -> None:
        """A packet of the caller's, int16 of any length at `rate` Hz; see `PacketStream`."""
        if rate != self.packets.rate:
            self.packets = PacketStream(rate, self.packets)
            self._resampler = Resampler(rate, RATE)
            self._waiting, self._made = self._waiting[:0], 0
        for piece in self.packets.put(pcm, self.clock(), stamp_ms):
            self._waiting = np.concatenate([self._waiting, self._resampler.feed(piece.pcm)])
            while len(self._waiting) >= FRAME:
                frame, self._waiting = self._waiting[:FRAME], self._waiting[FRAME:]
                # The filter's delay shifts no sample, it only lets them come later.
                at = piece.at + self._made / RATE - piece.start / self.packets.rate
                self._made += FRAME
                if self.heard is not None:
                    self.heard(frame, at)
                self.session.hear(Frame(frame, at))

    def press(self, key: str) -> bool:
        """The caller pressed a key; False for what is none."""
        try:
            self.session.press(key)
        except ValueError as error:
            log.debug("%s", error)
            return False
        return True

    def _said(self, frame: Int16, at: float) -> None:
        if self.played is not None:
            self.played(frame, at)
        if self._send is not None:
            self._send(frame, at)
