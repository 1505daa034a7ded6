"""Tools that every session offers and handles itself: ending the call, and handing it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stretto.llm.language_model import AUTO, Call, ToolChoice
from stretto.tools.runner import AnyTool
from stretto.tools.tool import ToolSpec

_NOTHING = {"type": "object", "properties": {}, "required": []}

HANG_UP = ToolSpec("hang_up", "End the call.", _NOTHING)
TRANSFER = ToolSpec("transfer", "Hand over to a person.", _NOTHING)
BUILT_IN = (HANG_UP, TRANSFER)


def check_names(tools: Sequence[AnyTool]) -> None:
    """Raises ValueError for a tool whose name is built in, and for two of one name."""
    names = [tool.spec.name for tool in tools]
    for name in names:
        if name in {spec.name for spec in BUILT_IN}:
            raise ValueError(f"{name} is built in: give your tool another name")
        if names.count(name) > 1:
            raise ValueError(f"two tools are called {name}: give one another name")


def choice_of(choice: ToolChoice, tools: Sequence[AnyTool]) -> ToolChoice:
    """A choice as the model gets it: to hang up is not what whoever requires a call means."""
    if choice.mode == "required" and choice.names is None:
        own = frozenset(tool.spec.name for tool in tools)
        return replace(choice, names=own) if own else AUTO
    return choice


def split(calls: Sequence[Call]) -> tuple[list[Call], str | None]:
    """The calls that tools must run, and how the call ends then (`hang_up`, `transfer` or None)."""
    names = {spec.name for spec in BUILT_IN}
    ends = next((call.name for call in calls if call.name in names), None)
    return [call for call in calls if call.name not in names], ends
