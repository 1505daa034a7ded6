"""From `[serve]` settings to a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from stretto.agent.realtime.connection import Service
from stretto.agent.server.audiosocket_door import AudioSocketDoor
from stretto.agent.server.doors import Doors
from stretto.agent.server.metrics import Metrics
from stretto.agent.server.serve_settings import ServeSettings
from stretto.agent.server.server import Limits, Server
from stretto.agent.server.twilio_door import TwilioDoor


class ServeOptions(TypedDict, total=False):
    """`[serve]` beside host, port and keys: `ServeSettings` and agent/CONFIGURATION.md say what each does."""

    key_file: str | Path
    origins: Sequence[str]
    max_sessions: int
    sessions_per_key: int
    requests_per_minute: int
    max_frame_bytes: int
    max_json_bytes: int
    idle_timeout_s: float
    record: str | Path
    metrics: bool
    audiosocket: str
    audiosocket_peers: Sequence[str]
    twilio: Mapping[str, str]


def server_for(service: Service, settings: ServeSettings) -> Server:
    """Serve it with `Server.listening`. Raises ValueError where keys or peers are needed and not set."""
    doors = Doors(
        settings.required_keys(),
        settings.origins,
        settings.max_sessions,
        settings.sessions_per_key,
        settings.requests_per_minute,
    )
    limits = Limits(settings.max_frame_bytes, settings.max_json_bytes, settings.idle_timeout_s)
    asked, address = settings.twilio, settings.audiosocket_address()
    twilio = TwilioDoor(
        asked.auth_token.get_secret_value() if asked.auth_token else None,
        asked.public_url,
        asked.account_sid,
        asked.transfer_to,
        asked.api_url,
    )
    audiosocket = address and AudioSocketDoor(*address, settings.audiosocket_peers, settings.idle_timeout_s)
    metrics = Metrics() if settings.metrics else None
    return Server(service, doors, limits, metrics, settings.record, twilio, audiosocket)
