"""Tools that every session offers and handles itself: ending the call, and handing it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stretto.llm.language_model import AUTO, Call, Conversation, LanguageModel, ToolChoice
from stretto.llm.language_model import ToolSpec as Offered
from stretto.tools.runner import AnyTool, ToolRunner
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


def checked(tools: Sequence[AnyTool], built_in: Sequence[Offered]) -> tuple[AnyTool, ...]:
    """A session's own tools. Raises ValueError for a name that is built in, and for two of one name."""
    taken = {spec.name for spec in built_in} & {tool.spec.name for tool in tools}
    if taken:
        raise ValueError(f"{', '.join(sorted(taken))} is built in: give your tool another name")
    ToolRunner(tools)  # raises for two of one name
    return tuple(tools)


def open_conversation(
    model: LanguageModel,
    system: str,
    tools: Sequence[Offered],
    built_in: Sequence[Offered],
    choice: ToolChoice,
) -> Conversation:
    """A dialogue in which a session's own tools and the built-in ones can be called."""
    if choice.mode == "required" and choice.names is None:
        # To hang up is not what whoever requires a call means.
        own = frozenset(tool.name for tool in tools)
        choice = replace(choice, names=own) if own else AUTO
    return model.open(system, [*tools, *built_in], choice)


def split(calls: Sequence[Call]) -> tuple[list[Call], str | None]:
    """The calls that tools must run, and how the call ends then (`hang_up`, `transfer` or None)."""
    names = {spec.name for spec in BUILT_IN}
    ends = next((call.name for call in calls if call.name in names), None)
    return [call for call in calls if call.name not in names], ends
