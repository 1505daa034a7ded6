"""The dialogue generator: its dialogues are valid, meet their goals and keep the splits apart."""

from __future__ import annotations

import gzip
import json
import random
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from stretto.tools.concierge.dialogues import City, at_once, generate, hold, main, statistics
from stretto.tools.concierge.names import HELD_OUT_WORDS, held_out
from stretto.tools.concierge.slips import mistaken
from stretto.tools.concierge.wording import TEMPLATES, held_out_template

Dialogue = dict[str, Any]


@pytest.fixture(scope="module")
def train() -> list[Dialogue]:
    return list(generate(11, 200))


@pytest.fixture(scope="module")
def valid() -> list[Dialogue]:
    return list(generate(11, 100, valid=True))


def calls(dialogue: Dialogue) -> list[dict[str, Any]]:
    return [call for message in dialogue["messages"] for call in message.get("tool_calls", ())]


def booked_names(dialogues: list[Dialogue]) -> set[str]:
    results = [
        json.loads(message["content"])
        for dialogue in dialogues
        for message in dialogue["messages"]
        if message["role"] == "tool"
    ]
    places = [
        place["name"] for r in results for what in ("restaurants", "hotels") for place in r.get(what, ())
    ]
    booked = [r["booked"] for r in results if "booked" in r and ("people" in r or "nights" in r)]
    return {*places, *booked}


def test_every_call_fits_its_schema(train: list[Dialogue], valid: list[Dialogue]) -> None:
    for dialogue in train + valid:
        schemas = {tool["name"]: tool["parameters"] for tool in dialogue["tools"]}
        for call in calls(dialogue):
            jsonschema.validate(call["arguments"], schemas[call["name"]])


def test_goals_are_met_except_where_the_caller_quits(train: list[Dialogue], valid: list[Dialogue]) -> None:
    for dialogue in train + valid:
        assert dialogue["goal_met"] or dialogue["gave_up"], dialogue["why"]
    assert sum(dialogue["gave_up"] for dialogue in train + valid) < 0.06 * len(train + valid)


def test_the_oracle_meets_goals_without_selection() -> None:
    rng = random.Random(3)
    day = datetime(2026, 11, 21)
    city = City.build(4, day, held_out=False)
    city.now = day.replace(hour=10)
    held = [at_once(hold(city, random.Random(rng.random()), valid=False, slips=(0.0,))) for _ in range(150)]
    unmet = [d for d in held if not d["goal_met"] and not d["gave_up"]]
    assert len(unmet) <= 1, unmet[0]["why"]


@pytest.fixture(scope="module")
def slipped() -> list[Dialogue]:
    """Dialogues as they came, also those that failed."""
    rng = random.Random(3)
    day = datetime(2026, 11, 21)
    city = City.build(4, day, held_out=False)
    city.now = day.replace(hour=10)
    return [at_once(hold(city, random.Random(rng.random()), valid=False, slips=(0.15,))) for _ in range(200)]


def test_the_oracle_slips_in_words_and_in_calls(slipped: list[Dialogue]) -> None:
    wrong = [m for d in slipped for m in d["messages"] if "slip" in m]
    assert all(m["role"] == "assistant" for m in wrong)
    assert sum(bool(m.get("tool_calls")) for m in wrong) > 20
    assert sum(bool(m["content"]) for m in wrong) > 100


def test_most_goals_are_met_in_spite_of_slips(slipped: list[Dialogue]) -> None:
    with_slips = [d for d in slipped if any("slip" in m for m in d["messages"])]
    assert len(with_slips) > 100
    assert sum(d["goal_met"] or d["gave_up"] for d in with_slips) > 0.85 * len(with_slips)


def test_a_refused_call_is_followed_by_one_that_is_right(slipped: list[Dialogue]) -> None:
    mended = 0
    for dialogue in slipped:
        messages = dialogue["messages"]
        for at, message in enumerate(messages):
            if "slip" not in message or not message.get("tool_calls"):
                continue
            (wrong,) = message["tool_calls"]
            later = [m for m in messages[at + 1 :] if "slip" not in m and m.get("tool_calls")]
            right = [c for m in later for c in m["tool_calls"] if c["name"] == wrong["name"]]
            assert wrong not in right
            mended += bool(right) and '"error"' in messages[at + 1]["content"]
    assert mended > 10


def test_what_was_wrong_is_not_learnt_when_it_is_said_again(slipped: list[Dialogue]) -> None:
    asked = 0
    for dialogue in slipped:
        for first, heard, second in zip(
            dialogue["messages"], dialogue["messages"][1:], dialogue["messages"][2:], strict=False
        ):
            if heard["role"] == "user" and second["content"] and second["content"] == first.get("content"):
                asked += 1
                assert ("slip" in first) <= ("slip" in second)
    assert asked > 20


def test_held_out_dialogues_have_no_slips(valid: list[Dialogue]) -> None:
    assert not any("slip" in message for d in valid for message in d["messages"])


@pytest.mark.parametrize("slot", ["restaurant", "date", "time", "people", "order", "service"])
def test_a_mistaken_value_is_mostly_another_one(slot: str) -> None:
    slots = {
        "restaurant": "The Copper Kettle", "date": "next Friday", "time": "half past seven", "people": "4",
        "order": "4711", "service": "vet",
    }  # fmt: skip
    rng = random.Random(1)
    values = [mistaken(slot, slots, ["Casa Verde", "The Blue Door"], rng) for _ in range(200)]
    assert sum(value != slots[slot] for value in values) > 120
    assert all(isinstance(value, str) for value in values) and len(set(values)) > 3


def test_a_city_is_put_back_after_each_dialogue() -> None:
    city = City.build(4, datetime(2026, 11, 21), held_out=False)
    city.now = datetime(2026, 11, 21, 10)
    for seed in range(30):
        at_once(hold(city, random.Random(seed), valid=False))
        assert city.database.changes(city.before) == []


def test_messages_alternate_and_end_with_the_agent(train: list[Dialogue]) -> None:
    for dialogue in train:
        roles = [message["role"] for message in dialogue["messages"]]
        assert roles[:3] == ["system", "assistant", "user"]
        assert roles[-1] == "assistant"
        for before, after in pairwise(roles):
            assert (before, after) not in {("user", "user"), ("system", "user"), ("tool", "user")}
        for message, following in pairwise(dialogue["messages"]):
            if message.get("tool_calls"):
                # The built-in tools end the dialogue; all others have a result.
                assert following["role"] == "tool"
                assert following["name"] == message["tool_calls"][0]["name"]


def test_values_of_calls_stand_in_the_dialogue(train: list[Dialogue]) -> None:
    enums = {"service", "area", "price"}
    for dialogue in train:
        text = ""
        for message in dialogue["messages"]:
            for call in message.get("tool_calls", ()):
                for slot, value in call["arguments"].items():
                    if isinstance(value, str) and slot not in enums and "slip" not in message:
                        assert value.lower() in text, (slot, value)
            text += (message["content"] or "").lower() + " "


def test_training_has_no_held_out_names_or_wordings(train: list[Dialogue], valid: list[Dialogue]) -> None:
    assert not any(held_out(name) for name in booked_names(train))
    assert all(held_out(name) for name in booked_names(valid))
    text = json.dumps([[m["content"] for m in d["messages"]] for d in train]).lower().split()
    assert not {word.strip('",.?') for word in text} & HELD_OUT_WORDS
    assert not any(held_out_template(used) for dialogue in train for used in dialogue["templates"])
    assert any(held_out_template(used) for dialogue in valid for used in dialogue["templates"])


def test_about_a_seventh_of_the_wordings_is_held_out() -> None:
    ids = [f"{group}/{number}" for group, texts in TEMPLATES.items() for number in range(len(texts))]
    share = sum(map(held_out_template, ids)) / len(ids)
    assert 0.08 < share < 0.18
    assert not any(held_out_template(f"{group}/0") for group in TEMPLATES)


def test_the_same_seed_gives_the_same_dialogues() -> None:
    assert list(generate(5, 20)) == list(generate(5, 20))
    assert list(generate(5, 3)) != list(generate(6, 3))


def test_every_tool_and_kind_of_turn_occurs(train: list[Dialogue]) -> None:
    stats = statistics(train)
    assert len(stats["calls"]) == 13
    assert stats["errors"] > 0.03
    assert 4 < stats["caller_turns"] < 8
    assert stats["words_per_reply"] < 16


def test_days_vary_and_tools_are_shuffled(train: list[Dialogue]) -> None:
    assert len({dialogue["messages"][0]["content"] for dialogue in train}) > 8
    assert len({tuple(tool["name"] for tool in dialogue["tools"]) for dialogue in train}) > 190
    fewer = sum(len(dialogue["tools"]) < 13 for dialogue in train) / len(train)
    assert 0.15 < fewer < 0.45


def test_main_writes_a_packed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "concierge.train.jsonl.gz"
    assert main(["--count", "5", "--seed", "2", "--out", str(out), "--stats"]) == 0
    with gzip.open(out, "rt") as file:
        lines = [json.loads(line) for line in file]
    assert lines == list(generate(2, 5))
    assert json.loads(capsys.readouterr().out)["dialogues"] == 5
