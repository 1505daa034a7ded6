"""Who is let in: keys, tokens, origins, numbers."""

from __future__ import annotations

import string
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.agent.server import doors
from stretto.agent.server.doors import SUBPROTOCOL_KEY, Doors, Refused, mint

HOST = {"Host": "127.0.0.1:8080"}


def bearer(key: str) -> dict[str, str]:
    return HOST | {"Authorization": f"Bearer {key}"}


def status_of(call) -> HTTPStatus:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.status


def answer(door: Doors, key: str, now: float, peer: str) -> HTTPStatus:
    """What somebody is told who may not come in."""
    return status_of(lambda: door.admit(bearer(key), now, peer))


def test_without_keys_everybody_on_this_machine_may_come_in():
    assert Doors().admit(HOST, 0.0) == doors.NOBODY
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.5:8080", "[::1]", "[::1]:8080"):
        assert Doors().admit({"Host": host}, 0.0) == doors.NOBODY


@pytest.mark.parametrize(
    "host",
    ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:1", ""],
)
def test_without_keys_no_request_to_another_name_is_taken(host):
    """A page whose name was made to point to this machine reads as from its own server: without an Origin."""
    assert status_of(lambda: Doors().admit({"Host": host}, 0.0)) is HTTPStatus.FORBIDDEN
    assert status_of(lambda: Doors(origins=["*"]).admit({"Host": host}, 0.0)) is HTTPStatus.FORBIDDEN
    Doors(keys=["key"]).admit({"Host": host, "Authorization": "Bearer key"}, 0.0)


def test_a_key_is_asked_for_and_told_from_others():
    door = Doors(keys=["first-key", "other-key"])
    assert status_of(lambda: door.admit(HOST, 0.0)) is HTTPStatus.UNAUTHORIZED
    assert status_of(lambda: door.admit(bearer("first-ke"), 0.0)) is HTTPStatus.UNAUTHORIZED
    assert status_of(lambda: door.admit(bearer("first-key2"), 0.0)) is HTTPStatus.UNAUTHORIZED
    assert status_of(lambda: door.admit(bearer("schlüssel"), 0.0)) is HTTPStatus.UNAUTHORIZED
    one, two = (door.admit(bearer(key), 0.0) for key in ("first-key", "other-key"))
    assert one != two and "key" not in one
    assert door.key_of(two) == "other-key"
    browser = HOST | {"Sec-WebSocket-Protocol": f"realtime, {SUBPROTOCOL_KEY}other-key"}
    assert door.admit(browser, 0.0) == two


def test_a_token_stands_for_its_key_until_it_is_old(monkeypatch):
    door = Doors(keys=["first-key", "other-key"])
    token = mint("other-key", 60)
    assert "other-key" not in token
    assert door.admit(bearer(token), 0.0) == door.admit(bearer("other-key"), 0.0)
    assert status_of(lambda: Doors(keys=["third"]).admit(bearer(token), 0.0)) is HTTPStatus.UNAUTHORIZED
    from itsdangerous import TimestampSigner

    now = TimestampSigner.get_timestamp
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: now(self) + 61)
    assert status_of(lambda: door.admit(bearer(token), 0.0)) is HTTPStatus.UNAUTHORIZED


def test_a_token_is_for_calls_alone():
    door = Doors(keys=["key"])
    token = mint("key")
    assert status_of(lambda: door.admit(bearer(token), 0.0, tokens=False)) is HTTPStatus.FORBIDDEN
    assert door.admit(bearer("key"), 0.0, tokens=False) == door.admit(bearer(token), 0.0)


def test_who_guesses_keys_must_wait_and_nobody_else():
    door = Doors(keys=["key", "other"], requests_per_minute=3)
    door.admit(bearer("key"), 0.0, "192.0.2.1")
    for n in range(3):
        assert answer(door, f"guess-{n}", 1.0, "192.0.2.1") is HTTPStatus.UNAUTHORIZED
    for guess in ("guess-3", "other", mint("other")):  # whoever guesses right does not learn of it
        assert answer(door, guess, 2.0, "192.0.2.1") is HTTPStatus.TOO_MANY_REQUESTS
    door.admit(bearer("key"), 2.0, "192.0.2.1")  # is in use there
    door.admit(bearer("other"), 2.0, "192.0.2.2")
    door.admit(bearer("other"), 61.5, "192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_guesses_are_counted_by_who_has_the_address(one, other, same):
    door = Doors(keys=["key"], requests_per_minute=1)
    assert answer(door, "guess", 0.0, one) is HTTPStatus.UNAUTHORIZED
    expected = HTTPStatus.TOO_MANY_REQUESTS if same else HTTPStatus.UNAUTHORIZED
    assert answer(door, "guess", 0.0, other) is expected


def test_addresses_that_guess_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(doors, "PEERS_KEPT", 5)
    door = Doors(keys=["key"])
    for n in range(20):
        assert answer(door, "guess", 0.0, f"192.0.2.{n}") is HTTPStatus.UNAUTHORIZED
        door.admit(bearer("key"), float(n), f"192.0.2.{n}")
    assert len(door._wrong) == len(door._right) == 5


def test_a_key_of_other_letters_is_only_wrong():
    """A header's bytes beyond ASCII come as halves of surrogate pairs."""
    door = Doors(keys=["clé"])
    assert status_of(lambda: door.admit(bearer("cl\udce9"), 0.0)) is HTTPStatus.UNAUTHORIZED
    door.admit(bearer("cl\udcc3\udca9"), 0.0)


@given(st.text(string.printable, max_size=80), st.integers(0, 60))
def test_no_other_token_is_taken(text, place):
    door = Doors(keys=["key"], requests_per_minute=10**9)
    token = mint("key")
    changed = token[:place] + text + token[place + len(text) :]
    for given_ in (text, f"stk_{text}", changed):
        if given_.strip() not in (token, "key"):
            assert status_of(lambda given_=given_: door.admit(bearer(given_), 0.0)) is HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    ("origin", "host", "keys", "may"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", [], True),
        ("http://localhost:8080", "localhost:8080", [], True),
        ("http://[::1]:8080", "[::1]:8080", [], True),
        ("http://127.0.0.1:9999", "127.0.0.1:8080", [], False),
        ("https://evil.example", "127.0.0.1:8080", [], False),
        # A name of the attacker's that was made to point to this machine.
        ("http://evil.example:8080", "evil.example:8080", [], False),
        ("https://voice.example", "voice.example", ["key"], True),
        ("https://evil.example", "voice.example", ["key"], False),
        ("null", "127.0.0.1:8080", [], False),
        ("http://[", "127.0.0.1:8080", [], False),
        ("https://shop.example", "voice.example", ["key"], True),
    ],
)
def test_pages_of_other_origins_are_kept_out(origin, host, keys, may):
    door = Doors(keys=keys, origins=["https://shop.example"])
    headers = {"Host": host, "Origin": origin} | ({"Authorization": "Bearer key"} if keys else {})
    if may:
        door.admit(headers, 0.0)
    else:
        assert status_of(lambda: door.admit(headers, 0.0)) is HTTPStatus.FORBIDDEN


def test_calls_and_requests_are_counted():
    door = Doors(keys=["a", "b"], max_sessions=3, sessions_per_key=2, requests_per_minute=3)
    a, b = (door.admit(bearer(key), 0.0) for key in "ab")
    with door.session(a), door.session(a):
        assert status_of(lambda: door.check_room(a)) is HTTPStatus.TOO_MANY_REQUESTS
        with door.session(b):
            assert door.sessions == 3
            assert status_of(lambda: door.check_room(b)) is HTTPStatus.SERVICE_UNAVAILABLE
    assert door.sessions == 0
    door.admit(bearer("a"), 1.0)
    door.admit(bearer("a"), 2.0)
    assert status_of(lambda: door.admit(bearer("a"), 3.0)) is HTTPStatus.TOO_MANY_REQUESTS
    door.admit(bearer("b"), 3.0)
    door.admit(bearer("a"), 60.5)
