"""The demo call in the terminal: what the caller says, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stretto.agent.ways_in.live import BAD, CALLER, QUIET, LiveCall, shorten
from stretto.demo.spoken_caller import CallerTurn


class LiveDemo(LiveCall):
    """Beside the session's events it takes the caller's own words, and the summary at the end."""

    def caller(self, turn: CallerTurn) -> None:
        """The caller begins to say this."""
        pauses = ", ".join(f"{pause.end_ms - pause.start_ms:.0f} ms" for pause in turn.pauses)
        text, marked = turn.text, turn.pauses[0].after if turn.pauses else ""
        if marked:
            text = f"{marked} … {text[len(marked) :].strip()}   ({pauses} pause)"
        self.line(None, "caller", text, CALLER)

    def summary(self, fields: dict[str, Any], out: Path) -> None:
        """What came of it, and where it lies."""
        measured, pauses = fields["measured"], fields["pauses"]
        self.out.print()
        met = fields["goal_met"]
        self.line(None, "goal", fields["goal"], "bold")
        self.line(None, "", f"{'met' if met else 'NOT met'}: {fields['why']}", "green" if met else BAD)
        for change in fields["database_changes"]:
            self.line(
                None,
                "database",
                f"{change['change']} in {change['table']}: {shorten(json.dumps(change['row']))}",
                "bold",
            )
        self.out.print()
        self.out.print(f"  {'turn':>5}{'timeline':>11}{'recording':>11}{'apart':>8}", style=QUIET)
        for row in measured["turns"]:
            timeline, file, apart = row["timeline_ms"], row["file_ms"], row["apart_ms"]
            mark = "  with tools" if row["tools"] else ""
            turn = "-" if row["turn"] is None else row["turn"]
            self.out.print(f"  {turn:>5}{_ms(timeline):>11}{_ms(file):>11}{_ms(apart):>8}{mark}")
        for name, key in (
            ("all", "file_ms"),
            ("without tools", "file_without_tools_ms"),
            ("with tools", "file_with_tools_ms"),
        ):
            values = measured[key]
            self.out.print(
                f"  voice to voice, {name}: p50 {_ms(values['p50'])}, p95 {_ms(values['p95'])}, "
                f"max {_ms(values['max'])}"
            )
        self.out.print(f"  pauses: {pauses['total']}, cut in on: {pauses['cut_in']}")
        self.out.print(f"\n  {out / 'call.wav'}\n  {out / 'call.json'}\n  {out / 'call.html'}")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
