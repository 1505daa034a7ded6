"""Dates, times and numbers as callers say them and as recognisers write them."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.tools.spoken_number import SpokenNumberError, fold_numbers, ordinal
from stretto.tools.spoken_time import (
    SpokenTimeError,
    resolve_date,
    resolve_digits,
    resolve_number,
    resolve_time,
    say_date,
    say_time,
)

NOW = datetime(2026, 11, 21, 10, 0)  # a Saturday
EVENING = (time(11), time(22))

DATES = {
    "11-21": "today|tonight|this evening|this morning",
    "11-22": "tomorrow|tomorrow evening|sunday|Sunday, please.|this Sunday|the 22nd",
    "11-23": "the day after tomorrow|day after tomorrow|monday|next week monday|monday next week|next Monday",
    "11-24": "in three days|in 3 days|three days from now|Tues the 24th|on the 24 of November",
    "11-27": (
        "Friday|this Friday|on Friday, please|next Friday|the 27th|the twenty seventh of November|"
        "November 27|"
        "November 27th|27 November|Friday the 27th|2026-11-27|twenty seventh|"
        "Friday the 27th of November|"
        "november twenty seven|Nov. 27|11/27|November 27, 2026|the 20 7th|Friday, November 27th|"
        "the twenty-seventh|Thursday, no, Friday|friday at 7|next friday, the 27th|"
        "Twenty Seventh of November."
    ),
    "11-28": "saturday|in a week|a week from today|in 1 week",
    "11-29": "one week from tomorrow|the 29th",
    "11-30": "a week from Monday|Monday week|Monday the 30th|the thirtieth",
    "12-02": "Wednesday the second of December|2nd of December|the 2nd",
    "12-03": "the 3rd|December 3rd|the third of December|dec 3|third",
    "12-04": "Friday after next|a week from next Friday|a week on Friday|Friday in two weeks",
    "12-05": "in two weeks|in a fortnight|2 weeks from now",
    "12-21": "in a month",
    "12-24": "Dec 24|Christmas Eve|the twenty fourth of december",
    "12-31": "the 31st|New Year's Eve",
}
TIMES = {
    "19:30": (
        "half past seven|half past 7|7.30|7:30pm|7 30|seven thirty in the evening|nineteen thirty|730|"
        "7:30 p.m.|"
        "19:30|half seven|seven-thirty|1930|Seven, thirty.|7:30 PM.|at 7:30|"
        "Friday the 27th at 7:30|seven thirty p m"
    ),
    "19:45": "quarter to eight|a quarter to 8|quarter 2 8|seven forty five pm|7 45|quarter of eight",
    "19:15": "quarter past 7|seven fifteen|fifteen past seven",
    "19:05": "7 oh 5 pm|seven oh five|five past seven",
    "19:00": "7 p.m.|7 pm|7pm|seven pm|around seven|7 o'clock|November 27 at 7|19|1900 hours",
    "20:00": "eight o'clock|8|8 o'clock|at eight|eight p m|8ish|for four people at 8|seven, no, eight",
    "18:10": "ten past six|10 minutes past 6",
    "20:40": "twenty to nine|20 to 9",
    "18:25": "twenty five past six",
    "12:00": "noon|midday|12|12 noon|twelve",
    "12:30": "twelve thirty|half past twelve",
    "13:30": "one thirty|half past one|1:30",
    "14:00": "2 in the afternoon|two|2 pm",
    "16:30": "for 30|430P.|at four 30|4 30 PM",
    "14:45": "to 45",
    "21:15": "9:15 at night|quarter past nine",
    "11:30": "eleven thirty|11.30",
    "07:30": "7:30 a.m.|07:30|seven thirty in the morning|7 30 am",
    "00:00": "midnight|12 am",
}


@pytest.mark.parametrize(
    ("text", "day"), [(text, day) for day, texts in DATES.items() for text in texts.split("|")]
)
def test_dates(text: str, day: str) -> None:
    assert resolve_date(text, NOW) == date.fromisoformat(f"2026-{day}")


@pytest.mark.parametrize(
    ("text", "moment"), [(text, at) for at, texts in TIMES.items() for text in texts.split("|")]
)
def test_times(text: str, moment: str) -> None:
    assert resolve_time(text, EVENING) == time.fromisoformat(moment)


@pytest.mark.parametrize(
    ("text", "day"),
    [("January fifth", "2027-01-05"), ("november 3", "2027-11-03"), ("february 29", "2028-02-29")],
)
def test_a_day_that_has_passed_is_next_years(text: str, day: str) -> None:
    assert resolve_date(text, NOW) == date.fromisoformat(day)


@pytest.mark.parametrize("weekday", range(7))
def test_this_and_next_weekday_from_every_day_of_the_week(weekday: int) -> None:
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    now = datetime(2026, 11, 16, 9) + timedelta(days=weekday)
    for index, name in enumerate(names):
        coming, following = resolve_date(name, now), resolve_date(f"next {name}", now)
        assert coming.weekday() == following.weekday() == index
        assert 1 <= (coming - now.date()).days <= 7
        assert following == date(2026, 11, 23) + timedelta(days=index)


def test_opening_hours_choose_the_half_of_the_day() -> None:
    assert resolve_time("9", (time(9), time(18))) == time(9)
    assert resolve_time("3", (time(9), time(18))) == time(15)
    assert resolve_time("8", EVENING) == time(20)
    assert [resolve_time(str(hour)).hour for hour in range(1, 13)] == [
        13,
        14,
        15,
        16,
        17,
        18,
        7,
        8,
        9,
        10,
        11,
        12,
    ]


@pytest.mark.parametrize(
    "text", ["blue", "", "next week", "the weekend", "may", "half past seven", "the 45th"]
)
def test_no_day(text: str) -> None:
    with pytest.raises(SpokenTimeError, match="could not tell which day"):
        resolve_date(text, NOW)


@pytest.mark.parametrize("text", ["November 3 2025", "2026-11-20", "yesterday"])
def test_days_in_the_past(text: str) -> None:
    with pytest.raises(SpokenTimeError, match="in the past"):
        resolve_date(text, NOW)


def test_weekday_and_date_that_disagree() -> None:
    with pytest.raises(SpokenTimeError, match=r"^The 27th of November is a Friday, not a Thursday\.$"):
        resolve_date("Thursday the 27th", NOW)


@pytest.mark.parametrize("text", ["blue", "", "25", "7:75", "thirty", "tomorrow"])
def test_no_time(text: str) -> None:
    with pytest.raises(SpokenTimeError, match="could not tell which time"):
        resolve_time(text, EVENING)


@given(st.integers(0, 364), st.dates(date(2024, 1, 1), date(2027, 12, 31)))
@settings(max_examples=300, deadline=None)
def test_a_date_said_is_the_date_understood(ahead: int, today: date) -> None:
    day = today + timedelta(days=ahead)
    assert resolve_date(say_date(day), datetime.combine(today, time(9))) == day


@given(st.times())
@settings(max_examples=300, deadline=None)
def test_a_time_said_is_the_time_understood(moment: time) -> None:
    moment = moment.replace(second=0, microsecond=0)
    assert resolve_time(say_time(moment)) == moment
    assert resolve_time(say_time(moment), EVENING) == moment


@given(st.text(max_size=40), st.dates(date(2024, 1, 1), date(2027, 12, 31)))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_day_to_come_or_a_clear_error(text: str, today: date) -> None:
    try:
        assert resolve_date(text, datetime.combine(today, time(9))) >= today
    except SpokenTimeError as error:
        assert str(error).endswith(".")


WORDS = st.lists(
    st.sampled_from(
        re.findall(
            r"\S+",
            "next this friday monday the of november second 27th 7 30 half past to quarter in three days "
            "week from twenty pm a.m. at noon tomorrow no 11/27 february 4 thousand hundred double oh",
        )
    ),
    max_size=6,
).map(" ".join)


@given(WORDS)
@settings(max_examples=400, deadline=None)
def test_any_words_give_a_value_or_a_clear_error(text: str) -> None:
    for resolve in (
        lambda: resolve_date(text, NOW),
        lambda: resolve_time(text),
        lambda: resolve_number(text),
    ):
        try:
            resolve()
        except (SpokenTimeError, SpokenNumberError) as error:
            assert str(error).endswith(".")


def test_what_is_said() -> None:
    assert say_date(date(2026, 11, 27)) == "Friday the 27th of November"
    assert [say_time(time(*at)) for at in ((19, 30), (19, 0), (12, 0), (0, 0), (9, 5), (0, 30))] == [
        "7:30 pm",
        "7 pm",
        "noon",
        "midnight",
        "9:05 am",
        "12:30 am",
    ]
    said = " ".join(ordinal(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 31))
    assert said == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 31st"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "four eight two one",
            "4821",
            "48 21",
            "4-8-2-1",
            "4 8 2 1",
            "4821.",
            "forty eight twenty one",
            "4,821",
        ),
        *(
            "it's 4-8-2-1",
            "number four eight, two one",
            "for 821",
            "Four eight two won",
            "my order is 4821",
            "#4821",
        ),
        *("four thousand eight hundred and twenty one", "forty eight hundred twenty one", "4 8 to 1"),
    ],
)
def test_digits(text: str) -> None:
    assert resolve_digits(text) == "4821"


def test_more_digits() -> None:
    assert resolve_digits("oh double two nine") == "0229"
    assert resolve_digits("one triple zero") == "1000"
    assert resolve_digits("868o") == resolve_digits("86 8o") == "8680"
    for text in ("blue", "482", "48211", "", "four"):
        with pytest.raises(SpokenNumberError, match="4 digits"):
            resolve_digits(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(
            ("four", 4),
            ("4", 4),
            ("for 4 people", 4),
            ("twenty one", 21),
            ("twenty-one", 21),
            ("a couple", 2),
        ),
        *(
            ("one hundred and five", 105),
            ("a dozen", 12),
            ("three, no, four", 4),
            ("just me", 1),
            ("Two.", 2),
        ),
        *(("four eight two one", 4821), ("two thousand and six", 2006), ("for", 4)),
    ],
)
def test_numbers(text: str, number: int) -> None:
    assert resolve_number(text) == number


def test_no_number() -> None:
    with pytest.raises(SpokenNumberError, match="which number 'blue'"):
        resolve_number("blue")


def test_folding() -> None:
    assert fold_numbers("Seven Thirty-Five on the twenty first, seven oh five") == "7 35 on the 21st 7 05"
