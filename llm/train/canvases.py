"""Clean streams and corrupted canvases of a batch of dialogues, as tensors for one training pass."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from stretto.llm.format import Segment
from stretto.llm.tokenizer import CALL, END, MARKS, MASK, PADS
from torch import Tensor

SIZES = (16, 32, 64)
OPENED = {"say": 16, "call": 32}
"""Sizes of the canvases that a sampler opens, those of `stretto.llm.conversation`."""
CAUSAL_WEIGHT = {"system": 0.0, "user": 0.1, "say": 1.0, "call": 1.0, "tool": 0.0}
PAD_WEIGHT = 0.1
PAUSE_WEIGHT = 0.25
"""That a caller's turn is not over at a pause; all told, its end in the clean stream weighs as much."""
ROUTING_WEIGHT = 3.0
"""`<say>` or `<call>` and the tool's name: few tokens that decide everything after them."""


@dataclass(frozen=True)
class Batch:
    """`clean` (b, l), `next_weight` (b, l): weight of predicting token i + 1 at i; `canvas` (b, m) with
    its `target`, `weight`, `positions`. What a canvas token sees: the first `limit` clean tokens, and those
    of its own `group`, all of them or (`ordered`) only up to itself.
    """

    clean: Tensor
    next_weight: Tensor
    canvas: Tensor
    target: Tensor
    weight: Tensor
    positions: Tensor
    limit: Tensor
    group: Tensor
    ordered: Tensor
    tokens: int

    @property
    def sees(self) -> Tensor:
        """The same as a mask (b, m, l + m)."""
        clean, canvas = (torch.arange(t.shape[1], device=t.device) for t in (self.clean, self.canvas))
        mine = self.group[:, :, None] == self.group[:, None, :]
        later = self.ordered[:, :, None] & (canvas[None, :] > canvas[:, None])
        return torch.cat([clean < self.limit[:, :, None], mine & ~later], 2)

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {k: t.to(device) for k, t in vars(self).items() if isinstance(t, Tensor)}
        return replace(self, **moved)


def fill(body: Sequence[int], size: int) -> list[int]:
    """A body on a canvas: cut, or followed by the cycle of seven pads."""
    kept = list(body[:size])
    return kept + [PADS[i % len(PADS)] for i in range(size - len(kept))]


def canvas_size(body: int, kind: str, rng: random.Random) -> int:
    """Mostly the smallest canvas that fits; else the one a reply or a call starts on (32, 64)."""
    if rng.random() < 0.7:
        return next((s for s in SIZES if s >= body), SIZES[-1])
    return 64 if kind == "call" else 32


def corrupt(target: Sequence[int], vocab: int, rng: random.Random) -> tuple[list[int], list[bool]]:
    """A canvas with a share of mask tokens, and at times wrong words among the visible ones.

    In a part of them the left is known up to some place: what a sampler meets while it copies a name.
    """
    ratio = 1.0 if rng.random() < 0.2 else rng.uniform(0.1, 1.0)
    known = rng.randrange(len(target)) if rng.random() < 0.3 else 0
    if known:
        ratio = rng.choice((1.0, ratio))
    replace_share = rng.uniform(0.0, 0.25) if rng.random() < 0.1 else 0.0
    noisy, learn = [], []
    for at, token in enumerate(target):
        if at >= known and rng.random() < ratio:
            noisy.append(MASK)
            learn.append(True)
        elif replace_share and token >= len(MARKS) and rng.random() < replace_share:
            noisy.append(rng.randrange(len(MARKS), vocab))
            learn.append(True)
        else:
            noisy.append(token)
            learn.append(False)
    if not any(learn):
        at = rng.randrange(len(noisy))
        noisy[at], learn[at] = MASK, True
    return noisy, learn


def outdated(target: Sequence[int], old: Sequence[int], rng: random.Random) -> tuple[list[int], list[bool]]:
    """A canvas that holds an older draft, in part masked again: what no longer fits is to be replaced."""
    ratio = rng.uniform(0.0, 0.7)
    return [MASK if rng.random() < ratio else token for token in old], [True] * len(target)


def causal_weights(segments: Sequence[Segment]) -> list[float]:
    """Weight of every token as something to predict from what stands before it."""
    weights: list[float] = []
    for segment in segments:
        if not segment.learn:
            weights += [0.0] * len(segment.ids)
            continue
        weight = CAUSAL_WEIGHT[segment.kind]
        head = [ROUTING_WEIGHT if segment.kind in ("say", "call") else 0.0] * len(segment.head)
        if not segment.routed and segment.head[0] == CALL:
            head[0] = 0.0
        body = [weight] * len(segment.body)
        if segment.kind == "user":
            body[-2:] = [1.0] * len(body[-2:])  # the end of the caller's turn, with its full stop
        if segment.kind == "say" and segment.body[-1] in (CALL, END):
            body[-1] = ROUTING_WEIGHT  # end, or a call behind the words
        weights += head + body
    return weights


@dataclass(frozen=True)
class Mix:
    """What the canvases of a batch are like.

    `share`: of the agent's segments that become a canvas; the others are only read. `drafted`: of the
    canvases that are as a sampler opens them: of its size, anywhere in a turn, nothing known but what is
    written. `stale`: of the replies' canvases on which an earlier reply stands, as a draft made in mid-turn
    does once the caller went on. `complementary`: of the corrupted canvases that stand there twice, masked
    once in these places and once in all others (LLaDA 2.0).
    """

    share: float = 1.0
    drafted: float = 0.5
    stale: float = 0.0
    complementary: float = 0.0


MIX = Mix()


@dataclass(frozen=True)
class Opened:
    """A canvas: where in the clean stream it begins, what belongs on it, what stands there, what is learnt.

    `pause`: no canvas but a caller's words up to a pause.
    """

    start: int
    target: Sequence[int]
    noisy: Sequence[int]
    learn: Sequence[bool]
    pause: bool = False


def opened(
    segments: Sequence[Segment], vocab: int, rng: random.Random, shifted: bool, mix: Mix
) -> Iterator[Opened]:
    """The canvases of a dialogue: at most one, or a pair, for each of the agent's segments."""
    said: list[tuple[int, ...]] = []
    start = 0
    for segment in segments:
        if shifted:
            for pause in segment.pauses:  # read word by word like the clean stream, beside what really came
                yield Opened(start + len(segment.head), pause, pause, [False] * len(pause), pause=True)
        if segment.kind in ("say", "call") and segment.learn and rng.random() < mix.share:
            yield from _of_segment(segment, start + len(segment.head), said, vocab, rng, mix)
        if segment.kind == "say":
            said.append(segment.body)
        start += len(segment.ids)


def _of_segment(
    segment: Segment, start: int, said: Sequence[tuple[int, ...]], vocab: int, rng: random.Random, mix: Mix
) -> Iterator[Opened]:
    whole = segment.body if segment.own is None else segment.own
    # The model's own words stand behind the true ones only as far as both are the same.
    shared = sum(1 for _ in takewhile(lambda p: p[0] == p[1], zip(whole, segment.body)))  # noqa: B905
    drafted, skip = rng.random() < mix.drafted, 0
    if drafted and rng.random() < 0.7:
        skip = rng.randrange(max(1, min(shared, len(whole) - 1)))
    elif not drafted and len(whole) > 12 and rng.random() < 0.15:
        skip = min(shared, rng.randrange(1, len(whole) - 4))  # a canvas opened in mid-reply
    body = whole[skip:]
    size = OPENED[segment.kind] if drafted else canvas_size(len(body), segment.kind, rng)
    target = fill(body, size)
    start += skip
    longer = [body for body in said if len(body) > skip]
    if segment.kind == "say" and longer and rng.random() < mix.stale:
        yield Opened(start, target, *outdated(target, fill(rng.choice(longer)[skip:], size), rng))
    elif drafted:
        known = int(rng.random() < 0.8)  # a draft follows the token that was verified last
        noisy = target[:known] + [MASK] * (size - known)
        yield Opened(start, target, noisy, [place >= known for place in range(size)])
    else:
        noisy, learn = corrupt(target, vocab, rng)
        yield Opened(start, target, noisy, learn)
        if rng.random() < mix.complementary and not all(learn):
            masked = [token if on else MASK for token, on in zip(target, learn, strict=True)]
            yield Opened(start, target, masked, [not on for on in learn])


def make_batch(
    dialogues: Sequence[Sequence[Segment]],
    vocab: int,
    rng: random.Random,
    shifted: bool = False,
    multiple: int = 1,
    mix: Mix = MIX,
) -> Batch:
    """Tensors for dialogues of similar length.

    `shifted`: the model predicts a canvas token one place before it (`Config.shifted`), so that what
    stands on the canvas begins with the clean token before it. Only such a model learns from pauses: what
    was heard before one is read causally, off the clean stream, for the sake of what comes next.
    `multiple`: both lengths are rounded up to one.
    """
    rows = [
        (
            [t for s in segments for t in s.ids],
            causal_weights(segments),
            list(opened(segments, vocab, rng, shifted, mix)),
        )
        for segments in dialogues
    ]
    b = len(rows)
    length = -(-max(len(clean) for clean, _, _ in rows) // multiple) * multiple
    widest = max(1, *(sum(len(one.target) for one in canvas) for _, _, canvas in rows))
    width = -(-widest // multiple) * multiple
    clean_t = torch.full((b, length), END)
    next_weight = torch.zeros(b, length)
    canvas_t = torch.full((b, width), MASK)
    target = torch.zeros(b, width, dtype=torch.long)
    weight = torch.zeros(b, width)
    positions = torch.zeros(b, width, dtype=torch.long)
    limit = torch.ones(b, width, dtype=torch.long)  # padding must see something, or softmax has no answer
    group = torch.full((b, width), -1)
    ordered = torch.zeros(b, width, dtype=torch.bool)
    for r, (clean, weights, canvas) in enumerate(rows):
        clean_t[r, : len(clean)] = torch.tensor(clean)
        next_weight[r, : len(clean) - 1] = torch.tensor(weights[1:])
        at = 0
        for number, one in enumerate(canvas):
            start, tokens, size = one.start, one.target, len(one.target)
            span = slice(at, at + size)
            noisy = list(one.noisy)
            if shifted:
                start -= 1
                noisy = [clean[start], *noisy[:-1]]
            canvas_t[r, span] = torch.tensor(noisy)
            target[r, span] = torch.tensor(tokens)
            weight[r, span] = torch.tensor(
                [on * (PAD_WEIGHT if t in PADS else 1.0) for on, t in zip(one.learn, tokens, strict=True)]
            )
            if one.pause:
                weight[r, at + size - 1] = PAUSE_WEIGHT
            positions[r, span] = torch.arange(start, start + size)
            limit[r, span], group[r, span], ordered[r, span] = start, number, one.pause
            at += size
    count = sum(len(clean) for clean, _, _ in rows)
    return Batch(clean_t, next_weight, canvas_t, target, weight, positions, limit, group, ordered, count)
