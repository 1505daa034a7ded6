"""The call center's parts without a call: its database, its tools, its menu by keys, its summaries."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent.caller_id import CallInformation, about
from stretto.demo.call_center.handover import summary
from stretto.demo.call_center.keypad_menu import (
    MENU,
    ORDER,
    HandOver,
    KeypadMenu,
    Say,
    TellHours,
    TellStatus,
)
from stretto.demo.call_center.shop import Shop, ShopError
from stretto.demo.call_center.support_tools import dollars, support_tools
from stretto.llm.language_model import Call
from stretto.tools.runner import ToolRunner

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 10, 0)


@pytest.fixture
def shop() -> Shop:
    return Shop.seeded(TODAY)


def run(shop: Shop, name: str, key: str = "k", caller: str = "", **arguments: Any) -> Any:
    """A tool's result, or its error's words."""
    (tool,) = [each for each in support_tools(shop, lambda: NOW) if each.spec.name == name]
    with about(CallInformation(caller=caller)):
        result = asyncio.run(tool.run(arguments, key))
    return result.error if result.content is None else json.loads(result.content)


# ------------------------------------------------------------------ the shop


def test_a_refund_is_paid_once_whatever_is_asked_again(shop: Shop) -> None:
    assert shop.refund("4371", "broken", "call-1", TODAY) == 18900
    assert shop.refund("4371", "broken", "call-1", TODAY) == 18900
    with pytest.raises(ShopError, match="already refunded"):
        shop.refund("4371", "broken", "call-2", TODAY)
    assert shop.refunds() == [("4371", 18900, "broken")]


def test_twenty_threads_pay_one_refund(shop: Shop) -> None:
    came: list[int] = []
    threads = [
        threading.Thread(target=lambda: came.append(shop.refund("7781", "torn", "one", TODAY)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == [3500] * 20 and shop.refunds() == [("7781", 3500, "torn")]


@pytest.mark.parametrize(
    ("number", "told"),
    [("4210", "only delivered"), ("5566", "too long"), ("8042", "only delivered"), ("9999", "no order")],
)
def test_what_is_not_refunded(shop: Shop, number: str, told: str) -> None:
    with pytest.raises(ShopError, match=told):
        shop.refund(number, "", "key", TODAY)
    assert shop.refunds() == []


def test_orders_are_moved_and_cancelled_while_that_can_be(shop: Shop) -> None:
    assert shop.move("4210", date(2026, 11, 30), TODAY).delivery == date(2026, 11, 30)
    assert shop.cancel("5128").status == "cancelled"
    for attempt in (lambda: shop.move("4210", TODAY, TODAY), lambda: shop.move("4371", TODAY, TODAY)):
        with pytest.raises(ShopError):
            attempt()
    for number in ("4210", "4371"):
        with pytest.raises(ShopError):
            shop.cancel(number)
    assert shop.order("4210").delivery == date(2026, 11, 30) and shop.order("4371").status == "delivered"


def test_a_file_keeps_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    shop = Shop.seeded(TODAY, path)
    shop.refund("4371", "broken", "call-1", TODAY)
    assert shop.hand_over("+15550100", "Wanted: a person") == 1
    shop.close()
    again = Shop.seeded(TODAY, path)
    assert again.refunds() == [("4371", 18900, "broken")]
    assert again.handovers() == [("+15550100", "Wanted: a person")]
    again.close()
    other = tmp_path / "letter.txt"
    other.write_text("Dear Sir or Madam, this is no database. " * 40)
    with pytest.raises(ValueError, match="cannot be used"):
        Shop(other)


# ------------------------------------------------------------------ tools


def test_the_callers_own_orders_are_found_by_number(shop: Shop) -> None:
    mine = run(shop, "my_orders", caller="+15550101")
    assert [row["order"] for row in mine] == ["5128", "5566"]
    assert "What is the order number?" in run(shop, "my_orders", caller="")


def test_tools_speak_of_what_cannot_be(shop: Shop) -> None:
    assert run(shop, "order_status", order="four two one oh")["item"] == "desk lamp"
    assert run(shop, "order_status", order="0000") == "There is no order 0000."
    assert "4 digits" in run(shop, "order_status", order="my lamp")
    moved = run(shop, "change_delivery", order="4210", date="next Monday")
    assert moved["delivery"].startswith("Monday")
    assert run(shop, "refund_order", key="a", order="4371", reason="broken")["refunded"] == "189 dollars"
    assert run(shop, "refund_order", key="a", order="4371", reason="broken")["refunded"] == "189 dollars"
    assert "already refunded" in run(shop, "refund_order", key="b", order="4371", reason="broken")


def test_calls_of_two_sessions_may_have_the_same_id(shop: Shop) -> None:
    (tool,) = [each for each in support_tools(shop, lambda: NOW) if each.spec.name == "refund_order"]
    for session, order in (("call_a", "4371"), ("call_b", "7781")):
        runner = ToolRunner([tool], session=session)
        refund = Call("call00001", "refund_order", {"order": order, "reason": "broken"})
        runner.allow(refund)
        (result,) = asyncio.run(runner.run_all([refund]))
        assert result.error is None
    assert [number for number, _, _ in shop.refunds()] == ["4371", "7781"]


def test_what_costs_money_is_asked_about_first(shop: Shop) -> None:
    tools = {tool.spec.name: tool for tool in support_tools(shop, lambda: NOW)}
    assert {name for name, tool in tools.items() if tool.confirm} == {"refund_order", "cancel_order"}
    assert {name for name, tool in tools.items() if tool.read_only} == {"my_orders", "order_status"}


@pytest.mark.parametrize(
    ("cents", "said"), [(3900, "39 dollars"), (750, "7 dollars 50"), (105, "1 dollars 05")]
)
def test_money_as_it_is_said(cents: int, said: str) -> None:
    assert dollars(cents) == said


# ------------------------------------------------------------------ keys


def test_the_menu_is_offered_to_whom_nobody_understands() -> None:
    menu = KeypadMenu()
    assert menu.not_understood() == []
    menu.understood()
    assert menu.not_understood() == [] and menu.not_understood() == [Say(MENU)]
    assert menu.entered("1") == [Say(ORDER)]
    assert menu.entered("4210") == [TellStatus("4210")]
    assert menu.entered("2") == [TellHours()]
    assert menu.entered("0") == [HandOver()]


def test_keys_open_the_menu_at_any_time() -> None:
    menu = KeypadMenu()
    assert menu.entered("*") == [Say(MENU)]
    (again,) = menu.entered("9")
    assert isinstance(again, Say) and again.text.endswith(MENU)
    assert menu.entered("1") == [Say(ORDER)]
    (again,) = menu.entered("42")
    assert isinstance(again, Say) and again.text.endswith(ORDER)
    assert menu.entered("0") == [HandOver()], "a person is always one key away"


@given(st.lists(st.one_of(st.none(), st.text("0123456789*#", min_size=1, max_size=6))))
def test_every_key_is_answered_and_zero_is_a_person(entries: list[str | None]) -> None:
    menu = KeypadMenu()
    for keys in entries:
        actions = menu.not_understood() if keys is None else menu.entered(keys)
        assert keys is None or len(actions) == 1
        assert (keys == "0") == any(isinstance(action, HandOver) for action in actions)
        assert all(len(a.order) == 4 for a in actions if isinstance(a, TellStatus))


# ------------------------------------------------------------------ handing over


def test_a_summary_says_who_what_for_and_what_was_done() -> None:
    call = {"id": "c1", "name": "order_status", "arguments": {"order": "4210"}}
    bad = {"id": "c2", "name": "refund_order", "arguments": {"order": "4210", "reason": "late"}}
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "Good morning."},
        {"role": "user", "content": "Where is my lamp?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "order_status", "content": '{"status": "shipped"}'},
        {"role": "user", "content": "Then I want my money."},
        {"role": "assistant", "content": "", "tool_calls": [bad]},
        {"role": "tool", "tool_call_id": "c2", "name": "refund_order", "content": '{"error": "not yet"}'},
        {"role": "user", "content": "Give me a person."},
    ]
    assert summary("+15550100", "Anna Weiss", messages).split("\n") == [
        "Caller: Anna Weiss (+15550100)",
        "Wanted: Where is my lamp?",
        "Done: order_status(order 4210): status shipped",
        "Failed: refund_order(order 4210, reason late): not yet",
        "Said at last: Then I want my money.",
        "Said at last: Give me a person.",
    ]
    assert "nothing that was understood" in summary("", None, [])
