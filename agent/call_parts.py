"""What a command that holds calls needs: model, tools, ears, voice and broker, of its flags and settings."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass

from stretto.agent.brain import (
    ToolSet,
    add_model_flags,
    add_tool_flags,
    check_tools,
    load_model,
    load_tool_set,
    with_mcp,
)
from stretto.agent.call import SessionOptions
from stretto.agent.config import settings_of
from stretto.agent.mqtt_link import MqttLink, link_of, observed
from stretto.agent.settings import Settings
from stretto.agent.ways_in.speech import Speech, add_speech_flags, load_speech
from stretto.audio.threads import limit_threads
from stretto.llm.language_model import LanguageModel


@dataclass(frozen=True)
class CallParts:
    """Open as long as the stack that `open_parts` was given. `link`: to be entered while calls are held."""

    settings: Settings
    model: LanguageModel
    chosen: ToolSet
    speech: Speech
    link: MqttLink | None

    def options(self, rate: int | None = None) -> SessionOptions:
        """A call's, which the broker is told of. `rate`: of the way in, Hz."""
        options = self.settings.session_options(self.chosen.system, self.chosen.canned, rate)
        return observed(options, self.link)


def add_part_flags(parser: argparse.ArgumentParser) -> None:
    """Which parts."""
    add_tool_flags(parser)
    add_model_flags(parser)
    add_speech_flags(parser)


def open_parts(args: argparse.Namespace, stack: contextlib.ExitStack) -> CallParts:
    """Load all. Raises UsageError for what cannot be used."""
    limit_threads()
    settings = settings_of(args)
    model = load_model(args)
    stack.callback(model.close)
    chosen = load_tool_set(args)
    check_tools(model, chosen.tools)
    link = link_of(settings.mqtt, chosen.tools)
    chosen = with_mcp(args, model, chosen, stack)
    speech = load_speech(args)
    stack.callback(speech.close)
    return CallParts(settings, model, chosen, speech, link)
