from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.audio.normalise import spoken

TABLE = {
    "Your table is at 7:30 pm.": "Your table is at seven thirty PM.",
    "It leaves at 19:30, arriving 20:05.": "It leaves at nineteen thirty, arriving twenty oh five.",
    "Open 7:00 to 8 a.m.": "Open seven o'clock to eight AM.",
    "At 7 p.m. Shall I book?": "At seven PM. Shall I book?",
    "It costs £12.50 or $1,200.": "It costs twelve pounds fifty or one thousand two hundred dollars.",
    "It is $0.50, $1 or $3 million.": "It is fifty cents, one dollar or three million dollars.",
    "That is $12.05.": "That is twelve dollars and five cents.",
    "The bill is 45.50 pounds.": "The bill is forty five pounds fifty.",
    "On 2026-11-27.": "On November twenty seventh, twenty twenty six.",
    "Nov 27, 2026 is a Friday.": "November twenty seventh, twenty twenty six is a Friday.",
    "See you on 27 November.": "See you on the twenty seventh of November.",
    "See you on the 3rd of May!": "See you on the third of May!",
    "On March 3rd.": "On March third.",
    "May I help, or may 5 people come?": "May I help, or may five people come?",
    "In 1999 or May 2026.": "In nineteen ninety nine or May twenty twenty six.",
    "Call 01223 351880.": "Call zero one two two three, three five one eight eight zero.",
    "Call 555-0123.": "Call five five five, zero one two three.",
    "Dial +44 20 7946.": "Dial plus four four, two zero, seven nine four six.",
    "Write to jane.smith@example.com.": "Write to jane dot smith at example dot com.",
    "Visit www.golden-lion.com today": "Visit golden dash lion dot com today",
    "Your code is K4P7.": "Your code is K four P seven.",
    "Your reference number is 4821.": "Your reference number is four eight two one.",
    "Order number 0042, please.": "Order number zero zero four two, please.",
    "Confirmation ABC123": "Confirmation eigh B C one two three",
    "Order 3 pizzas, number 12.": "Order three pizzas, number twelve.",
    "Postcode CB2 1TJ": "Postcode C B two one T J",
    "1st, 22nd and 3rd": "first, twenty second and third",
    "Dr. Brown lives at 12 Mill St.": "Doctor Brown lives at twelve Mill Street.",
    "St. Mary's is near Mr. Smith's.": "Saint Mary's is near Mister Smith's.",
    "4.5 stars, 24/7, 3/4, 20% off, 20°C": (
        "four point five stars, twenty four seven, three quarters, twenty percent off, twenty degrees Celsius"
    ),
    "10-15 minutes or 2 km": "ten to fifteen minutes or two kilometres",
    "From Fri to Sun.": "From Friday to Sunday.",
    "Wi-Fi & parking (free) - yes": "Wi Fi and parking, free, yes",
    "Wait... what?! 😀": "Wait, what?",
    "-5 degrees": "minus five degrees",
    "BBC news": "B B C news",
}


@pytest.mark.parametrize("text", TABLE)
def test_spoken_form(text: str) -> None:
    assert " ".join(word for word, _, _ in spoken(text)) == TABLE[text]


@given(st.text(alphabet="aBc 19.:,-/$£@#%&()'\"?!+\n…—é€pmst", max_size=40) | st.text(max_size=30))
def test_any_text_gives_words_with_ordered_spans_inside_it(text: str) -> None:
    words = spoken(text)
    assert all(0 <= start < end <= len(text) for _, start, end in words)
    assert all(a[1] <= b[1] and a[2] <= b[2] for a, b in itertools.pairwise(words))
    assert all(word and " " not in word for word, _, _ in words)


def test_no_full_stop_inside_a_sentence() -> None:
    """A dot would end the sentence for the synthesiser."""
    for text in ("At 7 p.m. today", "Mr. and Mrs. J. Smith, e.g. at St. Ives vs. no. 5", "U.S. example.com"):
        assert not any(word.endswith(".") for word, _, _ in spoken(text)[:-1]), spoken(text)
