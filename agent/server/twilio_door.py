"""The door for Twilio: signed requests, the answer to its webhook, and how a call is ended or handed over."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from xml.etree import ElementTree as Xml

from stretto.agent.server.doors import Refused
from stretto.agent.timeline import CallRecord

log = logging.getLogger("stretto.server")

STREAM, VOICE = "/twilio", "/twilio/voice"
"""Paths: of the WebSocket, and of the webhook."""
REST_S = 10.0
"""Twilio's REST interface may take so long."""
MOST_PARAMETERS = 20
BUSY = '<Response><Reject reason="busy" /></Response>'
"""What the webhook answers where no call more can be taken: the caller hears that the line is busy."""


def signature(token: str, url: str, parameters: Mapping[str, str] | None = None) -> str:
    """How Twilio signs a request to `url` (with its query) and the parameters of a form.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    signed = url + "".join(f"{name}{value}" for name, value in sorted((parameters or {}).items()))
    made = hmac.new(token.encode(), signed.encode(errors="surrogateescape"), hashlib.sha1).digest()
    return base64.b64encode(made).decode()


@dataclass(frozen=True)
class TwilioDoor:
    """See `TwilioSettings`. Without a token nothing is signed."""

    auth_token: str | None = None
    public_url: str | None = None
    account_sid: str | None = None
    transfer_to: str | None = None
    api_url: str = "https://api.twilio.com"

    def check(self, given: str, path: str, host: str) -> None:
        """Refuse a request whose signature is wrong. `path` with its query, as asked for. Raises Refused."""
        assert self.auth_token is not None
        right = False
        for url in self._addresses(path, host):  # all of them: the time must not tell
            right |= hmac.compare_digest(
                given.encode(errors="surrogateescape"), signature(self.auth_token, url).encode()
            )
        if not right:
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "the request is not signed with the token: see auth_token and public_url of [serve.twilio] "
                f"(signed must be {self._addresses(path, host)[0][:200]})",
            )

    def _addresses(self, path: str, host: str) -> list[str]:
        """What Twilio may have signed: it is known to add a slash to the address of a WebSocket."""
        origin = self.public_url or f"https://{host}"
        if urllib.parse.urlsplit(path).path != STREAM:
            return [origin + path]
        stream = "ws" + origin.removeprefix("http") + path
        return [stream, f"{stream}/", origin + path]

    def answer(self, query: str, host: str) -> str:
        """TwiML for a call that comes in: have it streamed, and tell who calls whom.

        Parameters of the webhook's own (their names begin with a small letter) are passed on.
        """
        asked = dict(urllib.parse.parse_qsl(query, errors="replace"))
        own = [(name, value) for name, value in asked.items() if name[:1].islower()][:MOST_PARAMETERS]
        numbers = [("from", asked.get("From", "")), ("to", asked.get("To", ""))]
        origin = self.public_url or (f"https://{host}" if self.auth_token else f"http://{host}")
        response = Xml.Element("Response")
        connect = Xml.SubElement(response, "Connect")
        stream = Xml.SubElement(connect, "Stream", url="ws" + origin.removeprefix("http") + STREAM)
        for name, value in [*numbers, *((n, v) for n, v in own if n not in ("from", "to"))]:
            if value:
                Xml.SubElement(stream, "Parameter", name=_printable(name), value=_printable(value))
        return Xml.tostring(response, encoding="unicode")

    async def ended(self, record: CallRecord, call_sid: str) -> None:
        """The agent ended a call: tell Twilio, where the account is known.

        Else the stream is closed, and Twilio goes on with what stands behind `<Connect>`.
        """
        if self.account_sid is None or self.auth_token is None or record.ended in ("caller", "line"):
            return
        change = {"Status": "completed"}
        if record.ended == "transfer":
            if self.transfer_to is None:
                log.warning("a call is to be handed over, and [serve.twilio] transfer_to is not set")
                return
            dial = Xml.Element("Response")
            Xml.SubElement(dial, "Dial").text = self.transfer_to
            change = {"Twiml": Xml.tostring(dial, encoding="unicode")}
        try:
            async with asyncio.timeout(2 * REST_S):
                await asyncio.to_thread(self._update, call_sid, change)
        except (OSError, TimeoutError) as error:
            log.warning("Twilio does not take it that a call ends (%s): %s", record.ended, error)

    def _update(self, call_sid: str, change: Mapping[str, str]) -> None:
        """Change a call by REST. Raises OSError."""
        account, call = (urllib.parse.quote(sid or "", safe="") for sid in (self.account_sid, call_sid))
        secret = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        request = urllib.request.Request(
            f"{self.api_url}/2010-04-01/Accounts/{account}/Calls/{call}.json",
            urllib.parse.urlencode(change).encode(),
            {"Authorization": f"Basic {secret}"},
        )
        with urllib.request.urlopen(request, timeout=REST_S) as response:
            response.read(64 * 1024)


def _printable(text: str) -> str:
    """XML has no word for most control characters."""
    return "".join(each if each.isprintable() else " " for each in text)[:1000]
