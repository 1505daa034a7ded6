"""Turn-taking: when to prepare a reply, when to drop it, when the caller's turn is over.

Pure: `feed(event, now) -> actions`, where `now` is the time of the audio processed so far (seconds on the
session's clock), so that a loop that lags behind its audio never cuts in on the caller.

A *soft end* (a short silence) starts speculation under a new revision; speech that resumes drops it; a longer
silence commits it. A caller who goes on just after that was cut in on: the same turn is reopened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from stretto.agent.endings import looks_unfinished
from stretto.audio.vad import SpeechEnded, SpeechStarted


@dataclass(frozen=True)
class TurnOptions:
    """Silences in milliseconds, counted from the last speech sample.

    `commit_silence_ms`: a turn that looks finished is over. `unfinished_silence_ms`: one that does not.
    `doubtful_silence_ms`: one of which the model is not sure (only with `use_p_end`).
    `soft_end_ms`: the detector's min_silence_ms.
    `reopen_audio_ms`: how long the reply may have been heard when a caller who goes on continues the turn.
    `use_p_end`: ask the model, too: from a P(end of turn) of `p_end_sure` on the turn is finished, below
    `p_end_unfinished` it is not, between them (and while the model has not answered) it is doubtful.
    """

    soft_end_ms: float = 120.0
    commit_silence_ms: float = 500.0
    doubtful_silence_ms: float = 750.0
    unfinished_silence_ms: float = 1050.0
    reopen_audio_ms: float = 1000.0
    use_p_end: bool = True
    p_end_sure: float = 0.5
    p_end_unfinished: float = 0.2

    def __post_init__(self) -> None:
        steps = ("soft_end", "commit_silence", "doubtful_silence", "unfinished_silence")
        names = [f"{step}_ms" for step in steps]
        silences = [float(getattr(self, name)) for name in names]
        if silences[0] <= 0 or silences != sorted(silences):
            raise ValueError(f"silences must grow from {' to '.join(names)}, but they are {silences}")


@dataclass(frozen=True)
class Heard:
    """The transcript up to a soft end is there. `text` None: the recogniser failed.

    `digits_asked`: the agent's last words asked for a number or a spelling.
    """

    turn: int
    revision: int
    text: str | None
    p_end: float | None = None
    digits_asked: bool = False


@dataclass(frozen=True)
class ReplyAudible:
    """The caller hears the reply to the committed turn from now on."""


@dataclass(frozen=True)
class Sealed:
    """The committed turn cannot be reopened any more: a tool ran, or the reply is over."""


@dataclass(frozen=True)
class Over:
    """Whoever leads the call says that the caller's turn is over: no silence is waited for."""


@dataclass(frozen=True)
class Cleared:
    """Whoever leads the call wants the open turn forgotten."""


TurnEvent = SpeechStarted | SpeechEnded | Heard | ReplyAudible | Sealed | Over | Cleared


@dataclass(frozen=True)
class Open:
    """The caller began a turn; `began`: where in the audio (s)."""

    turn: int
    began: float


@dataclass(frozen=True)
class Speculate:
    """Soft end: transcribe, draft and synthesise, but let nobody hear it and run no tool."""

    turn: int
    revision: int
    speech_end: float


@dataclass(frozen=True)
class Drop:
    """The caller goes on: what belongs to this revision is void."""

    turn: int
    revision: int


@dataclass(frozen=True)
class Commit:
    """The turn is over: what belongs to this revision may be heard, tools may run."""

    turn: int
    revision: int
    speech_end: float


@dataclass(frozen=True)
class Discard:
    """A sound without words: no turn."""

    turn: int
    revision: int


@dataclass(frozen=True)
class Reopen:
    """The caller goes on after the commit of this revision: withdraw the reply, the turn continues."""

    turn: int
    revision: int


TurnAction = Open | Speculate | Drop | Commit | Discard | Reopen


class TurnState(Enum):
    """Whose floor it is. In LISTENING the agent may speak."""

    LISTENING = "listening"
    CALLER_SPEAKING = "caller_speaking"
    MAYBE_END = "maybe_end"


class TurnMachine:
    """One per call."""

    def __init__(self, options: TurnOptions | None = None) -> None:
        self.options = options or TurnOptions()
        self.state = TurnState.LISTENING
        self.turn = 0
        self.revision = 0
        self._speech_end = 0.0
        self._heard: Heard | None = None
        self._reopenable = False
        self._audible_since: float | None = None
        self._over = False

    def feed(self, event: TurnEvent | None, now: float) -> list[TurnAction]:
        """Take an event (None: only time passed) at `now` seconds; what is to be done, in order."""
        match event:
            case SpeechStarted(at=at):
                return self._speech_started(at)
            case SpeechEnded(at=at):
                return self._speech_ended(at) + self._due(now)
            case Heard(turn=turn, revision=revision):
                if (turn, revision) == (self.turn, self.revision) and self.state is TurnState.MAYBE_END:
                    self._heard = event
            case ReplyAudible():
                if self._reopenable and self._audible_since is None:
                    self._audible_since = now
            case Sealed():
                self._reopenable = False
            case Cleared():
                return self._cleared()
            case Over():
                self._over = self.state is TurnState.MAYBE_END
        return self._due(now)

    def silence_ms(self) -> float:
        """How long the caller must be silent before the turn is over, by what is known now."""
        heard = self._heard
        if heard is None:  # the recogniser has a timeout, and audio that is sent at once outruns it
            return math.inf
        options = self.options
        if self._over:
            return 0.0
        if heard.text and looks_unfinished(heard.text, heard.digits_asked):
            return options.unfinished_silence_ms
        if not options.use_p_end or not heard.text:
            return options.commit_silence_ms
        if heard.p_end is None or options.p_end_unfinished <= heard.p_end < options.p_end_sure:
            return options.doubtful_silence_ms
        return (
            options.commit_silence_ms if heard.p_end >= options.p_end_sure else options.unfinished_silence_ms
        )

    def _speech_started(self, at: float) -> list[TurnAction]:
        if self.state is TurnState.CALLER_SPEAKING:
            return []
        if self.state is TurnState.MAYBE_END:
            self.state = TurnState.CALLER_SPEAKING
            return [Drop(self.turn, self.revision)]
        reopen = self._reopenable and (
            self._audible_since is None or (at - self._audible_since) * 1000 <= self.options.reopen_audio_ms
        )
        self.state = TurnState.CALLER_SPEAKING
        self._reopenable = False
        if reopen:
            return [Reopen(self.turn, self.revision)]
        self.turn += 1
        self.revision = 0
        return [Open(self.turn, at)]

    def _speech_ended(self, at: float) -> list[TurnAction]:
        if self.state is not TurnState.CALLER_SPEAKING:
            return []
        self.state = TurnState.MAYBE_END
        self._over = False
        self.revision += 1
        self._speech_end = at
        self._heard = None
        return [Speculate(self.turn, self.revision, at)]

    def _cleared(self) -> list[TurnAction]:
        self._reopenable = False
        if self.state is TurnState.LISTENING:
            return []
        self.state = TurnState.LISTENING
        return [Discard(self.turn, self.revision)]

    def _due(self, now: float) -> list[TurnAction]:
        # A hair of tolerance: times are sums of 20 ms frames.
        if self.state is not TurnState.MAYBE_END:
            return []
        if (now - self._speech_end) * 1000 < self.silence_ms() - 1e-6:
            return []
        self.state = TurnState.LISTENING
        if self._heard is not None and self._heard.text == "":
            self._reopenable = False
            return [Discard(self.turn, self.revision)]
        self._reopenable = True
        self._audible_since = None
        return [Commit(self.turn, self.revision, self._speech_end)]
