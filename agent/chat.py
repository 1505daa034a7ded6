"""`stretto chat`: the agent in text, one line in, one line out; `--show-canvas` shows it being written."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text
from stretto.agent.answer import Answer, answer
from stretto.agent.brain import (
    add_model_flags,
    add_tool_flags,
    check_tools,
    load_model,
    load_tool_set,
    with_mcp,
)
from stretto.agent.builtin import BUILT_IN
from stretto.agent.cli import print_result
from stretto.agent.config import settings_of
from stretto.agent.mqtt_link import link_of, within
from stretto.agent.text_asking import TextDialogue
from stretto.llm.language_model import Canvas, Draft, Settled
from stretto.tools.runner import ToolRunner


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto chat`."""
    parser = subparsers.add_parser("chat", help="text in, reply out; reads lines from standard input")
    add_model_flags(parser)
    add_tool_flags(parser)
    parser.add_argument("--show-canvas", action="store_true", help="show the canvas while it is denoised")
    parser.set_defaults(run=run_chat)


def run_chat(args: argparse.Namespace) -> int:
    """Chat until the input ends or the agent hangs up."""
    print_result(args, {"turns": chat(args)})
    return 0


def lines() -> Iterator[str]:
    """The caller's lines: typed at a prompt, or piped in."""
    while True:
        if sys.stdin.isatty():
            print("you: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def turn_fields(words: str, reply: Answer) -> dict[str, Any]:
    """One turn; without audio all of it counts as heard, nothing was speculated, and there are no times."""
    return {
        "caller": words,
        "agent": reply.text,
        "heard": reply.text,
        "tools": reply.tools,
        "speech_end_ms": None,
        "committed_ms": None,
        "first_audio_ms": None,
        "voice_to_voice_ms": None,
        "forwards": reply.forwards,
        "ms": round(reply.ms, 1),
        "speculation": "off",
        "canned": reply.canned,
        "interrupted": False,
        "failure": reply.failure,
    }


def chat(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The loop; returns the turns. Lines are read between the turns, while the event loop stands still."""
    model = load_model(args)
    out = Console(file=sys.stderr if args.json else sys.stdout, highlight=False, quiet=args.quiet)
    turns: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        stack.callback(model.close)
        chosen = load_tool_set(args)
        check_tools(model, chosen.tools)
        settings = settings_of(args)
        link = link_of(settings.mqtt, chosen.tools, told=False)
        tools = list(with_mcp(args, model, chosen, stack).tools)
        canned = settings.session_options(chosen.system, chosen.canned).canned
        runner = ToolRunner(tools)
        dialogue = TextDialogue()
        dialogue.agent(canned.greeting)
        conversation = model.open(chosen.system, [*(t.spec for t in tools), *BUILT_IN])
        with asyncio.Runner() as loop:
            loop.run(conversation.say(canned.greeting))
            out.print(f"agent: {canned.greeting}", markup=False, soft_wrap=True)
            for words in lines():
                with canvas_display(out, args.show_canvas and not args.quiet) as show:
                    asked = {"effort": args.effort, "canned": canned, "show": show, "dialogue": dialogue}
                    # The loop stands still while a line is typed, and no broker would wait for it.
                    reply = loop.run(within(link, answer(conversation, runner, words, **asked)))
                turns.append(turn_fields(words, reply))
                if reply.failure is not None:
                    out.print(f"  {reply.failure}", style="bold red", markup=False, soft_wrap=True)
                for call in reply.tools:
                    came = call["error"] if call["error"] is not None else call["result"]
                    out.print(f"  {call['name']} {call['arguments']} -> {came}", markup=False, soft_wrap=True)
                out.print(f"agent: {reply.text}", markup=False, soft_wrap=True)
                if reply.hang_up or reply.transfer:
                    break
            loop.run(runner.aclose(0.1))
        conversation.close()
    return turns


class canvas_display:
    """Context: a function that shows each pass in place, or None when nothing is to be shown."""

    def __init__(self, out: Console, on: bool) -> None:
        self._live = Live(console=out, refresh_per_second=30, auto_refresh=False) if on else None

    def __enter__(self) -> Callable[[Canvas | Settled | Draft], None] | None:
        if self._live is None:
            return None
        self._live.start()
        return self._show

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _show(self, item: Canvas | Settled | Draft) -> None:
        if isinstance(item, Canvas) and self._live is not None:
            self._live.update(render_canvas(item), refresh=True)


def render_canvas(canvas: Canvas) -> Text:
    """Settled tokens in plain text, open positions as dim blocks, the pass in front."""
    text = Text(f"{canvas.forward:3d} ", style="dim")
    for token in canvas.tokens:
        text.append("▒▒" if token is None else token, style="dim" if token is None else "bold")
    return text
