"""The turns of a call as a reader wants to see them: words, marks on the time axis, what was dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stretto.agent import events
from stretto.agent.timeline import CallRecord, ToolRecord, TurnRecord
from stretto.audio.pcm import Int16

MARGIN_MS = 250.0
"""Shown before the first sound and after the last one."""


@dataclass
class PausedWord:
    """A pause in the caller's turn, ms from the pick-up.

    `cut_in`: the agent was heard in it, or a tool ran. `committed`: the agent took it for the end (when the
    caller goes on in time, the turn is reopened without a sound).
    """

    turn: int
    start_ms: float
    end_ms: float
    after: str
    cut_in: bool
    committed: bool

    def to_json(self) -> dict[str, Any]:
        times = {"start_ms": round(self.start_ms, 1), "end_ms": round(self.end_ms, 1)}
        return {
            "turn": self.turn,
            **times,
            "after": self.after,
            "cut_in": self.cut_in,
            "committed": self.committed,
        }


@dataclass(eq=False)
class Said:
    """What the caller said, ms from the pick-up. `answer`: the turn that answered its end, if one did."""

    text: str
    start_ms: float
    end_ms: float
    answer: TurnRecord | None
    pauses: list[PausedWord] = field(default_factory=list)


@dataclass
class RecordedCall:
    """What a call was: the session's record and events, and the recording.

    `stereo`: int16 of shape (n, 2) at `rate`, caller left, agent right, from the pick-up on. `said`: the
    caller's own words, where a simulated caller tells them; None: what was heard of them.
    """

    record: CallRecord
    events: Sequence[events.Event]
    stereo: Int16
    rate: int
    said: Sequence[Said] | None = None


@dataclass
class Pass:
    """One denoising pass: when it ended, and the canvas after it (None: a masked token)."""

    at_ms: float
    forward: int
    tokens: tuple[str | None, ...]


@dataclass
class Revision:
    """What was prepared at one soft end. `dropped_ms`: the caller went on, and all of it was void."""

    number: int
    soft_end_ms: float
    transcript_ms: float | None = None
    text: str = ""
    passes: list[Pass] = field(default_factory=list)
    drafts: list[tuple[float, str]] = field(default_factory=list)
    committed_ms: float | None = None
    dropped_ms: float | None = None


@dataclass
class TurnView:
    """One turn of the page. Times are milliseconds from the pick-up.

    `said`: the caller's utterances in it; `spans`: their starts and ends. `record`: the session's own.
    `end_ms`: the caller's last sample; None where the agent spoke unasked (greeting, prompts).
    """

    record: TurnRecord
    said: list[Said] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    spoken: list[tuple[float, str, bool]] = field(default_factory=list)
    barge_ins: list[float] = field(default_factory=list)
    from_ms: float = 0.0
    to_ms: float = 0.0

    @property
    def asked(self) -> bool:
        """The caller said something in it."""
        return bool(self.record.caller or self.said)

    @property
    def spans(self) -> list[tuple[float, float]]:
        return [(said.start_ms, said.end_ms) for said in self.said]

    @property
    def pauses(self) -> list[PausedWord]:
        return [pause for said in self.said for pause in said.pauses]

    @property
    def end_ms(self) -> float | None:
        return self.spans[-1][1] if self.spans else self.record.speech_end_ms

    @property
    def current(self) -> Revision | None:
        """The revision that was answered."""
        kept = [revision for revision in self.revisions if revision.dropped_ms is None]
        return kept[-1] if kept else None

    @property
    def answer_ms(self) -> float | None:
        """From the caller's last sample to the agent's first one after it."""
        first, end = self.record.first_audio_ms, self.end_ms
        return None if first is None or end is None or first < end else first - end

    @property
    def tools(self) -> list[ToolRecord]:
        return self.record.tools


def turn_views(call: RecordedCall) -> list[TurnView]:
    """The call's turns in order of time; an utterance that no turn answered is in the turn it fell into."""
    views = [TurnView(record) for record in call.record.turns]
    _place_callers(heard(call.record) if call.said is None else call.said, views)
    for view in views:
        _marks(call, view)
    _place_agent(call, views)
    shown = [view for view in views if view.said or view.record.agent or view.spoken]
    for view in shown:
        _extent(view, call.record.seconds * 1000)
    return sorted(shown, key=lambda view: view.from_ms)


def heard(record: CallRecord) -> list[Said]:
    """What the caller said as far as the agent knows: the words that it heard, from where to where."""
    return [
        Said(turn.caller, turn.speech_start_ms, turn.speech_end_ms, turn)
        for turn in record.turns
        if turn.caller and turn.speech_start_ms is not None and turn.speech_end_ms is not None
    ]


def _place_callers(utterances: Sequence[Said], views: list[TurnView]) -> None:
    """Give every utterance to the turn that answered it, else to the one open then, else to a new one."""
    for said in utterances:
        view = next((view for view in views if view.record is said.answer), None) or next(
            (
                view
                for view in views
                if view.record.speech_start_ms is not None
                and view.record.speech_start_ms - 500 < said.end_ms
                and said.start_ms < (view.record.speech_end_ms or view.record.speech_start_ms)
            ),
            None,
        )
        if view is None:
            view = TurnView(TurnRecord(0, speech_start_ms=said.start_ms, speech_end_ms=said.end_ms))
            views.append(view)
        view.said.append(said)


def _place_agent(call: RecordedCall, views: list[TurnView]) -> None:
    """Give the agent's words to a turn of their number: to one of the agent's own (greeting, prompt) that
    has just these, else to the caller's that they answer."""
    for event in call.events:
        if not isinstance(event, events.AgentSpeaking):
            continue
        numbered = [view for view in views if view.record.turn == event.turn]
        own = [view for view in numbered if not view.asked and event.text in view.record.agent]
        answers = [view for view in numbered if view.asked and view.record.committed_ms is not None]
        spoken = (event.at_ms, event.text, event.canned)
        if own:
            began = event.at_ms
            min(own, key=lambda view: abs((view.record.first_audio_ms or 0.0) - began)).spoken.append(spoken)
        elif answers:
            answers[0].spoken.append(spoken)


def _marks(call: RecordedCall, view: TurnView) -> None:
    """Collect what the session's events say about the turn."""
    caller = view.asked
    revisions: dict[int, Revision] = {}
    for event in call.events:
        if getattr(event, "turn", None) != view.record.turn:
            continue
        revision = revisions.get(getattr(event, "revision", -1))
        match event:
            case events.SoftEnd(at_ms=at, revision=number) if caller:
                revisions[number] = Revision(number, at)
            case events.CallerFinal(at_ms=at, text=text) if revision:
                revision.transcript_ms, revision.text = at, text
            case events.DenoisingPass(at_ms=at, forward=forward, tokens=tokens) if revision:
                revision.passes.append(Pass(at, forward, tokens))
            case events.DraftReady(at_ms=at, text=text, calls=calls) if revision:
                revision.drafts.append((at, text or ", ".join(calls)))
            case events.Committed(at_ms=at) if revision:
                revision.committed_ms = at
            case events.DraftDropped(at_ms=at) if revision:
                revision.dropped_ms = at
            case events.BargeIn(at_ms=at) if caller:
                view.barge_ins.append(at)
    view.revisions = list(revisions.values())


def _extent(view: TurnView, seconds_ms: float) -> None:
    record = view.record
    times = [at for span in view.spans for at in span]
    times += [at for at, _, _ in view.spoken]
    ends = (record.heard_until_ms, record.first_audio_ms, record.committed_ms)
    times += [at for at in (record.speech_start_ms, *ends) if at is not None]
    view.from_ms = max(0.0, min(times) - MARGIN_MS)
    view.to_ms = min(max(times) + MARGIN_MS, max(seconds_ms, max(times)))
