"""The commands of this room."""

from __future__ import annotations

import argparse

from stretto.agent import call_command, chat, doctor, serve_command, talk_command


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the agent's commands to `stretto`."""
    chat.register(subparsers)
    call_command.register(subparsers)
    talk_command.register(subparsers)
    serve_command.register(subparsers)
    doctor.register(subparsers)
