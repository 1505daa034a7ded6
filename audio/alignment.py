"""From the durations of phonemes to the times of words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from piper.const import BOS, EOS, PAD

_PAUSES = frozenset(",.;:!?…—-\"'()¿¡")
SNAP = 1.5
"""A word's end this many phonemes from the end of a group is taken to be that end."""


@dataclass(frozen=True)
class Sound:
    """A phoneme with its start and end in samples."""

    phoneme: str
    start: float
    end: float


def sounds(
    phonemes: Sequence[str], samples: Sequence[int], ids: Mapping[str, Sequence[int]]
) -> list[Sound] | None:
    """Lay the sample counts of phoneme ids out over the phonemes; None where the two do not fit together.

    Piper's ids are the start mark, then the phonemes, each followed by a pad, then the end mark.
    """
    pad = len(ids.get(PAD, ()))
    result: list[Sound] = []
    index, at = 0, 0.0
    for phoneme in [BOS, *phonemes, EOS]:
        count = len(ids.get(phoneme, ()))
        if count == 0:
            continue  # a phoneme that the voice does not know is skipped by Piper too
        count += pad if phoneme != EOS else 0
        length = float(sum(samples[index : index + count]))
        if phoneme not in (BOS, EOS):
            result.append(Sound(phoneme, at, at + length))
        index, at = index + count, at + length
    return result if index == len(samples) else None


def groups(of: Sequence[Sound]) -> list[list[Sound]]:
    """The sounds between spaces, pauses left out: mostly words, but espeak also joins ("of the")."""
    result: list[list[Sound]] = [[]]
    for sound in of:
        if sound.phoneme == " ":
            result.append([])
        elif sound.phoneme not in _PAUSES:
            result[-1].append(sound)
    return [group for group in result if group]


def word_times(spoken_groups: Sequence[Sequence[Sound]], lengths: Sequence[int]) -> list[tuple[float, float]]:
    """Start and end of each word in samples.

    `lengths` are the words' phoneme counts when spoken alone. With as many groups as words they belong
    together one to one. Otherwise the words are laid over the phonemes in proportion, and a word that ends
    near the end of a group ends with it.
    """
    if len(spoken_groups) == len(lengths):
        return [(group[0].start, group[-1].end) for group in spoken_groups]
    flat = [sound for group in spoken_groups for sound in group]
    ends: list[int] = []
    for group in spoken_groups:
        ends.append(len(group) + (ends[-1] if ends else 0))
    scale = len(flat) / max(1, sum(lengths))
    cuts = [0.0]
    for length in lengths:
        cuts.append(cuts[-1] + length * scale)
    snapped = [_snap(cut, ends) for cut in cuts[1:-1]]
    places = list(accumulate([0.0, *snapped, float(len(flat))], max))
    times = []
    for a, b in pairwise(places):
        start = _time(flat, a, True)
        times.append((start, max(start, _time(flat, b, False))))
    return times


def _snap(cut: float, ends: Sequence[int]) -> float:
    index = bisect_right(ends, cut)
    near = min(ends[max(0, index - 1) : index + 1], key=lambda end: abs(end - cut))
    return float(near) if abs(near - cut) <= SNAP else cut


def _time(flat: Sequence[Sound], place: float, start: bool) -> float:
    """The time at a fractional phoneme index; a whole one is a sound's start or the end of the one before."""
    index = int(place)
    if index >= len(flat):
        return flat[-1].end
    if place == index and not start and index > 0:
        return flat[index - 1].end
    return flat[index].start + (place - index) * (flat[index].end - flat[index].start)


def shared(lengths: Sequence[int], start: float, end: float) -> list[tuple[float, float]]:
    """Words that share the time from `start` to `end` in proportion to their lengths."""
    total = max(1, sum(lengths))
    times: list[tuple[float, float]] = []
    at = start
    for length in lengths:
        until = at + (end - start) * length / total
        times.append((at, until))
        at = until
    return times
