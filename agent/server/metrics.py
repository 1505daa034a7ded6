"""What Prometheus reads: every stage of every turn, voice-to-voice, and what went wrong."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from stretto.agent import events
from stretto.agent.session import Session
from stretto.agent.timeline import TurnRecord
from stretto.audio.packets import PacketStream

BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
"""Seconds."""
STAGES = {
    "soft_end": ("speech_end_ms", "soft_end_ms"),
    "transcript": ("soft_end_ms", "transcript_ms"),
    "draft": ("transcript_ms", "draft_ms"),
    "audio": ("draft_ms", "audio_ready_ms"),
    "commit": ("speech_end_ms", "committed_ms"),
    "first_audio": ("committed_ms", "first_audio_ms"),
}
"""Stage: the two times of a turn's record that it lies between.

Beside them there are `tool`, every call of one (a client's until its result is there), and
`draft_after_tools`, the writing of a reply that has read results.
"""


class Metrics:
    """One per server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.sessions = Gauge("stretto_sessions", "Calls at present", registry=registry)
        self.ended = Counter("stretto_calls", "Calls that are over", ["reason"], registry=registry)
        self.refused = Counter("stretto_refused", "Requests not let in", ["status"], registry=registry)
        self.bad_frames = Counter("stretto_bad_frames", "Client events refused", registry=registry)
        self.phone_calls = Counter("stretto_phone_calls", "Calls by telephone", ["way"], registry=registry)
        self.phone_lost = Counter(
            "stretto_phone_lost_seconds",
            "Audio of telephone lines that never came",
            ["way"],
            registry=registry,
        )
        self.phone_late = Counter(
            "stretto_phone_late_packets", "Packets of telephone lines that came too late", ["way"],
            registry=registry,
        )  # fmt: skip
        self._stage = Histogram(
            "stretto_stage_seconds", "Time of a turn's stages", ["stage"], buckets=BUCKETS, registry=registry
        )
        self._voice = Histogram(
            "stretto_voice_to_voice_seconds",
            "Last sample of the caller to the first audible one of the agent",
            ["tools"],
            buckets=BUCKETS,
            registry=registry,
        )
        passes = (1, 2, 4, 6, 8, 12, 16, 24, 32, 64)
        self._forwards = Histogram(
            "stretto_forwards", "Passes over the model in a turn", buckets=passes, registry=registry
        )
        self._turns = Counter("stretto_turns", "Answered turns", ["speculation"], registry=registry)
        self._barge_ins = Counter("stretto_barge_ins", "Callers who stopped the agent", registry=registry)
        self._tools = Counter("stretto_tool_calls", "Tools run", ["tool", "outcome"], registry=registry)
        self._failures = Counter("stretto_failures", "Parts that failed", ["part"], registry=registry)

    def watch(self, session: Session, tools: frozenset[str]) -> None:
        """Count what happens in a call. `tools`: names worth a label of their own (a client's are not)."""
        unread: set[int] = set()  # turns with results that no reply has read yet

        def happened(event: events.Event) -> None:
            match event:
                case events.Answered():
                    if session.record.turns and session.record.turns[-1].turn == event.turn:
                        self._turn(session.record.turns[-1])
                case events.BargeIn():
                    self._barge_ins.inc()
                case events.ToolFinished(name=name, error=error, ms=ms, turn=turn):
                    label = name if name in tools else "other"
                    self._tools.labels(label, "error" if error else "ok").inc()
                    self._stage.labels("tool").observe(ms / 1000)
                    unread.add(turn)
                case events.DraftReady(turn=turn, ms=ms) if turn in unread:
                    self._stage.labels("draft_after_tools").observe(ms / 1000)
                    unread.discard(turn)
                case events.Failure(part=part):
                    self._failures.labels(part).inc()

        session.watch(happened)

    def phone(self, way: str, packets: PacketStream) -> None:
        """A call by telephone is over."""
        self.phone_calls.labels(way).inc()
        self.phone_lost.labels(way).inc(packets.lost / packets.rate)
        self.phone_late.labels(way).inc(packets.late)

    def _turn(self, turn: TurnRecord) -> None:
        self._turns.labels(turn.speculation).inc()
        self._forwards.observe(turn.forwards)
        for stage, (begin, end) in STAGES.items():
            began, ended = getattr(turn, begin), getattr(turn, end)
            if began is not None and ended is not None:
                self._stage.labels(stage).observe(max(0.0, ended - began) / 1000)
        if turn.voice_to_voice_ms is not None:
            self._voice.labels("yes" if turn.tools else "no").observe(turn.voice_to_voice_ms / 1000)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
