"""Barge-in: what to do with the agent's voice when the caller speaks. Pure: no clock, no asyncio."""

from __future__ import annotations

from dataclasses import dataclass

from stretto.audio.vad import SpeechEnded, SpeechStarted


@dataclass(frozen=True)
class AgentAudible:
    """The agent's voice is on the line from now on."""


@dataclass(frozen=True)
class AgentSilent:
    """The agent's voice is off the line."""


@dataclass(frozen=True)
class StopSpeaking:
    """Stop playback at once; `began` is where in the caller's audio the speech began (s)."""

    began: float


Interrupting = SpeechStarted | SpeechEnded | AgentAudible | AgentSilent


@dataclass(frozen=True)
class InterruptionOptions:
    """`protect_ms`: the agent's first milliseconds cannot be interrupted (0: they can)."""

    protect_ms: float = 0.0


class Interruption:
    """Decides from detected speech alone: the detector's own minimum length filters clicks."""

    def __init__(self, options: InterruptionOptions | None = None) -> None:
        self.options = options or InterruptionOptions()
        self._audible_since: float | None = None
        self._caller_since: float | None = None

    @property
    def agent_audible(self) -> bool:
        return self._audible_since is not None

    def feed(self, event: Interrupting | None, now: float) -> list[StopSpeaking]:
        """Take an event (None: only time passed) at `now` seconds; at most one action comes back."""
        match event:
            case SpeechStarted(at=at):
                self._caller_since = at
            case SpeechEnded():
                self._caller_since = None
            case AgentAudible():
                if self._audible_since is None:
                    self._audible_since = now
            case AgentSilent():
                self._audible_since = None
        if self._audible_since is None or self._caller_since is None:
            return []
        if (now - self._audible_since) * 1000 < self.options.protect_ms:
            return []
        # Once stopped, the voice counts as off the line: one stop for one interruption.
        self._audible_since = None
        return [StopSpeaking(self._caller_since)]
