"""Every sentence that the agent can say without its model, in one place; a record marks them `canned`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Canned:
    """Sentences not made by the model. An empty one is not spoken."""

    greeting: str = "Hello, how can I help you?"
    apology: str = "I'm sorry, something went wrong. Could you say that again?"
    not_heard: str = "Sorry, I did not catch that."
    one_moment: str = "One moment, please."
    still_there: str = "Are you still there?"
    goodbye: str = "I will hang up now. Goodbye."
    too_long: str = "I'm sorry, we have reached the longest call I can take. Goodbye."
    transferring: str = "I will hand you over to a person."

    def all(self) -> tuple[str, ...]:
        """The sentences that are worth synthesising before the call."""
        return tuple(text for text in (getattr(self, name) for name in self.__dataclass_fields__) if text)


CONCIERGE = Canned(greeting="Harbor City concierge, how can I help?")
"""The sentences of a call that offers the concierge's tools."""
