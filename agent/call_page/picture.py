"""Pictures of a call on a time axis, as SVG: the whole call, and every turn with all that went on in it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from stretto.agent.call_page.turn_view import PausedWord, Revision, TurnView
from stretto.agent.timeline import ToolRecord
from stretto.audio.pcm import Int16

WIDTH = 1000
GUTTER = 104
"""Room for the names of the lanes, pixels."""
RIGHT = 14
VOICE, MARK, AXIS, TOP = 50, 21, 22, 24
"""Heights: a voice's lane, a lane of marks, the axis, the room for the bracket above."""
TOOL_LANES = 4
"""More tools share the last lane."""
FULL_SCALE = 0.5
"""Amplitude (of 1) that fills a voice's lane."""


@dataclass(frozen=True)
class Scale:
    """Milliseconds to pixels."""

    from_ms: float
    to_ms: float
    left: float = GUTTER
    right: float = WIDTH - RIGHT

    def x(self, ms: float) -> float:
        return self.left + (ms - self.from_ms) / (self.to_ms - self.from_ms) * (self.right - self.left)


def peaks(pcm: Int16, rate: int, from_ms: float, to_ms: float, columns: int) -> npt.NDArray[np.float64]:
    """Largest amplitude (0..1) in each of `columns` equal pieces of a stretch; outside there is silence."""
    edges = np.linspace(from_ms, to_ms, columns + 1) * rate / 1000
    bounds = np.clip(np.round(edges).astype(int), 0, len(pcm))
    # Piece by piece: a long call as floats would take a hundred megabytes.
    loud = [np.abs(pcm[a:b].astype(np.int32)).max() if b > a else 0 for a, b in pairwise(bounds)]
    return np.array(loud) / 32768.0


def wave(
    levels: npt.NDArray[np.float64], left: float, right: float, middle: float, half: float, name: str
) -> str:
    """A waveform, mirrored at its middle."""
    heights = np.minimum(levels / FULL_SCALE, 1.0) ** 0.8 * half
    xs = np.linspace(left, right, len(levels))
    upper = [f"{x:.1f},{middle - max(h, 0.4):.1f}" for x, h in zip(xs, heights, strict=True)]
    lower = [f"{x:.1f},{middle + max(h, 0.4):.1f}" for x, h in zip(xs[::-1], heights[::-1], strict=True)]
    return f'<path class="wave {name}" d="M{"L".join(upper + lower)}Z"/>'


def axis(scale: Scale, top: float, bottom: float) -> str:
    """Vertical lines at round times, labelled with the time of the call."""
    span = scale.to_ms - scale.from_ms
    step = next(s for s in (500, 1000, 2000, 5000, 10_000, 20_000, 60_000) if span / s <= 14 or s == 60_000)
    parts = []
    for ms in range(int(-(-scale.from_ms // step) * step), int(scale.to_ms) + 1, step):
        x = scale.x(ms)
        parts.append(upright("grid", x, top, bottom))
        parts.append(text("tick", x, bottom + 14, clock(ms, step < 1000)))
    return "".join(parts)


def clock(ms: float, tenths: bool = False) -> str:
    """Time of the call: "1:05" or "1:05.5"."""
    seconds = ms / 1000
    return (
        f"{int(seconds // 60)}:{seconds % 60:04.1f}"
        if tenths
        else f"{int(seconds // 60)}:{int(seconds % 60):02d}"
    )


def call_picture(stereo: Int16, rate: int, views: list[TurnView]) -> str:
    """The whole call: the caller above, the agent below, the answers' gaps between them."""
    length = len(stereo) * 1000 / rate
    scale = Scale(0, max(length, 1000.0), 16, WIDTH - 16)
    half, bottom, height = 30, 76.0, 96
    parts = [axis(scale, 6, bottom)]
    for view in views:
        if view.answer_ms is not None and view.end_ms is not None:
            left, right = scale.x(view.end_ms), scale.x(view.end_ms + view.answer_ms)
            parts.append(rect("gap", left, 6, max(right - left, 1.5), bottom - 6))
    for channel, name, centre in ((0, "caller", bottom / 2 - half / 2), (1, "agent", bottom / 2 + half / 2)):
        levels = peaks(stereo[:, channel], rate, 0, scale.to_ms, 900)
        parts.append(wave(levels, scale.left, scale.right, centre, half / 2, name))
    parts.append(upright("playhead", scale.left, 2, bottom + 2))
    return svg('id="whole" class="picture"', scale, height, "Waveforms of both sides of the call", parts)


def turn_picture(view: TurnView, stereo: Int16, rate: int) -> str:
    """One turn: caller, soft ends, transcript, denoising passes, commit, tools, agent, on one time axis."""
    scale = Scale(view.from_ms, max(view.to_ms, view.from_ms + 500))
    lanes = [("caller", VOICE)] if view.spans or view.revisions else []
    if view.revisions:
        lanes += [("silence noticed", MARK), ("words final", MARK), ("denoising", MARK), ("turn over", MARK)]
    lanes += [(f"tool {index}", MARK) for index in range(min(len(view.tools), TOOL_LANES))]
    lanes.append(("agent", VOICE))
    tops: dict[str, float] = {}
    y = float(TOP)
    for name, height in lanes:
        tops[name] = y
        y += height
    parts = [axis(scale, TOP, y), *(_lane(name, tops[name], height) for name, height in lanes)]
    parts.append(_bracket(view, scale, y))
    for channel, name in ((0, "caller"), (1, "agent")):
        if name in tops:
            levels = peaks(stereo[:, channel], rate, view.from_ms, scale.to_ms, 440)
            parts.append(wave(levels, scale.left, scale.right, tops[name] + VOICE / 2, VOICE / 2 - 3, name))
    if "caller" in tops:
        parts += [_pause(scale, tops["caller"], pause) for pause in view.pauses]
    parts += [_revision(view, revision, scale, tops) for revision in view.revisions]
    parts += [
        _tool(tool, scale, tops[f"tool {min(index, TOOL_LANES - 1)}"], index < TOOL_LANES)
        for index, tool in enumerate(view.tools)
    ]
    for at in view.barge_ins:
        parts.append(_label(scale, at, tops["agent"] + 12, "stops: the caller speaks", "barge"))
    parts.append(upright("playhead", -9, TOP - 6, y))
    return svg('class="picture turn"', scale, y + AXIS, description(view), parts)


def description(view: TurnView) -> str:
    """The picture in words."""
    if view.answer_ms is None or view.end_ms is None:
        return "The agent speaks."
    current, record = view.current, view.record
    marks = [("silence noticed", current.soft_end_ms if current else None)]
    marks += [("transcript", record.transcript_ms), ("draft", record.draft_ms)]
    marks += [("commit", record.committed_ms), ("first audio", record.first_audio_ms)]
    said = [f"{name} after {at - view.end_ms:.0f} ms" for name, at in marks if at is not None]
    return f"From the caller's last word: {', '.join(said)}. {len(record.passes_ms)} denoising passes."


# ---------------------------------------------------------------------- elements


def svg(attributes: str, scale: Scale, height: float, label: str, parts: list[str]) -> str:
    """The picture; its scale goes along so that the page can place the playhead."""
    return (
        f'<svg {attributes} viewBox="0 0 {WIDTH} {height:.0f}" data-left="{scale.left}" '
        f'data-right="{scale.right}" data-from="{scale.from_ms:.1f}" data-to="{scale.to_ms:.1f}" '
        f'role="img" aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg>'
    )


def rect(name: str, x: float, y: float, width: float, height: float, more: str = "") -> str:
    """A rectangle of a class."""
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" {size}{more}/>'


def upright(name: str, x: float, top: float, bottom: float, more: str = "") -> str:
    """A vertical line of a class."""
    ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"'
    return f'<line class="{name}" {ends}{more}/>'


def text(name: str, x: float, y: float, words: str, more: str = "") -> str:
    """Words of a class, at their baseline."""
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


# ---------------------------------------------------------------------- parts of a turn


def _lane(name: str, top: float, height: float) -> str:
    shown = "tool" if name.startswith("tool ") else name
    bottom = top + height
    rule = f'<path class="rule" d="M{GUTTER},{bottom:.1f}H{WIDTH - RIGHT}"/>'
    return text(f"lane{' voice' * (height == VOICE)}", GUTTER - 12, top + height / 2 + 4, shown) + rule


def _bracket(view: TurnView, scale: Scale, bottom: float) -> str:
    """The gap between the caller's last sample and the agent's first one."""
    if view.answer_ms is None or view.end_ms is None:
        return ""
    left, right = scale.x(view.end_ms), scale.x(view.end_ms + view.answer_ms)
    return (
        rect("gap", left, TOP - 4, right - left, bottom - TOP + 4)
        + f'<path class="bracket" d="M{left:.1f},{TOP}v-6H{right:.1f}v6"/>'
        + text("answer", (left + right) / 2, TOP - 10, f"{view.answer_ms:.0f} ms")
    )


def _pause(scale: Scale, top: float, pause: PausedWord) -> str:
    left, right = scale.x(pause.start_ms), scale.x(pause.end_ms)
    name = "pause cut" if pause.cut_in else "pause"
    length = f"{pause.end_ms - pause.start_ms:.0f}"
    return rect(name, left, top + 5, right - left, VOICE - 10) + text(
        name, (left + right) / 2, top + VOICE / 2 + 4, length
    )


def _since(view: TurnView, at: float) -> str:
    return "" if view.end_ms is None else f"{at - view.end_ms:+.0f} ms"


def _label(scale: Scale, at: float, y: float, words: str, name: str = "", gap: float = 7) -> str:
    """Words beside a mark: to its right, or to its left where the picture ends."""
    x = scale.x(at)
    if x + gap + len(words) * 6.1 > WIDTH - RIGHT:
        return text(f"label {name}", x - gap, y, words, ' text-anchor="end"')
    return text(f"label {name}", x + gap, y, words)


def _revision(view: TurnView, revision: Revision, scale: Scale, tops: dict[str, float]) -> str:
    """The marks of one soft end; without labels and in grey where the caller went on."""
    dropped = revision.dropped_ms is not None
    named = not dropped and revision is view.current
    parts: list[str] = []

    def mark(at: float, lane: str, shape: str) -> None:
        y = tops[lane] + MARK / 2
        parts.append(f'<use href="#{shape}" class="{shape}" x="{scale.x(at):.1f}" y="{y:.1f}"/>')
        if named:
            parts.append(_label(scale, at, y + 4, _since(view, at)))

    mark(revision.soft_end_ms, "silence noticed", "soft-end")
    if revision.transcript_ms is not None:
        mark(revision.transcript_ms, "words final", "transcript")
    y = tops["denoising"] + MARK / 2
    for number, each in enumerate(revision.passes):
        name = f' data-pass="{revision.number}.{number}"'
        parts.append(upright("pass", scale.x(each.at_ms), y - 6.5, y + 6.5, name))
    if revision.passes and named:
        count, last = len(revision.passes), revision.passes[-1].at_ms
        words = f"{count} pass{'es' * (count > 1)}, {_since(view, last)}"
        parts.append(_label(scale, last, y + 4, words))
    if revision.committed_ms is not None:
        mark(revision.committed_ms, "turn over", "commit")
    if revision.dropped_ms is not None:
        mark(revision.dropped_ms, "turn over", "dropped")
    return f'<g class="revision{" void" if dropped else ""}">{"".join(parts)}</g>'


def _tool(tool: ToolRecord, scale: Scale, top: float, named: bool) -> str:
    end = tool.start_ms if tool.end_ms is None else tool.end_ms
    left, right = scale.x(tool.start_ms), scale.x(end)
    name = "tool failed" if tool.error else "tool"
    bar = rect(name, left, top + 5, max(right - left, 4), MARK - 10, ' rx="2"')
    took = "" if tool.ms is None else f" {tool.ms:.0f} ms"
    return bar + (_label(scale, end, top + MARK / 2 + 4, f"{tool.name}{took}", "tool", 9) if named else "")
