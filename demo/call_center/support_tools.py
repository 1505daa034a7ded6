"""What the support line can do, as tools. Replace this file by yours: see README.md beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from stretto.agent import call_information
from stretto.demo.call_center.shop import Order, Shop, ShopError
from stretto.tools.spoken_number import SpokenNumberError, resolve_digits
from stretto.tools.spoken_time import SpokenTimeError, resolve_date, say_date
from stretto.tools.tool import Tool, ToolError, call_key


def support_tools(shop: Shop, now: Callable[[], datetime]) -> list[Tool]:
    """The tools of all calls. Days that callers say are resolved by the clock `now`."""

    def my_orders() -> list[dict[str, Any]]:
        """The caller's own orders, by the number they call from."""
        found = shop.orders(call_information().caller)
        if not found:
            raise ToolError("There is no order for the number you call from. What is the order number?")
        return [_said(order) for order in found]

    def order_status(order: str) -> dict[str, Any]:
        """Status of an order."""
        return _said(shop.order(resolve_digits(order)))

    def change_delivery(order: str, date: str) -> dict[str, Any]:
        """Change an order's delivery date."""
        day = resolve_date(date, now())
        return _said(shop.move(resolve_digits(order), day, now().date()))

    def cancel_order(order: str) -> dict[str, Any]:
        """Cancel an order."""
        return _said(shop.cancel(resolve_digits(order)))

    def refund_order(order: str, reason: str) -> dict[str, Any]:
        """Refund a delivered order."""
        number = resolve_digits(order)
        cents = shop.refund(number, reason, call_key(), now().date())
        return {"order": number, "refunded": dollars(cents), "to": "your card, within five working days"}

    readers = (my_orders, order_status)
    asked_first = (cancel_order, refund_order)
    return [
        Tool(_speakable(function), read_only=function in readers, confirm=function in asked_first)
        for function in (my_orders, order_status, change_delivery, cancel_order, refund_order)
    ]


def dollars(cents: int) -> str:
    """As it is said: "39 dollars", "7 dollars 50"."""
    whole, rest = divmod(cents, 100)
    return f"{whole} dollars" + (f" {rest:02d}" if rest else "")


def _said(order: Order) -> dict[str, Any]:
    return {
        "order": order.number,
        "item": order.item,
        "status": order.status,
        "delivery": say_date(order.delivery),
    }


def _speakable(function: Callable[..., Any]) -> Callable[..., Any]:
    """What cannot be done or understood becomes the tool's error, which is spoken about."""

    @wraps(function)
    def run(**arguments: Any) -> Any:
        try:
            return function(**arguments)
        except (ShopError, SpokenNumberError, SpokenTimeError) as error:
            raise ToolError(str(error)) from error

    return run
