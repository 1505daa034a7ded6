"""The page of a call: player, transcript and a picture of every turn. It needs nothing from anywhere else."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from stretto.agent.call_page.picture import call_picture, clock, turn_picture
from stretto.agent.call_page.turn_view import RecordedCall, TurnView, turn_views
from stretto.agent.timeline import CallRecord, summary
from stretto.agent.ways_in.live import shorten
from stretto.audio.pcm import Int16

MARK = re.compile(r"<\w+>")
"""Tokens that are not text: the end of the reply, padding."""
ENDED = {
    "hang_up": "The agent hung up",
    "transfer": "Handed over to a person",
    "caller": "The caller hung up",
    "silence": "The caller fell silent",
    "too_long": "The longest time was over",
}
"""How a call ends that does not break off: see `CallRecord.ended`."""
BLOCK = 24_000
"""Samples written at once: the Vorbis encoder of libsndfile overflows its stack on long ones."""


@dataclass
class About:
    """What the page says around the turns. `good`: how the call ended was meant to be; `why`: more of it.

    `figures`: names and values. `changes`: what the call changed, rows of a database; None: nobody knows.
    """

    title: str
    ended: str
    good: bool
    why: str = ""
    figures: Sequence[tuple[str, str]] = field(default_factory=list)
    changes: Sequence[dict[str, Any]] | None = None
    colophon: str = ""


def write_page(call: RecordedCall, about: About, path: Path, recording: str | None = None) -> None:
    """Write the page of a call; see `page`."""
    path.write_text(page(call, about, recording), encoding="utf-8")


def page(call: RecordedCall, about: About, recording: str | None = None) -> str:
    """The page as HTML. `recording`: the file beside it to play; None: the page holds the sound itself."""
    views = turn_views(call)
    stereo = call.stereo if len(call.stereo) else np.zeros((call.rate, 2), np.int16)
    shown = [turn(view, number, stereo, call.rate) for number, view in enumerate(views)]
    return _read("page.html").format(
        css=_read("page.css"),
        js=_read("page.js"),
        shapes=SHAPES,
        title=escape(about.title),
        verdict=verdict(about),
        figures="".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in about.figures),
        audio=sound(stereo, call.rate) if recording is None else escape(recording, quote=True),
        whole=call_picture(stereo, call.rate, views),
        length=clock(len(stereo) * 1000 / call.rate),
        turns="\n".join(shown),
        changes="" if about.changes is None else changes(about.changes),
        pauses="" if call.said is None else PAUSES,
        passes=json.dumps([passes(view) for view in views], ensure_ascii=False).replace("</", "<\\/"),
        colophon=escape(about.colophon),
    )


def sound(stereo: Int16, rate: int) -> str:
    """The recording as a data URL of Ogg Vorbis: a tenth of the WAV file."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 2, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(stereo), BLOCK):
            file.write(stereo[start : start + BLOCK])
    return f"data:audio/ogg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def about_record(record: CallRecord, title: str, made_by: str, error: str | None = None) -> About:
    """What is to be said of a call where only the session's record is known. `error`: what broke it off."""
    cut_in = ("pauses cut in on", str(sum(turn.cut_in for turn in record.turns)))
    return About(
        title=title,
        ended=ENDED.get(record.ended, "The call broke off") if error is None else "The call broke off",
        good=error is None and record.ended in ENDED,
        why=error or "",
        figures=[*figures(record), cut_in],
        colophon=f"{datetime.now():%Y-%m-%d %H:%M}. Made by {made_by}.",
    )


def verdict(about: About) -> str:
    """How the call ended, as a badge."""
    badge = f'<span class="badge {"good" if about.good else "bad"}">{escape(about.ended)}</span>'
    return f'{badge} <span class="why">{escape(about.why)}</span>' if about.why else badge


def figures(record: CallRecord, answers_ms: dict[str, float | None] | None = None) -> list[tuple[str, str]]:
    """The numbers of a call. `answers_ms`: p50 and max of voice to voice, where they were measured better."""
    measured = summary(record.voice_to_voice_ms()) if answers_ms is None else answers_ms
    turns = [turn for turn in record.turns if turn.caller]
    return [
        ("voice to voice, median", _ms(measured["p50"])),
        ("slowest", _ms(measured["max"])),
        ("turns", str(len(turns))),
        ("tool calls", str(sum(len(turn.tools) for turn in turns))),
        ("forwards a turn", f"{np.mean([turn.forwards for turn in turns]):.0f}" if turns else "–"),
    ]


def turn(view: TurnView, number: int, stereo: Int16, rate: int) -> str:
    """One turn: its words, each a way to its place in the recording, and its picture."""
    lines = []
    for said, (start, end) in zip(view.said, view.spans, strict=True):
        text = escape(said.text)
        for pause in (pause for pause in view.pauses if start <= pause.start_ms <= end):
            after = escape(pause.after)
            kind, note = ("pause cut", ", cut in on") if pause.cut_in else ("pause", "")
            length = f"{pause.end_ms - pause.start_ms:.0f} ms"
            mark = f'<span class="{kind}" title="pause{note}">{length}{note}</span>'
            text = f"{after} {mark} {text[len(after) :].strip()}"
        lines.append(_line("caller", "Caller", text, start, end))
    heard = view.record.caller
    if heard and _plain(heard) != _plain(" ".join(said.text for said in view.said)):
        lines.append(f'<p class="heard"><span>recognised as</span> {escape(heard)}</p>')
    lines += [tool_line(tool.to_json()) for tool in view.tools]
    for at, text, canned in view.spoken:
        note = ' <span class="canned">canned</span>' if canned else ""
        until = view.record.heard_until_ms or at
        lines.append(_line("agent", "Agent", escape(text) + note, at, max(until, at)))
    if view.record.interrupted:
        lines.append(f'<p class="heard"><span>heard until</span> {escape(view.record.heard) or "–"}</p>')
    for failure in view.record.failures:
        lines.append(f'<p class="failure">{escape(failure)}</p>')
    return (
        f'<section class="turn" data-turn="{number}" data-from="{view.from_ms:.0f}" '
        f'data-to="{view.to_ms:.0f}">'
        f'<div class="words">{"".join(lines)}</div>'
        f'<div class="scroll">{turn_picture(view, stereo, rate)}</div>{film(view)}</section>'
    )


def film(view: TurnView) -> str:
    """The canvas of the reply after a few of its passes, from the first to the last."""
    current = view.current
    if current is None or not current.passes:
        return ""
    last = len(current.passes) - 1
    chosen = sorted({0, last // 3, 2 * last // 3, last})
    rows = []
    for number in chosen:
        tokens = "".join(
            "<s>▒▒</s>" if token is None else escape(token)
            for token in current.passes[number].tokens
            if token is None or not MARK.fullmatch(token)
        )
        rows.append(f"<div><b>pass {number + 1}</b>{tokens}</div>")
    return f'<div class="canvas" aria-label="The reply while it is written">{"".join(rows)}</div>'


def tool_line(tool: dict[str, Any]) -> str:
    """A tool call with its arguments and what came back."""
    arguments = ", ".join(
        f"<i>{escape(key)}</i> {escape(shorten(json.dumps(value, ensure_ascii=False), 80))}"
        for key, value in tool["arguments"].items()
    )
    came = "" if tool["result"] is None else json.dumps(tool["result"], ensure_ascii=False)
    result = str(tool["error"] or came)
    kind = " failed" if tool["error"] else ""
    return (
        f'<div class="tool{kind}"><code>{escape(tool["name"])}({arguments})</code>'
        f"<code>→ {escape(shorten(result, 400))}</code></div>"
    )


def changes(made: Sequence[dict[str, Any]]) -> str:
    """What the call changed in the database."""
    rows = [
        f"<li><b>{escape(change['change'])}</b> {escape(change['table'])} "
        f"<code>{escape(json.dumps(change['row'], ensure_ascii=False))}</code></li>"
        for change in made
    ]
    told = f"<ul>{''.join(rows)}</ul>" if rows else "<p>Nothing.</p>"
    return f"<h2>What the call changed</h2>\n{told}\n"


def passes(view: TurnView) -> list[dict[str, Any]]:
    """Every pass of a turn: its name in the picture, its time, the canvas after it."""
    return [
        {
            "id": f"{revision.number}.{number}",
            "at": round(each.at_ms, 1),
            "number": number + 1,
            "tokens": [token for token in each.tokens if token is None or not MARK.fullmatch(token)],
            "void": revision.dropped_ms is not None,
        }
        for revision in view.revisions
        for number, each in enumerate(revision.passes)
    ]


def _line(side: str, who: str, text: str, start: float, end: float) -> str:
    return (
        f'<button type="button" class="line {side}" data-at="{start:.0f}" data-end="{end:.0f}">'
        f'<time>{clock(start)}</time><span class="who">{who}</span><span class="text">{text}</span></button>'
    )


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _read(name: str) -> str:
    return files("stretto.agent.call_page").joinpath(name).read_text(encoding="utf-8")


PAUSES = (
    '<li><svg viewBox="-8 -8 16 16"><rect class="pause" x="-7" y="-7" width="14" height="14"/></svg> A pause '
    "in the middle of the caller's turn, in milliseconds.</li>\n"
)
SHAPES = (
    '<svg width="0" height="0" aria-hidden="true"><defs>'
    '<path id="soft-end" d="M-4.5,0L0,-4.5L4.5,0L0,4.5Z"/>'
    '<circle id="transcript" r="3.8"/>'
    '<path id="commit" d="M-1.6,-8h3.2v16h-3.2z"/>'
    '<path id="dropped" d="M-3.5,-3.5L3.5,3.5M3.5,-3.5L-3.5,3.5"/>'
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line x1="0" x2="0" y1="0" y2="6"/></pattern></defs></svg>'
)
