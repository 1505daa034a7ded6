"""Whoever leads a call decides whether tools are called: what the model is told of it, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from stretto.agent.builtin import BUILT_IN
from stretto.agent.call import SessionOptions
from stretto.llm.language_model import AUTO, ToolChoice
from stretto.tools.tool import tool

OPTIONS = SessionOptions(greeting="")


@tool
async def opening_hours(day: str) -> str:
    """When we are open on a day."""
    return f"Nine to five on {day}."


def choosing(mode: str, *names: str) -> SessionOptions:
    return replace(OPTIONS, tool_choice=ToolChoice(mode, frozenset(names) or None))


def test_a_required_call_is_one_of_the_sessions_own_tools(cast):
    own = ToolChoice("required", frozenset({"opening_hours"}))
    stage = cast.Stage(tools=[opening_hours], options=choosing("required"), until=0.1)
    stage.run()
    assert stage.model.choice == own and set(stage.model.tools) > {spec.name for spec in BUILT_IN}
    stage = cast.Stage(options=choosing("required"), until=0.1)
    stage.run()
    assert stage.model.choice == AUTO, "the agent does not hang up for want of another tool"


def test_the_choice_changes_with_the_call_and_what_was_said_stays_known(cast):
    seen = []

    async def lead(session):
        first = stage.model.conversation
        await session.update(choosing("none"))
        seen.append((stage.model.choice, first.closed, stage.model.tools))
        again = stage.model.conversation
        await session.update(choosing("none"))
        seen.append(stage.model.conversation is again)
        await session.update(choosing("required", "hang_up"))
        seen.append(stage.model.choice)
        session.respond()

    stage = cast.Stage(
        [cast.Says(1.0, 2.0, "good morning")], ["Hello."], tools=[opening_hours], options=OPTIONS,
        acts=[(4.0, lead)], until=6.0,
    )  # fmt: skip
    stage.run()
    offered = ["opening_hours", *(spec.name for spec in BUILT_IN)]
    assert seen == [
        (ToolChoice("none"), True, offered),
        True,
        ToolChoice("required", frozenset({"hang_up"})),
    ]
    assert ("restore", [("user", "good morning"), ("assistant", "Hello.")]) in stage.log


def test_a_tool_that_is_not_there_cannot_be_chosen_and_nothing_changes(cast):
    refused = []

    async def lead(session):
        before = stage.model.conversation
        with pytest.raises(ValueError, match="no tool order_taxi") as error:
            await session.update(choosing("required", "order_taxi"), built_in=())
        refused.append(error)
        assert session.options.tool_choice == AUTO and not before.closed
        await session.update(replace(OPTIONS, system="Another one."))
        assert {spec.name for spec in BUILT_IN} < set(stage.model.tools)

    stage = cast.Stage(tools=[opening_hours], options=OPTIONS, acts=[(1.0, lead)], until=2.0)
    stage.run()
    assert refused
