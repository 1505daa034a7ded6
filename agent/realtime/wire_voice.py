"""The agent's voice on a line where answers may also be written, and where it may change its speed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stretto.agent.speaking import Voice
from stretto.audio.synthesise import Chunk


class WireVoice:
    """A `Voice`; while `silent`, words have no sound and count as heard at once."""

    def __init__(self, voice: Voice) -> None:
        self.silent = False
        self._voice = voice

    @property
    def rate(self) -> int:
        return self._voice.rate

    def use(self, voice: Voice) -> None:
        """Speak with another voice of the same rate from the next clause on. Raises ValueError."""
        if voice.rate != self.rate:
            raise ValueError(f"a voice of {voice.rate} Hz cannot follow one of {self.rate} Hz")
        self._voice = voice

    async def speak(self, clause: str) -> AsyncIterator[Chunk]:
        """Chunks of the clause; none while silent."""
        if not self.silent:
            async for chunk in self._voice.speak(clause):
                yield chunk
