"""A voice agent: calls, ways into them, and `Agent` for your own program.

from stretto.agent import Agent
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stretto.agent.agent import Agent, AgentCall
    from stretto.agent.call import SessionOptions
    from stretto.agent.caller_id import CallInformation, call_information
    from stretto.agent.hearing import Recogniser, Recognition
    from stretto.agent.speaking import Voice
    from stretto.agent.sync import SyncAgent
    from stretto.agent.timeline import CallRecord, TurnRecord
    from stretto.llm.language_model import Conversation, LanguageModel
    from stretto.tools.tool import ToolError, tool

_HOMES = {
    "Agent": "stretto.agent.agent",
    "AgentCall": "stretto.agent.agent",
    "CallInformation": "stretto.agent.caller_id",
    "CallRecord": "stretto.agent.timeline",
    "Conversation": "stretto.llm.language_model",
    "LanguageModel": "stretto.llm.language_model",
    "Recogniser": "stretto.agent.hearing",
    "Recognition": "stretto.agent.hearing",
    "SessionOptions": "stretto.agent.call",
    "SyncAgent": "stretto.agent.sync",
    "ToolError": "stretto.tools.tool",
    "TurnRecord": "stretto.agent.timeline",
    "Voice": "stretto.agent.speaking",
    "call_information": "stretto.agent.caller_id",
    "tool": "stretto.tools.tool",
}
__all__ = [
    "Agent",
    "AgentCall",
    "CallInformation",
    "CallRecord",
    "Conversation",
    "LanguageModel",
    "Recogniser",
    "Recognition",
    "SessionOptions",
    "SyncAgent",
    "ToolError",
    "TurnRecord",
    "Voice",
    "call_information",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for, and no model library before that."""
    if name not in _HOMES:
        raise AttributeError(f"stretto.agent has no {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
