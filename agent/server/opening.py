"""From `[serve]` settings to a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from stretto.agent.realtime.connection import Service
from stretto.agent.server.doors import Doors
from stretto.agent.server.metrics import Metrics
from stretto.agent.server.server import Limits, Server
from stretto.agent.settings import ServeSettings


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


def server_for(service: Service, settings: ServeSettings) -> Server:
    """Serve it with `Server.listening`. Raises ValueError where keys are needed and there are none."""
    doors = Doors(
        settings.required_keys(),
        settings.origins,
        settings.max_sessions,
        settings.sessions_per_key,
        settings.requests_per_minute,
    )
    limits = Limits(settings.max_frame_bytes, settings.max_json_bytes, settings.idle_timeout_s)
    return Server(service, doors, limits, Metrics() if settings.metrics else None, settings.record)
