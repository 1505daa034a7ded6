"""Have the model write a draft, every pass told as it comes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, cast

from stretto.agent import events
from stretto.agent.call import Call
from stretto.agent.speculation import Key
from stretto.agent.timeline import TurnRecord
from stretto.llm.language_model import Canvas, Draft, Prioritised


async def write(
    call: Call, turn: TurnRecord, key: Key, committed: asyncio.Event, revise: Draft | None = None
) -> Draft:
    """A draft of the agent's side of a turn, kept as a speculation until it is `committed`.

    `revise`: one for an earlier revision of the turn, of which what still holds is kept.

    Raises what the model raises, and RuntimeError where it ends without a draft.
    """
    options = call.options
    place = {"turn": key[0], "revision": key[1]}
    draft: Draft | None = None
    items = cast(Any, call.conversation.draft(options.effort, options.draft_deadline_ms, revise))
    # A generator that is left early must be closed here: it may hold the model.
    async with call.model, asyncio.timeout(options.model_timeout_s), aclosing(items):
        if isinstance(call.conversation, Prioritised):
            call.conversation.prioritise(due=committed.is_set())
        async for item in items:
            if isinstance(item, Canvas):
                turn.passes_ms.append(call.ms())
                call.emit(
                    events.DenoisingPass(at_ms=call.ms(), forward=item.forward, tokens=item.tokens, **place)
                )
            elif isinstance(item, Draft):
                draft = item
    if draft is None:
        raise RuntimeError("the model ended without a draft")
    turn.forwards += draft.forwards
    if turn.draft_ms is None:
        turn.draft_ms = call.ms()
    if not committed.is_set():
        call.speculation.drafted(key, draft)
    names = tuple(each.name for each in draft.calls)
    call.emit(
        events.DraftReady(
            at_ms=call.ms(), text=draft.text, calls=names, forwards=draft.forwards, ms=draft.ms, **place
        )
    )
    return draft
