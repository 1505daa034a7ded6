"""What happened in a call and when: one record for every turn, milliseconds from the start of the call."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import ceil
from typing import Any


@dataclass
class ToolRecord:
    """One tool call; `result` is JSON text."""

    name: str
    arguments: dict[str, Any]
    start_ms: float
    end_ms: float | None = None
    result: str | None = None
    error: str | None = None

    @property
    def ms(self) -> float | None:
        return None if self.end_ms is None else self.end_ms - self.start_ms

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "arguments": self.arguments,
            "result": _value(self.result),
            "ms": _rounded(self.ms),
            "error": self.error,
            "start_ms": _rounded(self.start_ms),
            "end_ms": _rounded(self.end_ms),
        }


@dataclass
class TurnRecord:
    """One caller turn and the agent's answer to it; the greeting and prompts have an empty `caller`.

    Times are milliseconds from the start of the call. `speech_end_ms`: the caller's last speech sample.
    `soft_end_ms`: the silence was noticed. `transcript_ms`: the final transcript was there. `passes_ms`: each
    denoising pass ended. `draft_ms`: the first reply was written. `committed_ms`: the turn was over.
    `first_audio_ms`: the first audible sample of the agent; `first_reply_ms`: of words that the model wrote.
    `heard_until_ms`: the last sample that was played. `fillers`: canned words while tools ran.
    `cut_in`: how often the agent spoke (or was about to) into a pause and withdrew.
    """

    turn: int
    revision: int = 0
    caller: str = ""
    agent: str = ""
    heard: str = ""
    canned: bool = False
    interrupted: bool = False
    speech_start_ms: float | None = None
    speech_end_ms: float | None = None
    soft_end_ms: float | None = None
    transcript_ms: float | None = None
    draft_ms: float | None = None
    audio_ready_ms: float | None = None
    committed_ms: float | None = None
    first_audio_ms: float | None = None
    first_reply_ms: float | None = None
    heard_until_ms: float | None = None
    passes_ms: list[float] = field(default_factory=list)
    tools: list[ToolRecord] = field(default_factory=list)
    forwards: int = 0
    speculation: str = "off"
    fillers: list[str] = field(default_factory=list)
    cut_in: int = 0
    failures: list[str] = field(default_factory=list)

    def begin_revision(self, revision: int, speech_end_ms: float, soft_end_ms: float) -> None:
        """A soft end: what was prepared for an earlier one is forgotten."""
        self.revision = revision
        self.speech_end_ms = speech_end_ms
        self.soft_end_ms = soft_end_ms
        self.transcript_ms = self.draft_ms = self.audio_ready_ms = self.committed_ms = None
        self.passes_ms.clear()
        self.forwards = 0

    def reopen(self) -> None:
        """The caller was cut in on: what the agent did since the commit does not count."""
        self.cut_in += 1
        self.agent = self.heard = ""
        self.canned = self.interrupted = False
        self.first_audio_ms = self.first_reply_ms = self.heard_until_ms = self.committed_ms = None

    @property
    def voice_to_voice_ms(self) -> float | None:
        """First audible agent sample minus last speech sample of the caller."""
        if self.first_audio_ms is None or self.speech_end_ms is None:
            return None
        return self.first_audio_ms - self.speech_end_ms

    def to_json(self) -> dict[str, Any]:
        """The fields of a turn of the command line, and the timeline's."""
        return {
            "turn": self.turn,
            "caller": self.caller,
            "agent": self.agent,
            "heard": self.heard,
            "tools": [tool.to_json() for tool in self.tools],
            "speech_start_ms": _rounded(self.speech_start_ms),
            "speech_end_ms": _rounded(self.speech_end_ms),
            "soft_end_ms": _rounded(self.soft_end_ms),
            "transcript_ms": _rounded(self.transcript_ms),
            "passes_ms": [_rounded(ms) for ms in self.passes_ms],
            "draft_ms": _rounded(self.draft_ms),
            "audio_ready_ms": _rounded(self.audio_ready_ms),
            "committed_ms": _rounded(self.committed_ms),
            "first_audio_ms": _rounded(self.first_audio_ms),
            "first_reply_ms": _rounded(self.first_reply_ms),
            "heard_until_ms": _rounded(self.heard_until_ms),
            "voice_to_voice_ms": _rounded(self.voice_to_voice_ms),
            "forwards": self.forwards,
            "revision": self.revision,
            "speculation": self.speculation,
            "canned": self.canned,
            "interrupted": self.interrupted,
            "cut_in": self.cut_in,
            "fillers": self.fillers,
            "failures": self.failures,
        }


@dataclass
class CallRecord:
    """A whole call. `ended`: hang_up or transfer (by the agent), caller (hung up or vanished), silence (the
    caller did not answer), too_long, line (the sink failed), cancelled.
    """

    turns: list[TurnRecord] = field(default_factory=list)
    ended: str = ""
    seconds: float = 0.0
    frames_dropped: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)

    def voice_to_voice_ms(self, with_tools: bool | None = None) -> list[float]:
        """Every turn's voice-to-voice time; only those with or without tools if asked."""
        return [
            turn.voice_to_voice_ms
            for turn in self.turns
            if turn.voice_to_voice_ms is not None and (with_tools is None or bool(turn.tools) == with_tools)
        ]

    def to_json(self) -> dict[str, Any]:
        """JSON fields of `stretto call`, without the recording."""
        return {
            "turns": [turn.to_json() for turn in self.turns],
            "ended": self.ended,
            "seconds": round(self.seconds, 3),
            "frames_dropped": self.frames_dropped,
            "voice_to_voice_ms": summary(self.voice_to_voice_ms()),
            "voice_to_voice_without_tools_ms": summary(self.voice_to_voice_ms(with_tools=False)),
            "voice_to_voice_with_tools_ms": summary(self.voice_to_voice_ms(with_tools=True)),
            "messages": self.messages,
        }


def summary(values: list[float]) -> dict[str, float | None]:
    """p50, p95 and max (nearest rank); None where there is no value."""
    if not values:
        return {"p50": None, "p95": None, "max": None}
    ordered = sorted(values)
    return {name: round(ordered[ceil(share * len(ordered)) - 1], 1) for name, share in _SHARES.items()}


_SHARES = {"p50": 0.5, "p95": 0.95, "max": 1.0}


def _value(text: str | None) -> Any:
    """What JSON text says; the text itself where it is none."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
