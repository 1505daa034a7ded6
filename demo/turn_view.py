"""The turns of a call as a reader wants to see them: words, marks on the time axis, what was dropped."""

from __future__ import annotations

from dataclasses import dataclass, field

from stretto.agent import events
from stretto.agent.timeline import ToolRecord, TurnRecord
from stretto.demo.spoken_call import PausedWord, SpokenCall, answered, pauses
from stretto.demo.spoken_caller import CallerTurn

MARGIN_MS = 250.0
"""Shown before the first sound and after the last one."""


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
    said: list[CallerTurn] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    pauses: list[PausedWord] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    spoken: list[tuple[float, str, bool]] = field(default_factory=list)
    barge_ins: list[float] = field(default_factory=list)
    from_ms: float = 0.0
    to_ms: float = 0.0

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


def turn_views(call: SpokenCall) -> list[TurnView]:
    """The call's turns in order of time; an utterance that no turn answered is in the turn it fell into."""
    views = [TurnView(record) for record in call.record.turns]
    _place_callers(call, views)
    for view in views:
        _marks(call, view)
    shown = [view for view in views if view.said or view.record.agent or view.spoken]
    for view in shown:
        _extent(view, call.record.seconds * 1000)
    return sorted(shown, key=lambda view: view.from_ms)


def _place_callers(call: SpokenCall, views: list[TurnView]) -> None:
    """Give every utterance to the turn that answered it, else to the one open then, else to a new one."""
    paused = pauses(call)
    for number, (said, record) in enumerate(zip(call.turns, answered(call), strict=True), 1):
        span = call.ms(said.start), call.ms(said.end)
        view = next((view for view in views if view.record is record), None) or next(
            (
                view
                for view in views
                if view.record.speech_start_ms is not None
                and view.record.speech_start_ms - 500 < span[1]
                and span[0] < (view.record.speech_end_ms or view.record.speech_start_ms)
            ),
            None,
        )
        if view is None:
            view = TurnView(TurnRecord(0, speech_start_ms=span[0], speech_end_ms=span[1]))
            views.append(view)
        view.said.append(said)
        view.spans.append(span)
        view.pauses += [pause for pause in paused if pause.turn == number]


def _marks(call: SpokenCall, view: TurnView) -> None:
    """Collect what the session's events say about the turn."""
    caller = bool(view.record.caller or view.said)
    revisions: dict[int, Revision] = {}
    for event in call.events:
        if getattr(event, "turn", None) != view.record.turn:
            continue
        revision = revisions.get(getattr(event, "revision", -1))
        match event:
            case events.AgentSpeaking(at_ms=at, text=text, canned=canned):
                unasked = not caller and view.record.agent == text
                if unasked or (caller and view.record.committed_ms is not None):
                    view.spoken.append((at, text, canned))
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
