"""The settings of `stretto serve`: where it listens, who may call, how much of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from stretto.agent.setting_types import (
    NESTED,
    PREFIX,
    Count,
    Key,
    Network,
    Port,
    Positive,
    Section,
    host_and_port,
    listed,
    visible,
    web_address,
)  # fmt: skip
from stretto.llm.serve.loopback import is_local


class TwilioSettings(Section):
    """Telephone calls from Twilio, at `/twilio` (agent/TELEPHONY.md)."""

    auth_token: Key | None = None
    """The account's auth token: requests must be signed with it. Without it only this machine may call."""
    public_url: Annotated[str, AfterValidator(web_address)] | None = None
    """Under which Twilio reaches this server, as in `https://calls.example.com`; without it `Host` tells."""
    account_sid: str | None = None
    """With it, and the token, calls are ended and handed over by Twilio's REST interface."""
    transfer_to: str | None = None
    """Telephone number of the person to whom calls are handed over, as in `+15551234567`."""
    api_url: Annotated[str, AfterValidator(web_address)] = "https://api.twilio.com"
    """Where that interface is."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> TwilioSettings:
        if self.account_sid is not None and self.auth_token is None:
            raise ValueError("account_sid needs auth_token, too")
        if self.transfer_to is not None and self.account_sid is None:
            raise ValueError("transfer_to needs account_sid, too: calls are handed over by REST")
        return self


class ServeSettings(Section):
    """`stretto serve`: where it listens, who may call, how much of it."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own needs keys."""
    port: Port = 8080
    """TCP port; 0 for any that is free."""
    keys: Annotated[list[Key], BeforeValidator(listed)] = Field(default=[])
    """API keys of callers; as a variable they stand apart by commas."""
    key_file: Path | None = None
    """File with more keys, one a line; lines with # in front are left out."""
    origins: Annotated[list[str], BeforeValidator(listed)] = Field(default=[])
    """Origins of web pages that may call from a browser, as in `https://shop.example`; "*" for any."""
    max_sessions: Count = 8
    """Calls at the same time."""
    sessions_per_key: Count = 4
    """Calls of one key at the same time."""
    requests_per_minute: Count = 60
    """Requests of one key in a minute; of an address with wrong keys, so many of these."""
    max_frame_bytes: Count = 1024 * 1024
    """Longest WebSocket message. A longer one is refused; one of over four times as much ends the call."""
    max_json_bytes: Count = 256 * 1024
    """Longest event that brings no audio."""
    idle_timeout_s: Positive = 300.0
    """A connection on which nothing arrives for so long is closed."""
    record: Path | None = None
    """Folder for recordings and transcripts of all calls; none are kept without it."""
    metrics: bool = True
    """Offer `/metrics` to Prometheus."""
    audiosocket: Annotated[str, AfterValidator(host_and_port)] | None = None
    """`HOST:PORT` on which calls of Asterisk's AudioSocket are taken. It knows no keys: see the next."""
    audiosocket_peers: Annotated[list[Network], BeforeValidator(listed)] = Field(default=[])
    """Addresses and networks of the Asterisks that may call; without any, only this machine may."""
    twilio: TwilioSettings = TwilioSettings()

    def all_keys(self) -> list[str]:
        """The keys of the settings and of the key file. Raises `ValueError` for a file without a key."""
        return [key.get_secret_value() for key in self.keys] + (
            list(_keys_in(self.key_file)) if self.key_file else []
        )

    def audiosocket_address(self) -> tuple[str, int] | None:
        """Where AudioSocket listens. Raises `ValueError` where others reach it and no peers are named."""
        if self.audiosocket is None:
            return None
        host, _, port = self.audiosocket.rpartition(":")
        if not is_local(host) and not self.audiosocket_peers:
            raise ValueError(
                f"whoever reaches {host} could call: set {PREFIX}SERVE{NESTED}AUDIOSOCKET_PEERS or [serve] "
                "audiosocket_peers to the addresses of your Asterisk, or listen on 127.0.0.1"
            )
        return host.strip("[]"), int(port)

    def required_keys(self) -> list[str]:
        """`all_keys`; raises `ValueError`, too, where the host asks for keys and there are none."""
        keys = self.all_keys()
        if not keys and not is_local(self.host):
            raise ValueError(
                f"whoever reaches {self.host} could call: set {PREFIX}SERVE{NESTED}KEYS or [serve] key_file, "
                "or listen on 127.0.0.1"
            )
        return keys


def _keys_in(path: Path) -> Iterator[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise ValueError(f"the key file {path} cannot be read ({reason}): one key a line") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError(f"the key file {path} has no keys: one a line")
    for key in keys:
        try:
            yield visible(SecretStr(key)).get_secret_value()
        except ValueError as error:
            raise ValueError(f"the key file {path}: {error}") from None
