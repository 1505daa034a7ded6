"""Who may come in, from where, and how often. Pure: `now` is seconds on a monotonic clock.

Without keys only this machine may (the server listens on loopback then). A browser says which page it stands
on (`Origin`), and only pages of this server and of the allowed origins may: else any web page could talk to
a server on its visitor's machine.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeTimedSerializer

TOKEN_S = 60
"""Lifetime of a token, seconds: long enough to connect, too short to be worth stealing."""
SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""Browsers cannot set headers on a WebSocket: the key or token stands behind this in a subprotocol's name."""
NOBODY = "local"
"""Whose calls they are where no key is asked for."""


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

    @property
    def sessions(self) -> int:
        """Calls at present."""
        return self._open.total()

    def admit(self, headers: Mapping[str, str], now: float) -> str:
        """Check a request; the name of whoever asks. Header names as written here. Raises Refused."""
        self._check_origin(headers.get("Origin"), headers.get("Host", ""))
        name = self._who(headers)
        self._count(name, now)
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
        if self.keys and self._open[name] >= self.sessions_per_key:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "this key holds as many calls as it may")

    def key_of(self, name: str) -> str | None:
        """The key of somebody who was admitted."""
        return next((key for key in self.keys if _name(key) == name), None)

    def _check_origin(self, origin: str | None, host: str) -> None:
        if origin is None or "*" in self.origins or origin in self.origins:
            return
        # The page of this server itself; a name that only resolves to this machine is no such name.
        mine = host.rsplit(":", 1)[0] if ":" in host and not host.endswith("]") else host
        local = mine.strip("[]") in ("localhost", "127.0.0.1", "::1")
        if urlsplit(origin).netloc != host or not (local or self.keys):
            raise Refused(
                HTTPStatus.FORBIDDEN, f"pages of {origin[:200]} may not call: add it to [serve] origins"
            )

    def _who(self, headers: Mapping[str, str]) -> str:
        if not self.keys:
            return NOBODY
        given = _given(headers)
        if given is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "give a key: Authorization: Bearer KEY")
        found = None
        for key in self.keys:  # all of them, whether one fits or not: the time must not tell
            if hmac.compare_digest(given.encode(), key.encode()):
                found = key
        if found is None and given.startswith("stk_"):
            found = self._stands_for(given.removeprefix("stk_"))
        if found is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "this key is not known here, or the token is too old")
        return _name(found)

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

    def _count(self, name: str, now: float) -> None:
        asked = self._asked.setdefault(name, deque())
        while asked and now - asked[0] >= 60:
            asked.popleft()
        if len(asked) >= self.requests_per_minute:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests in a minute")
        asked.append(now)


def _given(headers: Mapping[str, str]) -> str | None:
    """The key or token of a request: of its Authorization, or of a browser's subprotocols."""
    kind, _, value = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    offered = (name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(","))
    return next((n.removeprefix(SUBPROTOCOL_KEY) for n in offered if n.startswith(SUBPROTOCOL_KEY)), None)
