"""The items of a conversation: a client may add many, and not so many that they hurt the server."""

from __future__ import annotations

import pytest
from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.items import MOST_CHARACTERS, MOST_ITEMS, Item, Items, agent_message, user_audio


def typed(text: str) -> Item:
    return Item("message", {"role": "user", "content": [{"type": "input_text", "text": text}]})


def test_a_client_adds_no_more_items_than_a_conversation_holds():
    items = Items()
    for number in range(MOST_ITEMS):
        items.accept(typed(str(number)))
    with pytest.raises(RequestError, match="2000 items") as refused:
        items.accept(typed("one more"))
    assert refused.value.code == "conversation_full" and len(items) == MOST_ITEMS
    for mine in (user_audio(1, "hello", "item_heard"), agent_message()):
        items.add(mine)  # the call itself goes on
    for name in ("item_heard", items.last):
        items.remove(items.get(name))
    first = typed("first")
    items.add(first, "root")
    items.remove(first)
    items.remove(items.get(items.last))
    assert items.accept(typed("instead")) is not None


@pytest.mark.parametrize(
    "long",
    [
        lambda text: typed(text),
        lambda text: Item("function_call_output", {"call_id": "a", "output": text}),
        lambda text: Item("function_call", {"call_id": "a", "name": "f", "arguments": text}),
    ],
)
def test_a_client_adds_no_longer_items_than_a_conversation_holds(long):
    items, text = Items(), "x" * (MOST_CHARACTERS // 4)
    for _ in range(3):
        items.accept(long(text))
    with pytest.raises(RequestError, match="characters in all: delete some") as refused:
        items.accept(long(text + "x"))
    assert refused.value.code == "conversation_full" and len(items) == 3
    items.accept(typed("a short one"))
    items.add(agent_message())


def test_an_item_refused_for_its_id_or_place_is_not_kept():
    items, known = Items(), typed("known")
    items.accept(known)
    with pytest.raises(RequestError, match="already"):
        items.accept(known)
    with pytest.raises(RequestError, match="no item"):
        items.accept(typed("other"), "nowhere")
    assert items.accept(typed("first"), "root") is None and len(items) == 2
