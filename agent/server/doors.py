"""Who may come in, from where, and how often. Pure: `now` is seconds on a monotonic clock.

Without keys only this machine may: the server listens on loopback then, and takes no request that was made to
another name (a web page's own name may be made to point to this machine). A browser says which page it stands
on (`Origin`), and only pages of this server and of the allowed origins may: else any web page could talk to
a server on its visitor's machine.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from itsdangerous import BadData, URLSafeTimedSerializer
from stretto.llm.serve.loopback import host_of, is_local, netloc

K = TypeVar("K")
V = TypeVar("V")

TOKEN_S = 60
"""Lifetime of a token, seconds: long enough to connect, too short to be worth stealing."""
SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""Browsers cannot set headers on a WebSocket: the key or token stands behind this in a subprotocol's name."""
NOBODY = "local"
"""Whose calls they are where no key is asked for."""
PEERS_KEPT = 10_000
"""Addresses of which wrong keys, or keys that were right, are remembered at most."""


class Refused(Exception):
    """Somebody is not let in; the message says what to do."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def mint(key: str, lifetime_s: int = TOKEN_S) -> str:
    """A token that stands for an API key for a while, to be handed to a browser: `stk_…`."""
    return "stk_" + _signer(key).dumps([_name(key), lifetime_s])


def _signer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="stretto.token", signer_kwargs={"digest_method": hashlib.sha256})


def _name(key: str) -> str:
    """What a key is called in records: nothing of it can be learnt from that."""
    return hashlib.sha256(f"stretto/{key}".encode()).hexdigest()[:12]


@dataclass
class Doors:
    """Numbers are limits; see `ServeSettings`."""

    keys: Sequence[str] = ()
    origins: Sequence[str] = ()
    max_sessions: int = 8
    sessions_per_key: int = 4
    requests_per_minute: int = 60
    _open: Counter[str] = field(default_factory=Counter)
    _asked: dict[str, deque[float]] = field(default_factory=dict)
    _wrong: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    """When a peer showed keys that are none."""
    _right: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    """Who came in from where."""

    @property
    def sessions(self) -> int:
        """Calls at present."""
        return self._open.total()

    def admit(self, headers: Mapping[str, str], now: float, peer: str = "", *, tokens: bool = True) -> str:
        """Check a request from an address; the name of whoever asks. Header names as written here.

        `tokens` False: only a key itself will do. Raises Refused.
        """
        host = headers.get("Host", "")
        if not self.keys and not is_local(host_of(host)):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"without keys only this machine may call, at 127.0.0.1 or localhost, not {host[:200]!r}: "
                "set [serve] keys",
            )
        self._check_origin(headers.get("Origin"), host)
        name = self._who(headers, now, _network(peer), tokens) if self.keys else NOBODY
        _count(self._asked.setdefault(name, deque()), self.requests_per_minute, now)
        return name

    def admit_line(self, name: str, now: float) -> str:
        """A request of a telephone line, whose own check it has passed; its name. Raises Refused."""
        _count(self._asked.setdefault(name, deque()), self.requests_per_minute, now)
        return name

    @contextmanager
    def session(self, name: str) -> Iterator[None]:
        """A call of somebody, counted while it lasts. Raises Refused where there are too many."""
        self.check_room(name)
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            self._open += Counter()

    def check_room(self, name: str) -> None:
        """Raises Refused where no call more may begin."""
        if self.sessions >= self.max_sessions:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "all lines are busy, try again soon")
        if self.key_of(name) is not None and self._open[name] >= self.sessions_per_key:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "this key holds as many calls as it may")

    def key_of(self, name: str) -> str | None:
        """The key of somebody who was admitted."""
        return next((key for key in self.keys if _name(key) == name), None)

    def _check_origin(self, origin: str | None, host: str) -> None:
        if origin is None or "*" in self.origins or origin in self.origins:
            return
        if netloc(origin) != host or not (is_local(host_of(host)) or self.keys):
            raise Refused(
                HTTPStatus.FORBIDDEN, f"pages of {origin[:200]} may not call: add it to [serve] origins"
            )

    def _who(self, headers: Mapping[str, str], now: float, peer: str, tokens: bool) -> str:
        given = _given(headers)
        if given is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "give a key: Authorization: Bearer KEY")
        found = None
        for key in self.keys:  # all of them, whether one fits or not: the time must not tell
            if hmac.compare_digest(given.encode(errors="surrogateescape"), key.encode()):
                found = key
        stands_for = self._stands_for(given.removeprefix("stk_")) if given.startswith("stk_") else None
        known = found or stands_for
        name = None if known is None else _name(known)
        wrong = self._wrong.get(peer, deque())
        if name is None or (peer, name) not in self._right:
            # Who guesses must not learn that a guess was right; keys that are in use there stay good.
            _check_count(wrong, self.requests_per_minute, now)
        if name is None:
            wrong.append(now)
            _remember(self._wrong, peer, wrong)
            raise Refused(HTTPStatus.UNAUTHORIZED, "this key is not known here, or the token is too old")
        if found is None and not tokens:
            raise Refused(HTTPStatus.FORBIDDEN, "a token is for calls: give the key itself")
        _remember(self._right, (peer, name), None)
        return name

    def _stands_for(self, token: str) -> str | None:
        for key in self.keys:
            signer = _signer(key)
            try:
                (name, lifetime), made = signer.loads(token, return_timestamp=True)
                signer.loads(token, max_age=min(int(lifetime), 3600))
            except (BadData, ValueError, TypeError):
                continue
            if name == _name(key) and made is not None:
                return key
        return None


def _check_count(times: deque[float], most: int, now: float) -> None:
    """Raises Refused where something happened too often in the last minute; older times are forgotten."""
    while times and now - times[0] >= 60:
        times.popleft()
    if len(times) >= most:
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests in a minute")


def _count(times: deque[float], most: int, now: float) -> None:
    """Once more. Raises Refused."""
    _check_count(times, most, now)
    times.append(now)


def _remember(table: OrderedDict[K, V], key: K, value: V) -> None:
    """The newest are kept."""
    table[key] = value
    table.move_to_end(key)
    while len(table) > PEERS_KEPT:
        table.popitem(last=False)


def _network(peer: str) -> str:
    """Whose an address is: who has one of IPv6 has all of its /64."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def _given(headers: Mapping[str, str]) -> str | None:
    """The key or token of a request: of its Authorization, or of a browser's subprotocols."""
    kind, _, value = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    offered = (name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(","))
    return next((n.removeprefix(SUBPROTOCOL_KEY) for n in offered if n.startswith(SUBPROTOCOL_KEY)), None)
