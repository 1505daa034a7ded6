"""Who may ask: with keys whoever shows one, without keys programs on this machine.

A web page can have its visitor's browser send requests to a server on the visitor's own machine, and the name
of the page can be made to point there. So without keys a request must be made to this machine by name, and
come from no other page.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from starlette.datastructures import Headers
from stretto.llm.serve.error import ApiError
from stretto.llm.serve.loopback import host_of, is_local, netloc


@dataclass(frozen=True)
class Doors:
    """`keys`: API keys, any of which opens."""

    keys: tuple[str, ...] = ()

    def check(self, headers: Headers) -> None:
        """Raises ApiError for a request that is not let in."""
        if self.keys:
            self._check_key(headers.get("authorization", ""))
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_local(host_of(host)):
            raise _forbidden(
                f"without keys only this machine may ask, at 127.0.0.1 or localhost, not {host[:200]!r}: "
                "start the server with --key"
            )
        if origin is not None and netloc(origin) != host:
            raise _forbidden(f"pages of {origin[:200]} may not ask: start the server with --key")

    def _check_key(self, authorization: str) -> None:
        kind, _, given = authorization.partition(" ")
        given = given.strip() if kind.lower() == "bearer" else ""
        found = False
        for key in self.keys:  # all of them, whether one fits or not: the time must not tell
            found |= hmac.compare_digest(given.encode(errors="replace"), key.encode())
        if not found:
            told = "this key is not known here" if given else "give a key: Authorization: Bearer KEY"
            raise ApiError(told, status=401, kind="authentication_error", code="invalid_api_key")


def _forbidden(message: str) -> ApiError:
    return ApiError(message, status=403, kind="permission_error", code="forbidden")
