"""How a simulated caller puts things: requests, slot values and corrections, in words."""

from __future__ import annotations

import random
import re
from datetime import date, datetime, time

from stretto.tools.concierge.goals import SLOTS, Kind, Task, Value
from stretto.tools.concierge.tools import OFFICE_HOURS
from stretto.tools.concierge.wording import Act, Style, Utterance, fill, join, sentence
from stretto.tools.concierge.wording_values import (
    Form,
    code_form,
    date_form,
    mishear,
    name_form,
    number_form,
    same,
    time_form,
    words,
)

_NAMES = frozenset({"restaurant", "hotel", "pickup", "destination", "name"})
HOURS: dict[Kind, tuple[time, time]] = {"appointment": OFFICE_HOURS, "restaurant": (time(11), time(23))}
"""What a time without "am" or "pm" is measured against, task by task."""


class Speaker:
    """One caller's words on one task; it keeps what was said, to say it more clearly the next time.

    Attributes:
        values: what the caller wants now; differs from the task's slots until a change of mind.
        search: what it looks for now.
        mind: the slot that it will change its mind about, or "".
        told: how often each slot was said.
    """

    def __init__(self, task: Task, now: datetime, style: Style, rng: random.Random) -> None:
        self.task = task
        self.values: dict[str, Value] = {**task.slots, **task.at_first}
        self.search: dict[str, Value] = task.first_search or task.search
        self.mind = next(iter(task.at_first), "")
        self.told: dict[str, int] = {}
        self._now = now
        self._style = style
        self._rng = rng

    def start_over(self) -> None:
        """Begin again after a mistake: everything was said before, so this time it is said clearly."""
        self.values, self.mind, self.search = dict(self.task.slots), "", self.task.search
        self.told = dict.fromkeys(self.values, 1)

    def request(self, opening: str) -> Utterance:
        """State the task, with as many of its slots as the style reveals at once."""
        task, style, rng = self.task, self._style, self._rng
        kind = task.kind
        acts = [Act("person") if kind == "person" else Act("request", "", kind)]
        forms: dict[str, Form] = {}
        told = [slot for slot in SLOTS[kind] if slot in self.values and rng.random() < style.reveal]
        bare = False
        if kind in ("appointment", "ask_appointments"):
            bare = kind == "appointment" and "service" not in told and rng.random() < 0.25
            if not bare:
                told = ["service", *(slot for slot in told if slot != "service")]
                forms["service"] = self._service()
                acts.append(Act("inform", "service", str(self.values["service"])))
                self.told["service"] = 1
            if kind == "ask_appointments" and "date" not in told and rng.random() < 0.6:
                told.append("date")
        group = f"request.{kind}" + (".bare" if bare else "")
        if task.search and (kind.startswith("ask_") or rng.random() < max(0.5, style.reveal)):
            forms["np"] = self.noun(acts)
            group = group if kind.startswith("ask_") else f"search.{kind}"
        lead = fill(style.pick(group), forms)
        pieces = [self.piece(slot, acts) for slot in told if slot != "service"]
        if rng.random() < 0.5:
            rng.shuffle(pieces)
        parts = [lead, *pieces]
        if opening == "open" and rng.random() < 0.75:
            greeting = same(style.pick("open") + ",")
            if rng.random() < 0.05:
                acts.insert(0, Act("small_talk"))
                greeting = join([greeting, same(style.pick("small_talk") + "?")])
            parts.insert(0, greeting)
        elif opening == "also":
            parts.insert(0, same(style.pick("also") + ","))
        if rng.random() < style.polite * 0.5:
            parts.append(same(", " + style.pick("tail")))
        return self.utter(parts, acts)

    def noun(self, acts: list[Act]) -> Form:
        """ "a cheap Italian place in the centre"."""
        task, style = self.task, self._style
        what = "restaurant" if task.kind in ("restaurant", "ask_restaurants") else "hotel"
        parts: list[Form] = []
        search = self.search
        for slot, value in search.items():
            acts.append(Act("search", slot, str(value)))
        if "price" in search:
            parts.append(same(style.pick(f"price.{search['price']}")))
        if "stars" in search:
            stars = int(search["stars"])
            parts.append(
                Form(
                    f"{words(stars)} star",
                    self._rng.choice((f"{stars} star", f"{words(stars)} star", f"{stars}-star")),
                )
            )
        if "food" in search:
            food = str(search["food"])
            parts.append(same(food if food in ("seafood", "vegetarian") else food.title()))
        parts.append(same(style.pick(f"place.{what}")))
        if "area" in search:
            area = str(search["area"])
            group = "area.centre" if area == "centre" else "area"
            parts.append(same(style.pick(group).format(area=area)))
        noun = join(parts)
        article = "an" if noun.spoken[0].lower() in "aeiou" else "a"
        return join([same(article), noun])

    def _service(self) -> Form:
        return same(self._style.pick(f"service.{self.values['service']}"))

    def piece(self, slot: str, acts: list[Act]) -> Form:
        form = self.form(slot, acts)
        group = f"piece.{slot}"
        if self.values[slot] == 1 and slot in ("people", "nights"):
            group = "piece.one" if slot == "people" else "piece.night"
        elif slot == "date" and self.task.kind == "change_delivery":
            group = "piece.new_date"
        return fill(self._style.pick(group), {slot: form})

    def form(self, slot: str, acts: list[Act]) -> Form:
        """A slot's value in words; more exactly each time it has to be said again."""
        value, rng, style = self.values[slot], self._rng, self._style
        again = self.told.get(slot, 0)
        self.told[slot] = again + 1
        if slot == "service":
            acts.append(Act("inform", slot, str(value)))
            return self._service()
        form = self._plain(slot, value, again)
        if style.spelt_out and rng.random() < style.spelt_out:
            form = same(form.spoken)
        if value == 1 and slot in ("people", "nights"):
            form = same("one")
        elif slot not in _NAMES and not again and rng.random() < style.slips:
            form = mishear(form, rng, digits=slot in ("order", "reference"))
        acts.append(Act("inform", slot, form.written))
        if (
            slot in ("people", "date", "time")
            and not again
            and value != 1
            and rng.random() < style.hesitation * 0.25
        ):
            wrong = self._plain(slot, self._other(slot, value), 0)
            if wrong.written != form.written:
                form = fill(style.pick("fix"), {"wrong": wrong, "right": form})
        return form

    def _plain(self, slot: str, value: Value, again: int) -> Form:
        rng = self._rng
        if slot == "date":
            return date_form(date.fromisoformat(str(value)), self._now, rng, exact=again > 1)
        if slot == "time":
            return time_form(time.fromisoformat(str(value)), HOURS.get(self.task.kind), rng, exact=again > 0)
        if slot in ("people", "nights"):
            return number_form(int(value), rng)
        if slot in ("order", "reference"):
            return code_form(str(value), rng)
        return name_form(str(value), rng, 0.0 if again else self._style.misspelling)

    def _other(self, slot: str, value: Value) -> Value:
        """A neighbouring value, for a slip of the tongue."""
        if slot == "people":
            return int(value) + (1 if int(value) < 3 else -1)
        if slot == "time":
            moment = time.fromisoformat(str(value))
            return f"{moment.replace(hour=moment.hour - 1 if moment.hour > 12 else moment.hour + 1):%H:%M}"
        return date.fromordinal(date.fromisoformat(str(value)).toordinal() + 1).isoformat()

    def correction(self, slot: str, acts: list[Act]) -> Form:
        return fill(self._style.pick(f"correct.{slot}"), {slot: self.form(slot, acts)})

    def change_mind(self, acts: list[Act]) -> Form:
        slot, self.mind = self.mind, ""
        self.values[slot] = self.task.slots[slot]
        form = self.form(slot, acts)
        if slot in ("people", "nights"):
            noun = "people" if slot == "people" else "nights"
            noun = (
                noun
                if self.values[slot] != 1
                else noun.replace("people", "person").replace("nights", "night")
            )
            form = join([form, same(noun)])
        elif slot == "destination":
            form = join([same("to"), form])
        return fill(self._style.pick("mind"), {"value": form})

    def utter(self, parts: list[Form], acts: list[Act], plain: bool = False) -> Utterance:
        style = self._style
        if not plain and self._rng.random() < style.hesitation:
            parts.insert(0, same(style.pick("um")))
        whole = join(parts)
        form = sentence(Form(_smooth(whole.spoken), _smooth(whole.written)))
        used, style.used = tuple(style.used), []
        return Utterance(form.spoken, form.written, tuple(acts), False, used)

    def only(self, group: str, *acts: Act, plain: bool = False) -> Utterance:
        """An utterance that is nothing but one template."""
        return self.utter([same(self._style.pick(group))], list(acts), plain)


def _smooth(text: str) -> str:
    """Prepositions that do not go with what follows: "on tomorrow", "for in three days"."""
    text = re.sub(r"\b(?:on|for) (in \w+ days)\b", r"\1", text)
    text = re.sub(r"\bon (today|tonight|tomorrow|the day after|next|this|a week)\b", r"\1", text)
    text = re.sub(r"\b(at|around|about) (at|around|about)\b", r"\1", text)
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    return re.sub(r",(?:\s*,)+", ",", text)
