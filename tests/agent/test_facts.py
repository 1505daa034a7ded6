"""Questions as callers ask them and recognisers spell them, against a business's own text."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.agent.facts import BUDGET, LARGEST, Facts, FactsError, facts_tool, load_facts, stem_of
from stretto.agent.passages import PASSAGE, passages
from stretto.tools.tool import ToolError

HOTEL = """\
# Harbor Hotel <!-- kept by the front desk -->

A family-run house of 42 rooms on the old quay.

## Opening hours

The reception is staffed from 6:30 in the morning until 11 at night. The bar opens at 5 p.m. and closes at
midnight, on Sundays at 10 p.m.

## Check-in and check-out

Rooms are ready from 3 p.m. Please leave your room by 11 a.m.; a late departure until 2 p.m. costs 25 euros.

## Cancellation and refunds

You may cancel free of charge until 48 hours before arrival. After that we charge the first night. Money for
unused nights is returned to your card within ten working days. Bookings at the *saver rate* are not
refundable.

## Parking

We have 12 spaces in the courtyard for 15 euros a night. They cannot be reserved. The public garage in
[Mill Street](https://example.org/garage) is three minutes away on foot.

## Breakfast

| Meal | When | Price |
|------|------|-------|
| Continental | 7 to 10 | 12 euros |
| Cooked | 7 to 9:30 | 18 euros |

Vegan and gluten-free food is there on request.

## Pets

Dogs are welcome for 10 euros a night, but not in the restaurant.

## Wi-Fi

**Free** in all rooms; the password stands on your key card.

## Getting here

- By train: the central station is ten minutes away.
- By tram: line 4, stop *Old Quay*.
- From the airport: the shuttle leaves every half hour.

## Accessibility

There is a lift to all floors. Two rooms are fitted for wheelchairs.

## Payment

We take Visa, Mastercard and cash. No cheques.
"""

GARAGE = """\
OPENING HOURS

Monday to Friday 8 to 18. Saturday 9 to 13. Closed on Sundays and on public holidays.

Prices:

An oil change costs 89 pounds. A new set of tyres is fitted for 60 pounds, the tyres not included.

WARRANTY
Repairs carry a guarantee of two years. Bring the invoice.

Our address
-----------
14 Station Road, behind the fire brigade. Telephone 555 0142.
"""


@pytest.fixture(scope="module")
def hotel() -> Facts:
    return Facts(HOTEL)


@pytest.fixture(scope="module")
def garage() -> Facts:
    return Facts(GARAGE)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        # as the text has it
        ("What are your opening hours?", "6:30 in the morning"),
        ("What is the refund policy?", "returned to your card"),
        ("Is there parking?", "12 spaces in the courtyard"),
        ("Do you have Wi-Fi?", "password stands on your key card"),
        # in other words
        ("Where can I leave my car overnight?", "12 spaces in the courtyard"),
        ("Can I bring my puppy along?", "Dogs are welcome"),
        ("How do I get my money back?", "returned to your card"),
        ("What if I have to call off my trip, is cancelling free?", "48 hours before arrival"),
        ("Is there internet in the rooms?", "password stands on your key card"),
        ("How do I get there from the airport?", "shuttle leaves every half hour"),
        ("Which tram goes to you?", "line 4"),
        ("Can I pay with a credit card?", "Visa, Mastercard"),
        ("Is there an elevator for my wheelchair?", "lift to all floors"),
        ("When do I have to leave on the last day?", "by 11 a.m."),
        ("How much is a cooked breakfast?", "Cooked, 7 to 9:30, 18 euros"),
        ("I am allergic to gluten, is there something for me to eat?", "gluten-free"),
        ("um hello yes I was wondering if there might be any parking at all", "12 spaces in the courtyard"),
        # as a recogniser spells it
        ("what is your re fund policy", "returned to your card"),
        ("when is brake fast served", "Continental"),
        ("is there why fi or wi fi", "password stands on your key card"),
        ("do you have parkin", "12 spaces in the courtyard"),
        ("do you have a weelchair room", "fitted for wheelchairs"),
        ("what time is the checkin", "ready from 3 p.m."),
        ("what is your cancelation polisy", "48 hours before arrival"),
        ("are dawgs or doggs allowed", "Dogs are welcome"),
        ("the resepshun, when is it open", "6:30 in the morning"),
    ],
)
def test_the_right_passage_is_told(question: str, said: str, hotel: Facts) -> None:
    told = hotel.look_up(question)
    assert said in told, told
    assert len(told) <= BUDGET


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("are you open on saturday", "Saturday 9 to 13"),
        ("can I come by on a Sunday", "Closed on Sundays"),
        ("what does an oil change cost", "89 pounds"),
        ("how much are new tires fitted", "60 pounds"),
        ("is there a warrenty on repairs", "two years"),
        ("where are you", "14 Station Road"),
        ("what is your fone number", "555 0142"),
        ("how late are you open", "8 to 18"),
    ],
)
def test_plain_text_has_headings_of_its_own(question: str, said: str, garage: Facts) -> None:
    told = garage.look_up(question)
    assert said in told, told


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "Who won the football match yesterday?",
        "Do you sell bicycles?",
        "Translate this poem into Greek",
        "zzyzx qwrtp",
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(question: str, hotel: Facts) -> None:
    with pytest.raises(ToolError, match=r"^There is nothing about that in our information\.$"):
        hotel.look_up(question)


@pytest.mark.parametrize("question", ["", "   ", "???", "what about it", "你好"])
def test_a_question_without_a_word_is_sent_back(question: str, hotel: Facts) -> None:
    with pytest.raises(ToolError, match=r"^Please ask for something in particular\.$"):
        hotel.look_up(question)


def test_the_best_comes_first_with_its_heading_and_without_marks(hotel: Facts) -> None:
    told = hotel.look_up("parking")
    assert told.startswith("Parking: We have 12 spaces")
    assert "Mill Street is three minutes" in told and "http" not in told and "[" not in told
    everything = " ".join(f"{p.heading} {p.text}" for p in hotel.passages)
    assert not set("*|[]<>") & set(everything) and "front desk" not in everything
    assert "Harbor Hotel" not in {p.heading for p in hotel.passages if "spaces" in p.text}


def test_several_passages_are_told_where_several_fit() -> None:
    facts = Facts("## Dogs\n\nDogs sleep on the ground floor.\n\nDogs pay ten euros.\n\n## Cats\n\nNone.")
    told = facts.look_up("dogs")
    assert told.startswith("Dogs: ") and "ground floor" in told and "ten euros" in told
    assert told.count("Dogs: ") == 1 and "None" not in told


def test_a_long_paragraph_is_split_between_sentences() -> None:
    text = " ".join(f"Sentence number {n} says that room {n} has a view of the harbour." for n in range(20))
    found = list(passages(text))
    assert len(found) > 3 and all(len(p.text) <= PASSAGE and p.text.endswith("harbour.") for p in found)
    assert " ".join(p.text for p in found) == text
    assert "room 17 " in Facts(text).look_up("which view has room 17")


def test_a_file_of_headings_alone_can_be_looked_up() -> None:
    assert (
        Facts("# We open at nine\n\n# We close at five").look_up("when do you close").startswith("We close")
    )


def test_the_tool(tmp_path: Path) -> None:
    file = tmp_path / "facts.md"
    file.write_text(HOTEL, encoding="utf-8")
    tool = facts_tool(file)
    assert tool.spec.name == "find_information" and tool.read_only
    assert tool.spec.parameters["required"] == ["question"]
    assert tool.spec.description.startswith("Look up facts about the business: ")
    assert "Opening hours" in tool.spec.description and len(tool.spec.description) < 180
    result = asyncio.run(tool.run({"question": "is there parking"}))
    assert result.error is None and "12 spaces" in result.text
    refused = asyncio.run(tool.run({"question": "what is the capital of France"}))
    assert refused.error == "There is nothing about that in our information."


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    file = tmp_path / "facts.md"
    for content, told in (
        (b"", "no words"),
        (b"\n --- \n\n#\n", "no words"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "no text"),
        (b"opening\0hours", "no text"),
        ("Öffnungszeiten".encode("utf-16"), "UTF-8"),
        (b"x " * LARGEST, "larger than 1 MiB"),
    ):
        file.write_bytes(content)
        with pytest.raises(FactsError, match=told) as caught:
            load_facts(file)
        assert str(file) in str(caught.value)
    with pytest.raises(FactsError, match=r"No such file.*--facts"):
        facts_tool(tmp_path / "none.md")
    with pytest.raises(FactsError, match="Is a directory"):
        facts_tool(tmp_path)


def test_a_byte_order_mark_and_windows_lines_are_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "facts.txt"
    file.write_bytes(b"\xef\xbb\xbf# Parking\r\n\r\nBehind the house.\r\n")
    assert load_facts(file).look_up("parking") == "Parking: Behind the house."


def test_a_large_file_is_indexed_once_and_searched_without_reading_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "facts.md"
    parts = [f"## Article {n}\n\nItem{n} costs {n} euros and weighs {n % 7} kilos." for n in range(12_000)]
    file.write_text("\n\n".join(parts))
    facts = load_facts(file)
    file.unlink()
    monkeypatch.setattr("stretto.agent.facts.passages", None)
    assert "Item7777 costs" in facts.look_up("what does item7777 cost")


words = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "#",
        "##",
        "---",
        "===",
        "|",
        "- ",
        "\n",
        "\n\n",
        "**",
        "[a](b)",
        "<b>",
        "parking",
        "refund",
        "OPEN",
        ":",
    ]
)
texts = st.lists(words, max_size=60).map(" ".join) | st.lists(words, max_size=40).map("".join)


@settings(deadline=None)
@given(texts, texts, st.integers(0, 900))
def test_whatever_is_asked_the_answer_keeps_to_its_budget(text: str, question: str, budget: int) -> None:
    for passage in passages(text):
        assert passage.text.strip() and len(passage.text) <= PASSAGE and "\n" not in passage.text
    try:
        told = Facts(text).look_up(question, budget)
    except (FactsError, ToolError) as error:
        assert str(error)[0].isalpha()
    else:
        assert len(told) <= budget


@settings(deadline=None)
@given(st.text())
def test_any_question_is_answered_or_refused(hotel: Facts, question: str) -> None:
    try:
        assert 0 < len(hotel.look_up(question)) <= BUDGET
    except ToolError as error:
        assert str(error).endswith(".")


@settings(deadline=None)
@given(st.sampled_from([p.text for p in Facts(HOTEL).passages]))
def test_a_passage_finds_itself(hotel: Facts, text: str) -> None:
    assert text in hotel.look_up(text)


def test_stems() -> None:
    for group in (
        "park parks parked parking",
        "cancel cancels cancelled cancelling cancellation",
        "refund refunds refunded refunding refundable",
        "open opens opened opening openings",
        "reserve reserves reserved reserving reservation reservations",
        "city cities",
        "pay pays paying payment payments",
        "dog dogs",
    ):
        assert len({stem_of(word) for word in group.split()}) == 1, {w: stem_of(w) for w in group.split()}
    assert stem_of("bus") == "bus" and stem_of("glass") == "glass" and stem_of("9") == "9"
