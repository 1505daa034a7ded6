"""A call as it happens, in a live terminal: both levels, words as they come, the reply while it is written.

What is over stays above as plain lines; the panel below shows what goes on. A thread of its own writes all of
it, so a terminal that stands still (Ctrl-S) does not stop the call.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text
from stretto.agent import events
from stretto.agent.ways_in.live import AGENT, BAD, CALLER, QUIET, LiveCall, shorten

SPECIAL = re.compile(r"<\w+>")
"""Tokens that are not text: the end of the reply, padding."""
MASK = "▒▒"
FLOOR_DB = -60.0
"""Where the meters begin."""
METER = 30
"""Columns of a meter."""
REFRESH_S = 0.08
STUCK_S = 2.0
"""At the end the terminal may take so long."""
LINES_WAITING = 1000
Levels = Callable[[], tuple[float, float]]
"""Loudness of caller and agent just now, dB of full scale."""


class TalkView(LiveCall):
    """Give it the session's events; `with view.shown(levels):` around the call draws them."""

    def __init__(self, console: Console, hint: str = "Ctrl-C hangs up") -> None:
        super().__init__(console)
        self._hint = hint
        self._levels: Levels = lambda: (FLOOR_DB, FLOOR_DB)
        self._lines: deque[tuple[float | None, str, str, str]] = deque(maxlen=LINES_WAITING)
        self._lock = threading.Lock()
        self._state = "picks up"
        self._words = ("", "")
        self._canvas: tuple[str | None, ...] = ()
        self._fresh: frozenset[int] = frozenset()
        self._forward = 0
        self._end = 0.0
        self._at: list[tuple[str, float]] = []
        self._last: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def shown(self, levels: Levels) -> Iterator[None]:
        """Write lines and panel while the block runs; `levels` is asked before every drawing."""
        self._levels = levels
        over = threading.Event()

        def draw() -> None:
            with Live(
                get_renderable=self.render, console=self.out, auto_refresh=False, transient=True
            ) as live:
                while not over.wait(REFRESH_S):
                    self._write_lines()
                    live.refresh()
                self._write_lines()

        thread = threading.Thread(target=draw, name="stretto-view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(STUCK_S)

    def line(self, at_ms: float | None, who: str, text: str, style: str) -> None:
        """One line above the panel, soon."""
        self._lines.append((at_ms, who, text, style))

    def _write_lines(self) -> None:
        while self._lines:
            super().line(*self._lines.popleft())

    def event(self, event: events.Event) -> None:
        """Something happened in the session."""
        with self._lock:
            self._note(event)
        super().event(event)

    def _note(self, event: events.Event) -> None:
        match event:
            case events.SessionStarted() | events.AgentHeard() | events.BargeIn() | events.TurnIgnored():
                self._state = "listens"
            case events.CallerSpeaking():
                self._state, self._words = "hears you", ("", "")
                self._canvas = ()
            case events.CallerPartial(stable=stable, tentative=tentative):
                self._words = stable.strip(), tentative.strip()
            case events.SoftEnd(at_ms=at, speech_end_ms=end):
                self._state, self._end, self._at = "thinks", end, [("soft end", at)]
                self._canvas, self._forward = (), 0
            case events.CallerFinal(at_ms=at, text=text):
                self._words = text, ""
                self._at.append(("transcript", at))
            case events.DenoisingPass(at_ms=at, forward=forward, tokens=tokens):
                before = self._canvas if forward > self._forward else ()
                self._fresh = frozenset(
                    number
                    for number, token in enumerate(tokens)
                    if token is not None and (number >= len(before) or before[number] != token)
                )
                self._canvas, self._forward = tokens, forward
                self._at.append(("pass", at))
            case events.DraftDropped():
                self._state, self._at = "hears you", []
            case events.Committed(at_ms=at):
                self._at.append(("commit", at))
            case events.ToolStarted(name=name):
                self._state = f"asks {name}"
            case events.AgentSpeaking(at_ms=at):
                self._state, self._words = "speaks", ("", "")
                if self._at:
                    self._last = [*self._at, ("first audio", at)]
                    self._at = []
            case events.HangUp():
                self._state = "has hung up"

    # ------------------------------------------------------------------ the panel

    def render(self) -> Panel:
        """The panel as it is now."""
        caller, agent = self._levels()
        with self._lock:
            rows: list[RenderableType] = [
                meter("you", caller, CALLER),
                meter("agent", agent, AGENT),
                self._heard(),
                self._written(),
                timeline(self._last, self._end, max(20, min(self.out.width - 16, 100))),
            ]
            title = f"the agent {self._state}"
        return Panel(Group(*rows), title=title, subtitle=self._hint, border_style=QUIET)

    def _heard(self) -> Text:
        stable, tentative = self._words
        line = Text("words    ", style=QUIET, no_wrap=True, overflow="ellipsis")
        # The end of a long sentence is what is new.
        room = max(20, self.out.width - 16)
        text = Text(stable, style="default")
        text.append(f"{' ' if stable and tentative else ''}{tentative}", style=QUIET)
        return line.append_text(text if len(text) <= room else Text("…").append_text(text[1 - room :]))

    def _written(self) -> Text:
        line = Text("reply    ", style=QUIET)
        for number, token in enumerate(self._canvas):
            if token is None:
                line.append(MASK, style=QUIET)
            elif not SPECIAL.fullmatch(token):
                line.append(
                    token.replace("\n", " "), style="bold green" if number in self._fresh else "default"
                )
        if self._forward:
            line.append(f"   pass {self._forward}", style=QUIET)
        return line


def meter(who: str, db: float, style: str) -> Text:
    """One level as a bar from -60 to 0 dB."""
    filled = round(METER * min(1.0, max(0.0, (db - FLOOR_DB) / -FLOOR_DB)))
    line = Text(f"{who:<9}", style=QUIET, no_wrap=True)
    line.append("█" * filled, style=BAD if db > -3 else style)
    line.append("░" * (METER - filled), style=QUIET)
    return line.append(f" {db:4.0f} dB" if db > FLOOR_DB else "    - dB", style=QUIET)


SIGNS = {"soft end": "◇", "transcript": "●", "pass": "·", "commit": "┃", "first audio": "▶"}


def timeline(marks: list[tuple[str, float]], end_ms: float, width: int) -> Group:
    """The last answer from the caller's last word to the agent's first: a line of marks and their times."""
    line = Text("timeline ", style=QUIET, no_wrap=True)
    if not marks:
        return Group(line, Text())
    span = max(1.0, max(at for _, at in marks) - end_ms)
    cells = ["─"] * width
    for name, at in marks:
        cell = min(width - 1, max(0, round((at - end_ms) / span * (width - 1))))
        if name != "pass" or cells[cell] == "─":  # a pass hides nothing
            cells[cell] = SIGNS[name]
    line.append("".join(cells), style="default")
    told = {name: at for name, at in marks if name != "pass"}
    passes = sum(name == "pass" for name, _ in marks)
    words = [f"{SIGNS[name]} {name} {at - end_ms:+.0f}" for name, at in told.items()]
    if passes:
        words.insert(-1, f"· {passes} passes")
    return Group(line, Text(shorten(" " * 9 + "  ".join(words) + " ms"), style=QUIET, no_wrap=True))
