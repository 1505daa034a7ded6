"""`stretto llm generate`: one request from standard input, one reply."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stretto.llm.serve.command import add_model_flags

if TYPE_CHECKING:
    from stretto.llm.checkpoint_model import CheckpointModel
    from stretto.llm.language_model import Canvas
    from stretto.llm.local import LocalModel, Sampler
    from stretto.llm.serve.reply import Reply
    from stretto.llm.serve.request import Asked


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stretto llm generate`."""
    parser = commands.add_parser(
        "generate",
        help="one reply to the messages on standard input",
        description="Reads {messages, tools, tool_choice} from standard input, as /v1/chat/completions takes "
        "them (other fields of it too) or as the training data has them, and prints what the model says.",
    )
    add_model_flags(parser)
    parser.add_argument("--mode", default="canvas", choices=("canvas", "causal"))
    parser.add_argument("--deadline-ms", type=float, metavar="N", help="finish within so many milliseconds")
    parser.add_argument(
        "--max-forwards",
        type=int,
        metavar="N",
        help="write without looking twice from there on",
    )
    parser.add_argument("--seed", type=int, help="of what is drawn, where the request has a temperature")
    parser.add_argument("--show-canvas", action="store_true", help="print the canvas after every pass")
    parser.set_defaults(run=run_generate)


def run_generate(args: argparse.Namespace) -> int:
    """Print the reply; 2 for a request that cannot be answered."""
    from stretto.llm.cache import ContextOverflow
    from stretto.llm.checkpoint import CheckpointError
    from stretto.llm.checkpoint_model import open_model
    from stretto.llm.constraints.schema import UnsupportedSchema
    from stretto.llm.serve.error import ApiError

    sampler: Sampler | None = "causal" if args.mode == "causal" else args.sampler
    try:
        wanted = _request(args)
        model = open_model(args.model, device=args.device, threads=args.threads, sampler=sampler)
    except (ApiError, CheckpointError, OSError, ValueError) as error:
        print(f"stretto llm generate: {error}", file=sys.stderr)
        return 2
    try:
        reply = asyncio.run(_generate(args, model, wanted))
    except (ApiError, CheckpointError, ContextOverflow, UnsupportedSchema) as error:
        print(f"stretto llm generate: {error}", file=sys.stderr)
        return 2
    finally:
        model.close()
    calls = [{"name": call.name, "arguments": call.arguments} for call in reply.calls]
    if args.json:
        fields = {"text": reply.text, "tool_calls": calls, "forwards": reply.forwards}
        fields |= {"ms": round(reply.ms, 1), "sampler": model.sampler, "tokens": reply.tokens}
        print(json.dumps(fields))
        return 0
    if reply.text or not calls:
        print(reply.text)
    for call in calls:
        print(call["name"], json.dumps(call["arguments"], ensure_ascii=False))
    return 0


def _request(args: argparse.Namespace) -> Asked:
    """Standard input and flags. Raises ApiError."""
    from stretto.llm.serve.error import ApiError
    from stretto.llm.serve.request import asked

    for name in ("deadline_ms", "max_forwards"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ApiError(f"--{name.replace('_', '-')} {value:g}: give more than 0")
    body = sys.stdin.buffer.read()
    try:
        told = json.loads(body)
        if isinstance(told, dict):
            body = json.dumps(nested(told)).encode()
    except (ValueError, RecursionError):
        pass  # said by `asked`, with the place
    wanted = asked(body)
    steering = wanted.steering if args.seed is None else replace(wanted.steering, seed=args.seed % 2**63)
    deadline_ms = args.deadline_ms or wanted.deadline_ms
    return replace(wanted, steering=steering, effort=args.effort or wanted.effort, deadline_ms=deadline_ms)


def nested(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request in the flat form of the data (data/README.md) in OpenAI's; one that is in it already stays.

    Results stand behind their calls there, in the same order, so that they need no ids.
    """
    made = dict(body)
    if isinstance(tools := body.get("tools"), list):
        made["tools"] = [_function(tool) for tool in tools]
    if isinstance(choice := body.get("tool_choice"), dict) and "type" not in choice:
        made["tool_choice"] = {"type": "function", **choice}
    waiting: list[str] = []
    if isinstance(messages := body.get("messages"), list):
        made["messages"] = [_message(message, n, waiting) for n, message in enumerate(messages)]
    return made


def _function(tool: Any) -> Any:
    flat = isinstance(tool, dict) and "function" not in tool and "name" in tool
    return {"type": "function", "function": tool} if flat else tool


def _message(message: Any, number: int, waiting: list[str]) -> Any:
    """`waiting`: ids of calls whose results are still to come."""
    if not isinstance(message, dict):
        return message
    if isinstance(calls := message.get("tool_calls"), list):
        flat = [isinstance(call, dict) and "function" not in call for call in calls]
        made = [_call(c, f"call_{number}_{n}") if flat[n] else c for n, c in enumerate(calls)]
        waiting[:] = [call["id"] for call in made if isinstance(call, dict) and "id" in call]
        return {**message, "tool_calls": made}
    if message.get("role") == "tool" and "tool_call_id" not in message and waiting:
        return {**message, "tool_call_id": waiting.pop(0)}
    return message


def _call(call: Mapping[str, Any], made_up: str) -> dict[str, Any]:
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call.get("id", made_up), "function": {"name": call.get("name"), "arguments": text}}


async def _generate(args: argparse.Namespace, model: LocalModel | CheckpointModel, wanted: Asked) -> Reply:
    """Raises ApiError, ContextOverflow, UnsupportedSchema, and CheckpointError for a template that fails."""
    from contextlib import aclosing

    from stretto.llm.checkpoint_model import CheckpointModel
    from stretto.llm.language_model import Canvas
    from stretto.llm.serve.completions import checked_prompt, drafted, opened
    from stretto.llm.serve.reply import Reply

    tokens = checked_prompt(wanted, model.tokenizer, model.context)
    reply = Reply(wanted, tokens, "", lambda text: len(model.tokenizer.encode(text)))
    if isinstance(model, CheckpointModel):
        model.most_forwards = args.max_forwards
    elif args.max_forwards is not None:
        model.writer = bounded(model.writer, args.max_forwards)  # type: ignore
    began = time.monotonic()
    async with opened(model, wanted) as conversation:
        await conversation.restore(wanted.history)
        async with aclosing(drafted(conversation, wanted, "medium")) as items:
            async for item in items:
                reply.feed(item)
                if isinstance(item, Canvas) and args.show_canvas and not args.quiet:
                    print(shown(item), file=sys.stderr)
                if reply.finish_reason is not None:
                    break
    reply.ms = (time.monotonic() - began) * 1000
    return reply


def bounded(writer: Callable[..., Any], most: int) -> Callable[..., Any]:
    """That way of writing, in a hurry after so many passes: as at a deadline, what is begun is completed."""

    def made(*args: Any, **named: Any) -> Any:
        writing = writer(*args, **named)
        late = writing.late
        writing.late = lambda: writing.forwards >= most or late()
        return writing

    return made


def shown(canvas: Canvas) -> str:
    """A line: the pass, then settled tokens as text and open ones as blocks."""
    return f"{canvas.forward:3d} " + "".join("▒▒" if token is None else token for token in canvas.tokens)
