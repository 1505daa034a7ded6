"""Scores of a model on dialogues of the data format; the history before every decision is the true one.

Every expected call is in the denominator: one that was not made, because the model spoke instead or because a
schema was refused, counts as wrong.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from stretto.llm import scores
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import Draft, Effort
from stretto.llm.local import LocalModel, Sampler
from stretto.llm.replay import Message, replay
from stretto.llm.tokenizer import SAY

Place = tuple[int, int]
"""Which dialogue, and which message of it."""


@dataclass
class Seen:
    """What was expected and what came, over some dialogues."""

    dialogues: int = 0
    refused: int = 0
    """Dialogues with a schema that no grammar covers."""
    expected: int = 0
    exact: int = 0
    named: int = 0
    arguments: list[tuple[int, int, int]] = field(default_factory=list)
    """(agreeing, expected, written) arguments of each expected call."""
    written: int = 0
    valid: int = 0
    routing: list[tuple[bool, bool]] = field(default_factory=list)
    """(a call was expected, a call came) right after a caller's turn."""
    replies: dict[Place, tuple[str, str]] = field(default_factory=dict)
    """(expected, written), where both are words."""
    reply_costs: list[tuple[int, float]] = field(default_factory=list)
    call_costs: list[tuple[int, float]] = field(default_factory=list)
    """(forwards, milliseconds) of replies and of calls."""
    ends: list[float] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    heard_cuts: list[float] = field(default_factory=list)
    """P(end) at ends of turns, in the middle of them, and at pauses as a recogniser heard them."""


def read(paths: Sequence[str | Path], limit: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """The dialogues of packed files; with a limit a sample, stratified by source and by unseen tools."""
    groups: dict[tuple[str, bool], list[bytes]] = defaultdict(list)
    for path in paths:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                head = json.loads(line)
                groups[str(head.get("source")), bool(head.get("unseen_services"))].append(line)
    count = sum(len(lines) for lines in groups.values())
    chosen: list[bytes] = []
    rng = random.Random(seed)
    for key in sorted(groups):
        share = len(groups[key]) if limit is None else max(1, round(limit * len(groups[key]) / count))
        chosen += rng.sample(groups[key], min(share, len(groups[key])))
    return [json.loads(line) for line in (chosen if limit is None else chosen[:limit])]


Found = Mapping[tuple[str, bool], Seen]
"""What came, by source and whether the tools are unseen ones."""


async def held_again(
    model: LocalModel,
    dialogues: Iterable[Mapping[str, Any]],
    effort: Effort = "medium",
    seed: int = 0,
    done: Callable[[int], None] | None = None,
) -> Found:
    """Every decision of some dialogues taken once more by a model; `done` is told how many are behind."""
    seen: dict[tuple[str, bool], Seen] = defaultdict(Seen)
    rng = random.Random(seed)
    both = _routed_sources(dialogues := list(dialogues))
    for count, dialogue in enumerate(dialogues, 1):
        key = (str(dialogue.get("source")), bool(dialogue.get("unseen_services")))
        await _dialogue(model, count, dialogue, seen[key], effort, rng, key[0] in both)
        if done is not None:
            done(count)
    return seen


def scores_of(seen: Found) -> dict[str, Any]:
    """Scores over all, by source, and for seen and unseen tools of SGD; see `result` for the fields."""
    sources = sorted({source for source, _ in seen})
    by_source = {s: result([v for k, v in seen.items() if k[0] == s]) for s in sources}
    exact = [r["exact_match"] for r in by_source.values() if r["exact_match"] is not None]
    sgd = {new: [v for k, v in seen.items() if k == ("sgd", new)] for new in (False, True)}
    return {
        **result(list(seen.values())),
        "exact_match_macro": statistics.fmean(exact) if exact else None,
        "by_source": by_source,
        "seen": result(sgd[False]),
        "unseen": result(sgd[True]),
    }


def _routed_sources(dialogues: Sequence[Mapping[str, Any]]) -> set[str]:
    """Sources whose agent both speaks and calls right after a caller's turn."""
    kinds: dict[str, set[bool]] = defaultdict(set)
    for dialogue in dialogues:
        for before, message in zip(dialogue["messages"], dialogue["messages"][1:], strict=False):
            if before["role"] == "user" and message["role"] == "assistant":
                kinds[str(dialogue.get("source"))].add(not message.get("content"))
    return {source for source, found in kinds.items() if len(found) == 2}


async def _dialogue(
    model: LocalModel,
    number: int,
    dialogue: Mapping[str, Any],
    seen: Seen,
    effort: Effort,
    rng: random.Random,
    routed: bool,
) -> None:
    seen.dialogues += 1
    tools = {tool["name"]: tool["parameters"] for tool in dialogue["tools"]}
    try:
        async with aclosing(replay(model, dialogue, effort)) as steps:  # type: ignore[type-var]
            async for step in steps:
                if step.message["role"] == "user":
                    await _ends(step.conversation, step.message, seen, rng)
                elif step.draft is not None:
                    place = (number, step.number)
                    _compare(seen, place, step.message, step.draft, tools, routed and step.after_caller)
    except UnsupportedSchema:
        seen.refused += 1
        for call in (call for message in dialogue["messages"] for call in message.get("tool_calls") or []):
            _count(seen, (call["name"], call["arguments"]), None)


async def _ends(conversation: LocalConversation, message: Message, seen: Seen, rng: random.Random) -> None:
    """P(end) at the end of a turn and inside it, without case and punctuation; and at real pauses."""
    bare = ("".join(c for c in word if c.isalnum() or c == "'") for word in message["content"].split())
    words = [word for word in bare if word]
    if len(words) >= 4:
        whole = " ".join(words).lower()
        cut = " ".join(words[: rng.randrange(2, len(words) - 1)]).lower()
        seen.cuts.append((await conversation.hear(cut)).p_end)
        seen.ends.append((await conversation.hear(whole)).p_end)
    for heard, _ in message.get("pauses", ()):
        seen.heard_cuts.append((await conversation.hear(heard)).p_end)


def _compare(
    seen: Seen,
    place: Place,
    message: Message,
    draft: Draft,
    tools: Mapping[str, Mapping[str, Any]],
    routed: bool,
) -> None:
    expected: list[scores.Call] = [(c["name"], c["arguments"]) for c in message.get("tool_calls") or []]
    words = (message.get("content") or "").strip()
    called = bool(draft.segments) and draft.segments[0][0] != SAY
    if routed:
        seen.routing.append((not words, called))
    written: list[scores.Call] = [(call.name, call.arguments) for call in draft.calls]
    left = list(written)
    for call in expected:
        best = next((w for w in left if scores.same_call(call, w)), None)
        best = best or next((w for w in left if w[0] == call[0]), None) or (left[0] if left else None)
        if best is not None:
            left.remove(best)
        _count(seen, call, best)
    for name, arguments in written:
        seen.written += 1
        try:
            jsonschema.validate(dict(arguments), dict(tools[name]))
            seen.valid += 1
        except jsonschema.ValidationError:
            pass
    if words and not called:
        seen.replies[place] = (words, draft.text)
    (seen.call_costs if called else seen.reply_costs).append((draft.forwards, draft.ms))


def _count(seen: Seen, expected: scores.Call, written: scores.Call | None) -> None:
    seen.expected += 1
    seen.named += written is not None and written[0] == expected[0]
    seen.exact += written is not None and scores.same_call(expected, written)
    seen.arguments.append(scores.argument_hits(expected, written))


def result(parts: Sequence[Seen]) -> dict[str, Any]:
    """Scores over some dialogues together; None where there is nothing to score. Shares are 0..1."""

    def all_of(name: str) -> list[Any]:
        return [item for part in parts for item in getattr(part, name)]

    def total(name: str) -> int:
        return sum(int(getattr(part, name)) for part in parts)

    calls, replies = total("expected"), [pair for part in parts for pair in part.replies.values()]
    agree, wanted, given = (sum(hits[i] for hits in all_of("arguments")) for i in range(3))
    expected, written = [e for e, _ in replies], [w for _, w in replies]
    lengths = sum(len(e.split()) for e in expected)
    return {
        "dialogues": total("dialogues"),
        "refused": total("refused"),
        "calls": calls,
        "exact_match": _share(total("exact"), calls),
        "name_accuracy": _share(total("named"), calls),
        "argument_f1": _share(2 * agree, wanted + given),
        "valid": _share(total("valid"), total("written")),
        "routing_accuracy": scores.balanced_accuracy(all_of("routing")),
        "replies": len(replies),
        "chrf": round(scores.chrf(written, expected), 2) if replies else None,
        "bleu": round(scores.bleu(written, expected), 2) if replies else None,
        "repetition": round(statistics.fmean(map(scores.repetition, written)), 4) if replies else None,
        "distinct_2": round(scores.distinct(written, 2), 4) if replies else None,
        "length_ratio": _share(sum(len(w.split()) for w in written), lengths),
        "end_of_turn_auc": scores.auc(all_of("cuts"), all_of("ends")),
        "end_of_turn_auc_heard": scores.auc(all_of("heard_cuts"), all_of("ends")),
        "forwards_per_reply": _spread([forwards for forwards, _ in all_of("reply_costs")]),
        "forwards_per_call": _spread([forwards for forwards, _ in all_of("call_costs")]),
        "ms_per_reply": _spread([ms for _, ms in all_of("reply_costs")]),
        "ms_per_call": _spread([ms for _, ms in all_of("call_costs")]),
    }


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p90": None}
    return {
        "p50": round(statistics.median(ordered), 1),
        "p90": round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 1),
    }


def run(
    folder: str | None,
    files: Sequence[str],
    *,
    limit: int | None,
    seed: int,
    sampler: Sampler,
    effort: Effort,
    device: str = "cpu",
    threads: int = 1,
    done: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """`stretto llm eval`: load, read, score. Raises CheckpointError for a folder without a model."""
    model = LocalModel(folder, device=device, threads=threads, sampler=sampler)
    try:
        return scores_of(asyncio.run(held_again(model, read(files, limit, seed), effort, seed, done)))
    finally:
        model.close()
