"""The demo's `call.html`: the page of any call, with the caller's own words, the goal and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stretto.agent.call_page import page as call_page
from stretto.agent.call_page.page import About, figures
from stretto.agent.call_page.turn_view import RecordedCall, Said
from stretto.demo.spoken_call import SpokenCall, answered, pauses


def write_page(call: SpokenCall, fields: dict[str, Any], path: Path) -> None:
    """Write the page of a call. `fields`: what `call.json` holds."""
    call_page.write_page(recorded(call), about(call, fields), path)


def page(call: SpokenCall, fields: dict[str, Any]) -> str:
    """The page as HTML."""
    return call_page.page(recorded(call), about(call, fields))


def recorded(call: SpokenCall) -> RecordedCall:
    """The call as the page takes it: every utterance of the caller with its pauses and its answer."""
    paused = pauses(call)
    said = [
        Said(
            each.text,
            call.ms(each.start),
            call.ms(each.end),
            answer,
            [pause for pause in paused if pause.turn == number],
        )
        for number, (each, answer) in enumerate(zip(call.turns, answered(call), strict=True), 1)
    ]
    return RecordedCall(call.record, call.events, call.stereo, call.rate, said)


def about(call: SpokenCall, fields: dict[str, Any]) -> About:
    """The goal, whether it was met, and what was measured in the recording."""
    met, paused = fields["goal_met"], fields["pauses"]
    cut_in = ("pauses cut in on", f"{paused['cut_in']} of {paused['total']}")
    return About(
        title=fields["goal"],
        ended="Goal met" if met else "Goal not met",
        good=met,
        why="" if met else fields["why"],
        figures=[*figures(call.record, fields["measured"]["file_ms"]), cut_in],
        changes=fields["database_changes"],
        colophon=f"Seed {fields['seed']}, weights: {fields['weights']}. Made by `stretto demo`.",
    )
