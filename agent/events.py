"""What a session reports while a call runs: small typed events, in order.

`at_ms` is milliseconds from the start of the call. `turn` counts the caller's turns from 1, `revision` the
soft ends inside one turn from 1; an artefact is current only while both still match.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in the call, `at_ms` milliseconds after its start."""

    at_ms: float

    def to_json(self) -> dict[str, Any]:
        """The event's fields, and its class name under `event`."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class SessionStarted(Event):
    """The agent picked up."""


@dataclass(frozen=True, kw_only=True)
class CallerSpeaking(Event):
    """The caller began a turn; `began_ms` is where in the audio."""

    turn: int
    began_ms: float


@dataclass(frozen=True, kw_only=True)
class CallerPartial(Event):
    """Words heard so far in this turn; `tentative` ones may still change."""

    turn: int
    stable: str
    tentative: str


@dataclass(frozen=True, kw_only=True)
class CallerSilent(Event):
    """Nobody said anything for the prompt's time (`SessionOptions.silence_prompt_s`): the agent asks."""


@dataclass(frozen=True, kw_only=True)
class KeyPressed(Event):
    """The caller pressed a key of the telephone (DTMF): 0-9, *, # or A-D."""

    key: str


@dataclass(frozen=True, kw_only=True)
class KeysEntered(Event):
    """What the caller entered by keys, up to `#` (left out) or a pause; it came in or after turn `turn`."""

    turn: int
    keys: str


@dataclass(frozen=True, kw_only=True)
class SoftEnd(Event):
    """The caller fell silent; a reply is prepared. `speech_end_ms`: the last speech sample."""

    turn: int
    revision: int
    speech_end_ms: float


@dataclass(frozen=True, kw_only=True)
class CallerFinal(Event):
    """The words up to a soft end are final; `confidence` (0..1) is the recogniser's."""

    turn: int
    revision: int
    text: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class DenoisingPass(Event):
    """Pass `forward` (from 1) of the model over the canvas is done; None stands for a masked token."""

    turn: int
    revision: int
    forward: int
    tokens: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class DraftReady(Event):
    """A whole reply is written: words, or names of tools to call, or both; in so many passes and `ms`."""

    turn: int
    revision: int
    text: str
    calls: tuple[str, ...]
    forwards: int
    ms: float


@dataclass(frozen=True, kw_only=True)
class DraftDropped(Event):
    """The caller went on, and what was prepared at that soft end is void.

    `reopened`: the turn was taken to be over (`Committed`) and goes on nevertheless.
    """

    turn: int
    revision: int
    reopened: bool = False


@dataclass(frozen=True, kw_only=True)
class Committed(Event):
    """The caller's turn is over: the reply may be heard and tools may run.

    `speculation`: hit (the draft of the first soft end is ready), revised (that of a later one), miss (none
    is) or off (none was asked for).
    """

    turn: int
    revision: int
    text: str
    speculation: str


@dataclass(frozen=True, kw_only=True)
class TurnIgnored(Event):
    """A sound without words (noise, a cough): no turn was made of it."""

    turn: int


@dataclass(frozen=True, kw_only=True)
class Answering(Event):
    """A reply (counted from 1) may be heard from now on: its caller turn is over, or it needs none."""

    turn: int
    reply: int


@dataclass(frozen=True, kw_only=True)
class Answered(Event):
    """Nothing more comes of a reply. `interrupted`: the caller, or who leads the call, cut it short.

    A reply that ends the call has none: `HangUp` comes last.
    """

    turn: int
    reply: int
    interrupted: bool


@dataclass(frozen=True, kw_only=True)
class ToolRound(Event):
    """Calls are made now, all at once; a `ToolStarted` or `ToolHandedOver` for each follows.

    `words`: something is said with them. `goes_on`: the reply waits for their results.
    """

    turn: int
    call_ids: tuple[str, ...]
    words: bool
    goes_on: bool


@dataclass(frozen=True, kw_only=True)
class ConfirmationAsked(Event):
    """The caller is asked whether these calls shall be made: nothing of them runs before a yes.

    Where the model had asked for just that in its turn before, this comes with the answer, behind it.
    """

    turn: int
    call_ids: tuple[str, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class ConfirmationAnswered(Event):
    """The answer: yes, no, other (the caller wants something else), unsure or silence.

    A `ToolStarted` (or `ToolHandedOver`) for each call follows where it is run. A yes to a question that was
    not heard to its end counts as none, and the question is put again.
    """

    turn: int
    call_ids: tuple[str, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class ToolHandedOver(Event):
    """A call of the reply `reply` that somebody else runs: `Session.result` takes what came of it."""

    turn: int
    reply: int
    call_id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ToolStarted(Event):
    """A tool runs."""

    turn: int
    call_id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ToolFinished(Event):
    """A tool's result (JSON text), or why there is none; `ms` it took."""

    turn: int
    call_id: str
    name: str
    result: str | None
    error: str | None
    ms: float


@dataclass(frozen=True, kw_only=True)
class AgentSpeaking(Event):
    """The first sample of these words leaves for the caller; `canned`: the model did not write them."""

    turn: int
    text: str
    canned: bool


@dataclass(frozen=True, kw_only=True)
class AgentHeard(Event):
    """The agent stopped speaking; `text` is what the caller heard of it, all of it where `complete`."""

    turn: int
    text: str
    complete: bool


@dataclass(frozen=True, kw_only=True)
class BargeIn(Event):
    """The caller spoke while the agent did; playback was stopped."""

    turn: int


@dataclass(frozen=True, kw_only=True)
class FramesDropped(Event):
    """The session could not keep up with the caller's audio; `count` frames were lost in all."""

    count: int


@dataclass(frozen=True, kw_only=True)
class Transfer(Event):
    """The model hands the call over to a person."""


@dataclass(frozen=True, kw_only=True)
class HangUp(Event):
    """The call ends; `reason` as in `CallRecord.ended`."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Failure(Event):
    """A part failed and the call goes on; `part` is one of recogniser, synthesiser, model, tools, session."""

    part: str
    message: str
