"""The conversation as the protocol shows it: items in order, tied to what the session remembers of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.wire import new_id
from stretto.agent.speaking import Utterance
from stretto.audio.synthesise import Word

MOST_ITEMS = 2000
MOST_CHARACTERS = 4 * 1024 * 1024
"""Of one conversation, from which on a client can add no more."""

Kind = Literal["message", "function_call", "function_call_output"]
Status = Literal["in_progress", "completed", "incomplete"]


@dataclass
class Item:
    """One item. `fields`: what it has beside id, type and status.

    `message`: that of the session's history; `said`: the utterance that speaks it, with the end of every
    word (ms from its start) in `words`, and `ms` of audio in all.
    """

    kind: Kind
    fields: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("item"))
    status: Status = "completed"
    message: dict[str, Any] | None = None
    said: Utterance | None = None
    turn: int | None = None
    words: list[tuple[float, str]] = field(default_factory=list)
    ms: float = 0.0

    @property
    def characters(self) -> int:
        """Of the texts in it."""
        parts = [self.fields, *self.fields.get("content", ())]
        return sum(len(text) for part in parts for text in part.values() if isinstance(text, str))

    def to_json(self) -> dict[str, Any]:
        """The item as an event carries it."""
        head = {"id": self.id, "object": "realtime.item", "type": self.kind, "status": self.status}
        return {**head, **self.fields}

    def hear(self, words: Sequence[Word], start: float, ms: float) -> None:
        """A piece of its audio: `ms` long, beginning `start` (s) into a clause with these words."""
        for word in words:
            # As in `Playback`: heard when more than half of it was.
            self.words.append((self.ms + ((word.start + word.end) / 2 - start) * 1000, word.text))
        self.ms += ms

    def heard(self, ms: float) -> str:
        """Its words up to `ms` of its audio."""
        return " ".join(text for middle, text in self.words if middle < ms)


class Items:
    """All items of a session."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Append an item, or put it behind another one ("root": first); the id of the one before it.

        Raises RequestError where there is no such item, or one with its id already.
        """
        if any(each.id == item.id for each in self._items):
            raise RequestError(f"there is an item {item.id!r} already", "duplicate_item", "item.id")
        place = len(self._items)
        if after == "root":
            place = 0
        elif after is not None:
            place = self._items.index(self.get(after, "previous_item_id")) + 1
        self._items.insert(place, item)
        return self._items[place - 1].id if place else None

    def accept(self, item: Item, after: str | None = None) -> str | None:
        """`add` one of the client's. Raises RequestError, also where they are too many or too long in all.

        What is said in the call itself always finds room: its length bounds it.
        """
        held = sum(each.characters for each in self._items) + item.characters
        if len(self._items) >= MOST_ITEMS or held > MOST_CHARACTERS:
            raise RequestError(
                f"a conversation holds {MOST_ITEMS} items, {MOST_CHARACTERS} characters in all: delete some "
                "with conversation.item.delete",
                "conversation_full",
                "item",
            )
        return self.add(item, after)

    def find(self, name: str) -> Item | None:
        """An item, if it is there."""
        return next((item for item in self._items if item.id == name), None)

    def message_after(self, item: Item) -> dict[str, Any] | None:
        """What the session remembers of the first item behind one of them of which it remembers anything."""
        place = next(n for n, each in enumerate(self._items) if each is item)
        known = (each.message or (each.said and each.said.message) for each in self._items[place + 1 :])
        return next((message for message in known if message), None)

    def of_role(self, role: str) -> list[Item]:
        """The messages of a role."""
        return [each for each in self._items if each.fields.get("role") == role]

    def get(self, name: str, param: str = "item_id") -> Item:
        """Raises RequestError."""
        for item in self._items:
            if item.id == name:
                return item
        raise RequestError(f"there is no item {name!r}", "item_not_found", param)

    def before(self, item: Item) -> str | None:
        """The id of the item before one of them."""
        place = next((n for n, each in enumerate(self._items) if each is item), 0)
        return self._items[place - 1].id if place else None

    def remove(self, item: Item) -> None:
        self._items = [each for each in self._items if each is not item]

    def of_turn(self, turn: int) -> Item | None:
        """The item of a caller's turn."""
        return next((each for each in reversed(self._items) if each.turn == turn), None)

    def of_call(self, call_id: str) -> Item | None:
        """The item of a call."""
        calls = (each for each in self._items if each.kind == "function_call")
        return next((each for each in calls if each.fields["call_id"] == call_id), None)

    @property
    def last(self) -> str | None:
        """The id of the last one."""
        return self._items[-1].id if self._items else None


def user_audio(turn: int | None, transcript: str | None, name: str) -> Item:
    """What the caller said."""
    content = [{"type": "input_audio", "transcript": transcript}]
    return Item("message", {"role": "user", "content": content}, id=name, turn=turn)


def agent_message() -> Item:
    """What the agent says, as yet without content."""
    return Item("message", {"role": "assistant", "content": []}, status="in_progress")


def arguments_of(text: str | None) -> Any:
    """The arguments of a call from their JSON text; None where it is none."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None


def content_of(text: str, spoken: bool) -> dict[str, Any]:
    """The content of an agent's message."""
    return {"type": "output_audio", "transcript": text} if spoken else {"type": "output_text", "text": text}


def part_of(text: str, spoken: bool) -> dict[str, Any]:
    """The same in events about content parts, where it is called otherwise."""
    return {"type": "audio", "transcript": text} if spoken else {"type": "text", "text": text}
