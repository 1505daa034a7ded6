"""Packets of a telephone line as one stream: in order, without gaps, each piece with its time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from stretto.audio.concealment import conceal
from stretto.audio.pcm import Int16
from stretto.audio.stream_clock import StreamClock

SLACK_MS = 15
"""A packet may be stamped so far beside the end of the one before it and still follow it."""
REORDER_MS = 60
"""So long a packet is waited for that another one overtook."""
LONGEST_GAP_S = 5.0
"""A longer gap, or a packet that is older by more, begins the stream anew."""
STRAY = 25
"""So many packets in a row that are too old: the other end counts from a new start."""
LAG_MS = 40
"""Without time stamps: the stream may lag behind its arrivals by so much before silence makes up for it."""
LAGGING = 15
"""Packets in a row that must lag before that is believed: one alone may be late."""
PAUSE_MS = 300
"""Without time stamps: after so long without a packet the stream stood still, or stood in a queue."""
QUIET = 200
"""Amplitude (of 32768) below which the clock may be moved unheard."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Samples in a row, `at` the time of the first one (s); `start` counts samples of the whole stream."""

    pcm: Int16
    at: float
    start: int


@dataclass(frozen=True, eq=False)
class _Packet:
    pcm: Int16
    arrived: float
    stamp: int | None
    """Place of its first sample, as the sender counts."""


class PacketStream:
    """A pure machine: packets in, pieces out. `lost` counts samples that never came, `late` packets too old.

    Packets with a time stamp are put in order, and what is missing is concealed. For those without (TCP keeps
    their order; what is lost before it leaves no trace) the time of arrival tells what is missing.
    `before`: the stream that went on until now at another rate.
    """

    def __init__(self, rate: int, before: PacketStream | None = None) -> None:
        self.rate = rate
        self.lost: int = before.lost * rate // before.rate if before is not None else 0
        self.late: int = before.late if before is not None else 0
        self._clock = StreamClock(rate, playing=False)
        self._count = 0
        self._next: int | None = None  # the stamp that comes next
        self._end: float | None = None
        self._before: Int16 = np.zeros(0, np.int16)
        self._held: list[_Packet] = []
        self._stray = 0
        self._lags: deque[float] = deque(maxlen=LAGGING)

    def put(self, pcm: Int16, now: float, stamp_ms: int | None = None) -> list[Piece]:
        """The next packet, int16 of any length, which came at `now` (s, monotonic); what is ready."""
        if not len(pcm):
            return []
        if stamp_ms is None:
            return self._untimed(_Packet(pcm, now, None))
        return self._timed(_Packet(pcm, now, stamp_ms * self.rate // 1000))

    # ------------------------------------------------------------------ with time stamps

    def _timed(self, packet: _Packet) -> list[Piece]:
        assert packet.stamp is not None
        longest = LONGEST_GAP_S * self.rate
        if self._next is None or abs(packet.stamp - self._next) > longest:
            self._begin_at(packet.stamp)
        assert self._next is not None
        if packet.stamp - self._next < -self._slack:
            self.late += 1
            self._stray += 1
            if self._stray < STRAY:
                return []
            self._begin_at(packet.stamp)
        self._stray = 0
        self._held.append(packet)
        self._held.sort(key=lambda each: each.stamp or 0)
        ready: list[Piece] = []
        while self._held:
            first = self._held[0]
            gap = (first.stamp or 0) - self._next
            if gap > self._slack:
                waited = packet.arrived - min(each.arrived for each in self._held)
                if waited * 1000 < REORDER_MS and len(self._held) * len(first.pcm) < self._reorder:
                    break
                ready.append(self._fill(gap, first.arrived))
                self._next += gap
            self._held.pop(0)
            if gap < -self._slack:  # came twice
                self.late += 1
                continue
            ready.append(self._piece(first.pcm, first.arrived))
            self._next += len(first.pcm)
        return ready

    @property
    def _slack(self) -> int:
        return self.rate * SLACK_MS // 1000

    @property
    def _reorder(self) -> int:
        return self.rate * REORDER_MS // 1000

    def _begin_at(self, stamp: int) -> None:
        self._next, self._stray = stamp, 0
        self._held.clear()
        self._clock.lost()

    # ------------------------------------------------------------------ without

    def _untimed(self, packet: _Packet) -> list[Piece]:
        if self._end is None:
            return [self._piece(packet.pcm, packet.arrived)]
        # Behind a pause: did the packets wait in a queue (they come at once), or were there none?
        if self._held or self._lag(packet) * 1000 > PAUSE_MS:
            self._held.append(packet)
            if len(self._held) < 3:
                return []
            held, self._held = self._held, []
            spread = held[-1].arrived - held[0].arrived
            if spread > 0.75 * sum(len(each.pcm) for each in held[1:]) / self.rate:
                self._clock.lost()
                self._lags.clear()
            return [self._piece(each.pcm, each.arrived) for each in held]
        self._lags.append(self._lag(packet))
        ready = []
        lag = min(self._lags)
        if len(self._lags) == LAGGING and lag * 1000 > LAG_MS:
            self._lags.clear()
            ready.append(self._fill(round(lag * self.rate), packet.arrived, silent=True))
        return [*ready, self._piece(packet.pcm, packet.arrived)]

    def _lag(self, packet: _Packet) -> float:
        """How much later a packet came than what follows the stream without a gap, s."""
        assert self._end is not None
        return packet.arrived - (self._end + len(packet.pcm) / self.rate)

    # ------------------------------------------------------------------ what comes of both

    def _fill(self, count: int, arrived: float, silent: bool = False) -> Piece:
        self.lost += count
        made = np.zeros(count, np.int16) if silent else conceal(self._before, count, self.rate)
        return self._piece(made, arrived)

    def _piece(self, pcm: Int16, arrived: float) -> Piece:
        quiet = int(np.abs(pcm.astype(np.int32)).max()) < QUIET
        piece = Piece(pcm, self._clock.block(len(pcm), arrived, quiet), self._count)
        self._count += len(pcm)
        self._end = piece.at + len(pcm) / self.rate
        self._before = np.concatenate([self._before, pcm])[-self.rate // 10 :]
        return piece
