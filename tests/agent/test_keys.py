"""Keys of the telephone: what they are gathered to, and what a session makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent.keypad import KEYS, LONGEST, Keypad, check_key


def test_an_entry_ends_with_a_hash_or_a_pause():
    keypad = Keypad(2.0)
    assert [keypad.press(key, 0.1 * n) for n, key in enumerate("42#")] == [None, None, "42"]
    assert keypad.time_passed(100.0) is None
    assert keypad.press("7", 10.0) is None
    assert keypad.time_passed(11.9) is None
    assert keypad.press("1", 11.95) is None
    assert keypad.time_passed(13.9) is None
    assert keypad.time_passed(14.0) == "71"
    assert keypad.press("#", 20.0) == "#"


@given(st.lists(st.sampled_from(sorted(KEYS - {"#"})), min_size=1, max_size=200))
def test_no_key_is_lost_and_no_entry_is_endless(keys):
    keypad = Keypad(2.0)
    entries = [keypad.press(key, 0.0) for key in keys]
    rest = keypad.time_passed(2.0)
    told = [entry for entry in [*entries, rest] if entry]
    assert "".join(told) == "".join(keys)
    assert max(map(len, told)) <= LONGEST


@pytest.mark.parametrize("wrong", ["", "12", "a", "E", "\ud800", "٣", " "])
def test_what_is_no_key_is_refused(wrong):
    with pytest.raises(ValueError, match="0-9"):
        check_key(wrong)
