"""Which hosts are this machine by their own name, whatever a name server says."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_local(host: str) -> bool:
    """Whether a host (a name or an address, without a port) is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """A `Host` header without its port."""
    return header if header.endswith("]") else header.rsplit(":", 1)[0]


def netloc(origin: str) -> str | None:
    """Host and port of an `Origin` header, if it is one."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
