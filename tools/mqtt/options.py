"""Which broker to connect to, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stretto.tools.mqtt.message import Message

SCHEMES = {"mqtt": 1883, "tcp": 1883, "mqtts": 8883, "ssl": 8883}


@dataclass(frozen=True)
class BrokerOptions:
    """Which broker, and how. `url`: mqtt://host:1883, or mqtts:// to encrypt (as does `tls`).

    `ca_file`: certificates to trust instead of the system's. `identifier`: the broker keeps messages for
    whoever has it; "" for one of this connection's own. `session_expiry_s`: for how long after a break.
    `will`: published by the broker when the connection breaks off. `timeout_s`: the broker acknowledges
    within so long, or counts as lost. `waiting`: messages kept while it is away; the oldest are dropped.
    Raises ValueError.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    identifier: str = ""
    session_expiry_s: int = 3600
    will: Message | None = None
    keepalive_s: int = 15
    timeout_s: float = 5.0
    waiting: int = 1000

    def __post_init__(self) -> None:
        self.address()
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise ValueError(f"there is no file {self.ca_file} with certificates: correct ca_file")

    def address(self) -> tuple[str, int, bool]:
        """Host, port, and whether to encrypt. Raises ValueError for a URL that names no broker."""
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"the broker's URL is none ({error}): write mqtt://host:1883") from None
        if parts.username or parts.password:
            raise ValueError("a URL is written to logs: give user name and password apart from it")
        if parts.scheme not in SCHEMES or not host or parts.path not in ("", "/"):
            raise ValueError(f"{self.url!r} names no broker: write mqtt://host:1883 or mqtts://host:8883")
        return host, port or SCHEMES[parts.scheme], self.tls or SCHEMES[parts.scheme] == 8883
