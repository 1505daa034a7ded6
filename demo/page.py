"""`call.html`: one self-contained page with player, transcript and a picture of every turn."""

from __future__ import annotations

import base64
import io
import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from stretto.agent.ways_in.live import shorten
from stretto.audio.pcm import Int16
from stretto.demo.picture import call_picture, clock, turn_picture
from stretto.demo.spoken_call import SpokenCall
from stretto.demo.turn_view import TurnView, turn_views

MARK = re.compile(r"<\w+>")
"""Tokens that are not text: the end of the reply, padding."""
BLOCK = 24_000
"""Samples written at once: the Vorbis encoder of libsndfile overflows its stack on long ones."""


def write_page(call: SpokenCall, fields: dict[str, Any], path: Path) -> None:
    """Write the page of a call; nothing in it comes from anywhere else."""
    path.write_text(page(call, fields), encoding="utf-8")


def page(call: SpokenCall, fields: dict[str, Any]) -> str:
    """The page as HTML. `fields`: what `call.json` holds."""
    views = turn_views(call)
    stereo = call.stereo if len(call.stereo) else np.zeros((call.rate, 2), np.int16)
    shown = [turn(view, number, stereo, call.rate) for number, view in enumerate(views)]
    return _read("page.html").format(
        css=_read("page.css"),
        js=_read("page.js"),
        shapes=SHAPES,
        goal=escape(fields["goal"]),
        verdict=verdict(fields),
        figures=figures(fields),
        audio=sound(stereo, call.rate),
        whole=call_picture(stereo, call.rate, views),
        length=clock(len(stereo) * 1000 / call.rate),
        turns="\n".join(shown),
        changes=changes(fields),
        passes=json.dumps([passes(view) for view in views], ensure_ascii=False).replace("</", "<\\/"),
        colophon=escape(f"Seed {fields['seed']}, weights: {fields['weights']}. Made by `stretto demo`."),
    )


def sound(stereo: Int16, rate: int) -> str:
    """The recording as Ogg Vorbis in base64: a tenth of the WAV file."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 2, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(stereo), BLOCK):
            file.write(stereo[start : start + BLOCK])
    return base64.b64encode(buffer.getvalue()).decode()


def verdict(fields: dict[str, Any]) -> str:
    """Whether the call reached its goal, as a badge."""
    if fields["goal_met"]:
        return '<span class="badge good">Goal met</span>'
    return f'<span class="badge bad">Goal not met</span> <span class="why">{escape(fields["why"])}</span>'


def figures(fields: dict[str, Any]) -> str:
    """The numbers of the call, as a list of terms."""
    measured, paused = fields["measured"], fields["pauses"]
    turns = [turn for turn in fields["turns"] if turn["caller"]]
    tools = sum(len(turn["tools"]) for turn in turns)
    rows = [
        ("voice to voice, median", _ms(measured["file_ms"]["p50"])),
        ("slowest", _ms(measured["file_ms"]["max"])),
        ("turns", str(len(turns))),
        ("tool calls", str(tools)),
        ("forwards a turn", f"{np.mean([turn['forwards'] for turn in turns]):.0f}" if turns else "–"),
        ("pauses cut in on", f"{paused['cut_in']} of {paused['total']}"),
    ]
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)


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


def changes(fields: dict[str, Any]) -> str:
    """What the call changed in the database."""
    rows = [
        f"<li><b>{escape(change['change'])}</b> {escape(change['table'])} "
        f"<code>{escape(json.dumps(change['row'], ensure_ascii=False))}</code></li>"
        for change in fields["database_changes"]
    ]
    return f"<ul>{''.join(rows)}</ul>" if rows else "<p>Nothing.</p>"


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
    return files("stretto.demo").joinpath(name).read_text(encoding="utf-8")


SHAPES = (
    '<svg width="0" height="0" aria-hidden="true"><defs>'
    '<path id="soft-end" d="M-4.5,0L0,-4.5L4.5,0L0,4.5Z"/>'
    '<circle id="transcript" r="3.8"/>'
    '<path id="commit" d="M-1.6,-8h3.2v16h-3.2z"/>'
    '<path id="dropped" d="M-3.5,-3.5L3.5,3.5M3.5,-3.5L-3.5,3.5"/>'
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line x1="0" x2="0" y1="0" y2="6"/></pattern></defs></svg>'
)
