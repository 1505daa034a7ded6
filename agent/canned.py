"""Every sentence that the agent can say without its model, in one place; a record marks them `canned`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Canned:
    """Sentences not made by the model. An empty one is not spoken.

    Raises ValueError for a question that does not say what would be done.
    """

    greeting: str = "Hello, how can I help you?"
    apology: str = "I'm sorry, something went wrong. Could you say that again?"
    not_heard: str = "Sorry, I did not catch that."
    one_moment: str = "One moment, please."
    still_there: str = "Are you still there?"
    goodbye: str = "I will hang up now. Goodbye."
    too_long: str = "I'm sorry, we have reached the longest call I can take. Goodbye."
    transferring: str = "I will hand you over to a person."
    confirm: str = "Shall I {action}?"
    """Asked before a tool with `confirm` runs; {action}: what it does, and with what values."""
    confirm_again: str = "I have done that already. Shall I do it once more: {action}?"
    not_confirmed: str = "All right, I have not done it."
    """When there was no clear answer to that question."""

    def __post_init__(self) -> None:
        for name in ("confirm", "confirm_again"):
            if "{action}" not in getattr(self, name):
                raise ValueError(f"{name} must say what would be done: put {{action}} where that belongs")

    def all(self) -> tuple[str, ...]:
        """The sentences that are worth synthesising before the call: those that are known word by word."""
        texts = (getattr(self, name) for name in self.__dataclass_fields__)
        return tuple(text for text in texts if text and "{action}" not in text)


CONCIERGE = Canned(greeting="Harbor City concierge, how can I help?")
"""The sentences of a call that offers the concierge's tools."""
