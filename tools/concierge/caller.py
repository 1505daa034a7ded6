"""A caller with a goal who talks to an agent by text, and knows nothing but what the agent says."""

from __future__ import annotations

import random
from collections import Counter
from datetime import time

from stretto.tools.concierge.caller_reading import (
    Heard,
    dates,
    named,
    same_time,
    times,
    understand,
    wrong_slots,
)
from stretto.tools.concierge.caller_speech import HOURS, Speaker
from stretto.tools.concierge.goals import SLOTS, Goal, Task
from stretto.tools.concierge.wording import Act, ActKind, Style, Utterance, fill
from stretto.tools.concierge.wording_values import name_form, same, time_form, time_of

PATIENCE = 4
"""Turns in a row without progress after which the caller gives up."""
LONGEST = 30
_BOOKINGS = frozenset({"restaurant", "hotel", "appointment", "taxi"})
_INTERLUDES: tuple[tuple[ActKind, int], ...] = (
    ("out_of_scope", 4), ("repeat", 3), ("small_talk", 2), ("present", 1)
)  # fmt: skip


class TextCaller:
    """One call's caller. `open` after the agent's welcome, then `reply` to each of its turns.

    The goal decides what is said, the style how. An utterance with `hang_up` is the caller's last one.
    """

    def __init__(self, goal: Goal, style: Style, rng: random.Random) -> None:
        self._goal = goal
        self._style = style
        self._rng = rng
        self._index = 0
        self._useless = 0
        self._turns = 0
        self._last = ""
        self._interlude = False
        self._objected = False
        self._cancelling = False
        self.gave_up = False
        self._begin()

    @property
    def task(self) -> Task:
        return self._goal.tasks[self._index]

    def _begin(self) -> None:
        self._speak = Speaker(self.task, self._goal.now, self._style, self._rng)
        self._done = False
        self._asked = ""
        self._heard: Counter[str] = Counter()

    def open(self) -> Utterance:
        """The first thing said after the agent's welcome."""
        self._turns += 1
        return self._speak.request("open")

    def reply(self, agent_text: str) -> Utterance:
        """Answer the agent."""
        self._turns += 1
        heard = understand(agent_text)
        if heard.bye or heard.transfer:
            return Utterance("", "", hang_up=True)
        if self._turns > LONGEST or 0 < self._style.quits < self._turns:
            return self._give_up()
        repeated = agent_text == self._last and not self._interlude
        self._last = agent_text
        if self._stuck(heard, repeated):
            return self._give_up()
        if self._wants_interlude(heard):
            return self._pause()
        self._interlude = False
        return self._answer(heard)

    def _answer(self, heard: Heard) -> Utterance:
        if heard.read_back:
            return self._judge(heard)
        if heard.result and not self._done:
            return self._receive(heard)
        if self._done:
            return self._after(heard)
        if self.task.kind.startswith("ask_") and heard.asks == "more":
            return self._finish(heard)
        if heard.options and not (
            heard.asks in SLOTS[self.task.kind] and heard.asks not in ("time", "restaurant", "hotel")
        ):
            return self._choose(heard)
        if heard.failed and heard.asks == "more":
            # The agent cannot do it.
            self._done = True
            return self._after(heard)
        return self._inform(heard)

    # Answers

    def _inform(self, heard: Heard) -> Utterance:
        """Answer a question, or say again what is wanted."""
        task, asked = self.task, heard.asks
        if asked == "kind" or asked == "more":
            return self._speak.request("")
        if asked == "change" and self._speak.values:
            acts: list[Act] = []
            slot = self._asked if self._asked in self._speak.values else next(iter(self._speak.values))
            return self._speak.utter([self._speak.correction(slot, acts)], acts)
        if asked in self._speak.values and asked in SLOTS[task.kind]:
            return self._give(asked)
        if task.search and asked in ("restaurant", "hotel", "search", ""):
            if asked == "search" or heard.failed:
                self._speak.search = task.search
            return self._describe_search()
        if task.kind == "appointment" and asked == "time":
            return self._speak.only("answer.free_times", Act("free_times"))
        if asked == "search":
            return self._give(task.kind) if task.kind in self._speak.values else self._speak.request("")
        told = [
            slot for slot in SLOTS[task.kind] if self._speak.told.get(slot) and slot in self._speak.values
        ]
        if heard.lost and told and self._asked in told:
            return self._give(self._asked)
        return self._speak.request("")

    def _give(self, slot: str) -> Utterance:
        """Answer with a slot; perhaps with one more, perhaps with a change of mind."""
        acts: list[Act] = []
        self._asked = slot
        again = self._speak.told.get(slot, 0)
        style, rng = self._style, self._rng
        group = f"answer.{slot}"
        if self._speak.values[slot] == 1 and slot in ("people", "nights"):
            group = "answer.one" if slot == "people" else "answer.night"
        answer = fill(style.pick(group), {slot: self._speak.form(slot, acts)})
        parts = [answer]
        if again and rng.random() < 0.4:
            parts.insert(0, same(style.pick("sorry")))
        if (
            self._speak.mind
            and self._speak.mind != slot
            and self._speak.told.get(self._speak.mind)
            and rng.random() < 0.4
        ):
            parts.append(same(". "))
            parts.append(self._speak.change_mind(acts))
        elif rng.random() < style.reveal * 0.3 and not again:
            rest = [
                s
                for s in SLOTS[self.task.kind]
                if s in self._speak.values and s not in self._speak.told and s != "service"
            ]
            parts += [self._speak.piece(s, acts) for s in rest[:1]]
        return self._speak.utter(parts, acts)

    def _describe_search(self) -> Utterance:
        acts: list[Act] = []
        noun = self._speak.noun(acts)
        return self._speak.utter([fill(self._style.pick("answer.search"), {"np": noun})], acts)

    def _judge(self, heard: Heard) -> Utterance:
        """A read-back: yes, or what is wrong with it."""
        if self._cancelling:
            return self._yes()
        if self._done:
            return self._speak.only("no", Act("no"))
        acts: list[Act] = []
        if self._speak.mind:
            return self._speak.utter([self._speak.change_mind(acts)], acts)
        wrong = wrong_slots(heard.text, self.task, self._speak.values, self._goal.now, final=False)
        wrong = [slot for slot in wrong if slot in self._speak.values]
        if not wrong or (not self._objected and self._rng.random() < self._style.careless):
            return self._yes()
        if self._speak.told.get(wrong[0], 0) > 4:
            return self._give_up()
        self._asked = wrong[0]
        if self._rng.random() < 0.08:
            return self._speak.only("no", Act("no"))
        parts = [same(self._style.pick("correct.lead")), self._speak.correction(wrong[0], acts)]
        for slot in wrong[1:2]:
            parts += [same("and"), self._speak.correction(slot, acts)]
        return self._speak.utter(parts, acts)

    def _yes(self) -> Utterance:
        return self._speak.only("yes", Act("yes"))

    def _choose(self, heard: Heard) -> Utterance:
        """Pick one of the offered names, times or days."""
        task, options = self.task, heard.options
        clock = [bool(times(option)) for option in options]
        slot = "time" if all(clock) else "date" if dates(options[0], self._goal.now) else ""
        if slot == "time" and "time" in SLOTS[task.kind]:
            days = [day.isoformat() for day in dates(heard.text, self._goal.now) if day]
            if days and not any(
                task.takes("date", day) or day == self._speak.values.get("date") for day in days
            ):
                acts: list[Act] = []
                return self._speak.utter(
                    [same(self._style.pick("correct.lead")), self._speak.correction("date", acts)], acts
                )
            fitting = [option for option in options if self._takes_time(option)]
            if not fitting and "time" in self._speak.values and self._speak.told.get("time", 0) < 2:
                return self._give("time")
            return self._pick(slot, options, fitting or list(options))
        if slot == "date" and "date" in SLOTS[task.kind]:
            return self._pick(slot, options, list(options))
        for kind in ("restaurant", "hotel", "pickup", "destination"):
            wanted = [
                str(name) for name in (self._speak.values.get(kind), *task.accept.get(kind, ())) if name
            ]
            fitting = [option for option in options if any(named(name, option) for name in wanted)]
            if fitting and kind in SLOTS[task.kind]:
                return self._pick(kind, options, fitting)
        if task.search:
            return self._describe_search()
        for kind in ("restaurant", "hotel", "pickup", "destination"):
            if kind in self._speak.values and kind in SLOTS[task.kind]:
                return self._give(kind)
        return self._speak.request("")

    def _takes_time(self, phrase: str) -> bool:
        task = self.task
        wanted = [value for value in (self._speak.values.get("time"), *task.accept.get("time", ())) if value]
        return any(same_time(phrase, time.fromisoformat(str(value))) for value in wanted)

    def _pick(self, slot: str, options: tuple[str, ...], fitting: list[str]) -> Utterance:
        style, rng = self._style, self._rng
        chosen = rng.choice(fitting)
        at = options.index(chosen)
        self._speak.told[slot] = self._speak.told.get(slot, 0) + 1
        if len(options) == 1 and rng.random() < 0.8:
            return self._speak.only("pick.only", Act("choose", slot, "0"))
        if len(options) == 2 and rng.random() < 0.3:
            group = "pick.second" if at else "pick.first"
            return self._speak.only(group, Act("choose", slot, str(at)))
        form = name_form(chosen, rng, style.misspelling * 0.6)
        if slot == "time" and (found := time_of(chosen, None)):
            form = time_form(found, HOURS.get(self.task.kind), rng)
        elif slot == "date":
            form = same(chosen)
        group = "pick.time" if slot in ("time", "date") else "pick.name"
        return self._speak.utter(
            [fill(style.pick(group), {"pick": form})], [Act("inform", slot, form.written)]
        )

    # Results and the end

    def _receive(self, heard: Heard) -> Utterance:
        """A result: check it, then go on to the next task."""
        if self._cancelling:
            # The wrong booking is gone: once more from the beginning.
            self._cancelling = False
            self._begin()
            self._speak.start_over()
            return self._speak.request("also")
        values = {**self.task.slots}
        wrong = wrong_slots(heard.text, self.task, values, self._goal.now, final=True)
        if wrong and not self._objected and self.task.kind in _BOOKINGS | {"change_delivery", "order_status"}:
            self._objected = True
            self._speak.mind = ""
            if self.task.kind in _BOOKINGS:
                self._cancelling = True
                return self._speak.only("wrong_result", Act("cancel_that"))
            self._speak.values = values
            return self._speak.request("")
        return self._finish(heard)

    def _finish(self, heard: Heard) -> Utterance:
        self._done = True
        return self._after(heard)

    def _after(self, heard: Heard) -> Utterance:
        """The task is over: the next one, or goodbye."""
        if self._index + 1 < len(self._goal.tasks):
            self._index += 1
            self._begin()
            return self._speak.request("also")
        if heard.asks == "more" or heard.asks == "kind" or not heard.result:
            return self._speak.only("done", Act("nothing_else"))
        return self._speak.only("thanks", Act("thanks"))

    def _give_up(self) -> Utterance:
        self.gave_up = True
        said = self._speak.only("give_up", Act("bye"))
        return Utterance(said.text, said.written, said.acts, True, said.templates)

    def _stuck(self, heard: Heard, repeated: bool) -> bool:
        helps = heard.read_back or heard.result or heard.asks or heard.options
        if heard.lost or repeated or not helps:
            self._useless += 1
        elif heard.asks != self._asked:
            self._useless = max(0, self._useless - 1)
        self._heard[heard.asks] += 1
        again = self._heard[heard.asks] if heard.asks not in ("more", "kind", "") else 0
        return self._useless >= PATIENCE or again > PATIENCE + 2

    # Interludes

    def _wants_interlude(self, heard: Heard) -> bool:
        fit = (
            not self._interlude
            and not self._done
            and heard.asks not in ("more", "kind", "")
            and not heard.failed
        )
        return fit and self._rng.random() < self._style.interludes + self._style.garbled

    def _pause(self) -> Utterance:
        self._interlude = True
        if self._rng.random() < self._style.garbled * 4:
            return self._speak.only("garbled", Act("garbled"), plain=True)
        kind = self._rng.choices([k for k, _ in _INTERLUDES], [weight for _, weight in _INTERLUDES])[0]
        return self._speak.only(kind, Act(kind), plain=True)
