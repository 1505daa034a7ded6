"""A call as it happens, in the terminal: both sides, what was heard, and where the time went."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from stretto.agent import events

CALLER, AGENT, QUIET, BAD = "bold cyan", "bold magenta", "dim", "bold red"


class LiveCall:
    """Give it the session's events; a quiet console prints nothing."""

    def __init__(self, console: Console) -> None:
        self.out = console
        self._passes: list[float] = []
        self._marks: dict[str, float] = {}
        self._end = 0.0

    def line(self, at_ms: float | None, who: str, text: str, style: str) -> None:
        """One line: time of the call, who, what."""
        line = Text("        " if at_ms is None else f"{at_ms / 1000:6.1f}  ", style=QUIET)
        line.append(f"{who:<9}", style=style)
        line.append(text, style=QUIET if style == QUIET else "")
        self.out.print(line)

    def event(self, event: events.Event) -> None:
        """Something happened in the session."""
        match event:
            case events.SoftEnd(at_ms=at, speech_end_ms=end):
                self._passes, self._end = [], end
                self._marks = {"soft end": at}
            case events.CallerFinal(at_ms=at, text=text):
                self._marks["transcript"] = at
                self.line(at, "heard", f"“{text}”", QUIET)
            case events.DenoisingPass(at_ms=at):
                self._passes.append(at)
            case events.DraftReady(at_ms=at, forwards=forwards, calls=calls):
                self._marks["call" if calls else "reply"] = at
                self._marks.setdefault(f"{forwards} forwards", at)
            case events.Committed(at_ms=at):
                self._marks["commit"] = at
            case events.ToolStarted(at_ms=at, name=name, arguments=arguments):
                said = ", ".join(f"{key}={shorten(repr(value), 60)}" for key, value in arguments.items())
                self.line(at, "tool", f"{name}({said})", "bold yellow")
            case events.ToolFinished(at_ms=at, result=result, error=error):
                self.line(at, "", error or shorten(result or ""), BAD if error else QUIET)
            case events.AgentSpeaking(at_ms=at, text=text, canned=canned):
                self.line(at, "agent", f"{text}{'   (canned)' if canned else ''}", AGENT)
                if self._end and at > self._end and self._marks:
                    self._marks["first audio"] = at
                    self.line(None, "", self._timeline(), QUIET)
                    self._marks = {}
            case events.BargeIn(at_ms=at):
                self.line(at, "", "the agent stops: the caller is speaking", BAD)
            case events.Failure(at_ms=at, part=part, message=message):
                self.line(at, "failure", f"{part}: {message}", BAD)
            case events.HangUp(at_ms=at, reason=reason):
                self.line(at, "", f"call over ({reason})", QUIET)

    def _timeline(self) -> str:
        marks = sorted(self._marks.items(), key=lambda mark: mark[1])
        return (
            "after the caller's last word: "
            + " · ".join(f"{name} {at - self._end:+.0f}" for name, at in marks if "forwards" not in name)
            + " ms"
        )


def shorten(text: str, length: int = 160) -> str:
    """At most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
