"""The page on the Realtime protocol names every event that a client may send."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from stretto.agent.realtime.client_events import ClientEvent

PAGE = Path(__file__).parents[2] / "agent" / "REALTIME.md"


def test_every_event_of_a_client_is_described():
    text = PAGE.read_text(encoding="utf-8")
    kinds = {get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(ClientEvent)}
    assert {kind for kind in kinds if f"`{kind}`" not in text} == {"output_audio_buffer.clear"}
    assert "`output_audio_buffer.*`" in text
