"""Home Assistant's discovery messages for the devices of the demo.

Topics and keys: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, and the pages of light.mqtt
(JSON schema), climate.mqtt and lock.mqtt there.
"""

from __future__ import annotations

import json
from typing import Any

from stretto.demo.home.devices import COLDEST, ROOMS, WARMEST
from stretto.tools.mqtt.message import Message

PREFIX = "homeassistant"
STATUS = "home/status"
"""online or offline: whether there is anybody home."""


def discovery() -> list[Message]:
    """What Home Assistant reads to find the devices, retained."""
    entities: list[tuple[str, str, dict[str, Any]]] = [
        (
            "light",
            f"stretto_{room}",
            {
                "name": f"{room.capitalize()} light",
                "schema": "json",
                "command_topic": f"home/light/{room}/set",
                "state_topic": f"home/light/{room}",
                "brightness": True,
            },
        )
        for room in ROOMS
    ]
    climate = {
        "name": "Thermostat",
        "temperature_command_topic": "home/thermostat/target/set",
        "temperature_state_topic": "home/thermostat/target",
        "current_temperature_topic": "home/thermostat/temperature",
        "mode_command_topic": "home/thermostat/mode/set",
        "mode_state_topic": "home/thermostat/mode",
        "modes": ["off", "heat"],
        "min_temp": COLDEST,
        "max_temp": WARMEST,
        "temp_step": 0.5,
        "temperature_unit": "C",
    }
    lock = {
        "name": "Front door",
        "command_topic": "home/door/front/set",
        "state_topic": "home/door/front",
        "payload_lock": "LOCK",
        "payload_unlock": "UNLOCK",
        "state_locked": "LOCKED",
        "state_unlocked": "UNLOCKED",
    }
    entities += [("climate", "stretto_thermostat", climate), ("lock", "stretto_front_door", lock)]
    return [
        Message(f"{PREFIX}/{component}/{name}/config", json.dumps(_entity(name, own)).encode(), retain=True)
        for component, name, own in entities
    ]


def _entity(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """What every entity has: an id, the device it belongs to, who tells of it, whether it is there."""
    return own | {
        "unique_id": name,
        "qos": 1,
        "availability_topic": STATUS,
        "device": {"identifiers": ["stretto_demo_home"], "name": "Demo home", "manufacturer": "Stretto"},
        "origin": {"name": "Stretto demo home"},
    }
