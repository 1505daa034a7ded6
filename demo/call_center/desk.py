"""The support line's desk: watches every call, answers keys, writes a summary when a person takes over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from stretto.agent import Agent, SessionOptions, events
from stretto.agent.canned import Canned
from stretto.agent.facts import load_facts
from stretto.agent.session import Session
from stretto.demo.call_center.handover import summary
from stretto.demo.call_center.keypad_menu import Action, HandOver, KeypadMenu, Say, TellHours, TellStatus
from stretto.demo.call_center.shop import Shop, ShopError
from stretto.demo.call_center.support_tools import support_tools
from stretto.tools.spoken_time import say_date

log = logging.getLogger("stretto.call_center")

POLICIES = Path(__file__).with_name("policies.md")
WAITING = 1000
"""Keys and hand-overs of all calls that wait for the database at most."""
CLOSE_S = 10.0
"""At the end they may take so long."""
GREETING = "Harbor Goods, good day. How can I help you?"
SYSTEM = (
    "You answer the support line of Harbor Goods, a mail-order shop. Plain spoken English, short. "
    "Orders have four digits. Today is {today:%A}, {today:%B} {today.day} {today.year}."
)


class CallCenter:
    """While the block runs, every session that `observe` was told of has its menu and its hand-over."""

    def __init__(
        self,
        shop: Shop,
        *,
        policies: str | Path = POLICIES,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.shop, self.policies, self._now = shop, Path(policies), now
        self._facts = load_facts(self.policies)
        self._due: asyncio.Queue[tuple[Session, Action | None]] = asyncio.Queue(WAITING)
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> CallCenter:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._worker is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._due.join()  # a summary that is owed is written
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    def agent(self, **parts: Any) -> Agent:
        """The line itself, with the shop's tools and policies. `parts`: what else `Agent` takes."""
        options = SessionOptions(
            greeting=GREETING, answer_keys=False, observers=(self.observe,), canned=Canned(greeting=GREETING)
        )
        tools = support_tools(self.shop, self._now)
        system = SYSTEM.format(today=self._now())
        return Agent(system, tools, **{"facts": self.policies, "options": options, **parts})

    def observe(self, session: Session) -> None:
        """One call's menu and summary, for `SessionOptions.observers`."""
        menu = KeypadMenu()
        answering: int | None = None  # the caller's turn, while nothing went wrong with it

        def happened(event: events.Event) -> None:
            nonlocal answering
            actions: list[Action] = []
            match event:
                case events.KeysEntered():
                    actions = menu.entered(event.keys)
                case events.TurnIgnored() | events.Failure():
                    answering = None
                    actions = menu.not_understood()
                case events.Committed():
                    answering = event.turn
                case events.Answered() if event.turn == answering:
                    menu.understood()
                case events.Transfer():
                    self._put(session, None)
            for action in actions:
                self._put(session, action)

        session.watch(happened)

    def _put(self, session: Session, action: Action | None) -> None:
        try:
            self._due.put_nowait((session, action))
        except asyncio.QueueFull:
            log.error("the database cannot keep up: %s of %s is lost", action or "a summary", session.id)

    async def _work(self) -> None:
        while True:
            session, action = await self._due.get()
            try:
                await self._do(session, action)
            except Exception:  # one call's trouble is not the others'
                log.exception("%s of %s failed", action or "a summary", session.id)
            finally:
                self._due.task_done()

    async def _do(self, session: Session, action: Action | None) -> None:
        match action:
            case None:
                await asyncio.to_thread(self._hand_over, session)
            case Say(text):
                session.say(text)
            case TellStatus(number):
                session.say(await asyncio.to_thread(self._status, number))
            case TellHours():
                session.say(self._facts.look_up("When are you open?"))
            case HandOver():
                session.leave("transfer")

    def _status(self, number: str) -> str:
        try:
            order = self.shop.order(number)
        except ShopError as error:
            return str(error)
        day = say_date(order.delivery)
        coming = {"delivered": f"was delivered on {day}", "cancelled": "is cancelled"}
        told = coming.get(order.status, f"is {order.status}. It should come on {day}")
        return f"Order {' '.join(number)}, {order.item}, {told}."

    def _hand_over(self, session: Session) -> None:
        caller = session.information.caller
        told = summary(caller, self.shop.customer(caller), list(session.history.messages))
        number = self.shop.hand_over(caller, told)
        log.info("call %s was handed over, note %d", session.id, number)
