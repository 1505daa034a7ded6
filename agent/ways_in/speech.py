"""From command-line names to a recogniser and a voice."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from stretto.agent.cli import UsageError
from stretto.audio.recognise import ModelError, Recogniser
from stretto.audio.synthesise import Synthesiser, VoiceError


@dataclass
class Speech:
    """What a call listens and speaks with; `close` it after the last call."""

    recogniser: Recogniser
    synthesiser: Synthesiser

    def close(self) -> None:
        self.recogniser.close()
        self.synthesiser.close()


def add_speech_flags(parser: argparse.ArgumentParser) -> None:
    """`--stt`, `--voice`."""
    parser.add_argument("--stt", metavar="NAME|DIR", help="recogniser model (default: the embedded tiny.en)")
    parser.add_argument(
        "--voice",
        metavar="NAME|FILE",
        help="the agent's Piper voice (default: the embedded en_US-joe-medium)",
    )


def load_speech(args: argparse.Namespace) -> Speech:
    """Load and warm both. Raises `UsageError` for a name that is no recogniser or no voice."""
    try:
        synthesiser = Synthesiser(args.voice)
        synthesiser.warm()
        return Speech(Recogniser(args.stt), synthesiser)
    except (ModelError, VoiceError) as error:
        raise UsageError(str(error)) from error
