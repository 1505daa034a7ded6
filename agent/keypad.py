"""Keys of a telephone, gathered to what the caller meant to enter. Pure: `now` is seconds."""

from __future__ import annotations

KEYS = frozenset("0123456789*#ABCD")
"""What a telephone can send (ITU-T Q.23)."""
ENDS = "#"
"""Ends an entry and is no part of it, unless it is all there is."""
LONGEST = 64
"""Keys of one entry at most."""


def check_key(key: str) -> None:
    """Raises ValueError for what is no key."""
    if key not in KEYS:
        raise ValueError(f"a telephone has the keys 0-9, *, # and A-D, not {key[:20]!r}")


class Keypad:
    """One per call. An entry is over with `#`, or after `pause_s` without a key."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._keys = ""
        self._at = 0.0

    def press(self, key: str, now: float) -> str | None:
        """One key; the entry that it ends."""
        self._at = now
        if key != ENDS or not self._keys:
            self._keys += key
        return self._take() if key == ENDS or len(self._keys) >= LONGEST else None

    def time_passed(self, now: float) -> str | None:
        """The entry that a pause ended."""
        return self._take() if self._keys and now - self._at >= self._pause_s else None

    def _take(self) -> str:
        keys, self._keys = self._keys, ""
        return keys
