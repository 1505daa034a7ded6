"""What the agent can do in the demo home: tools over MQTT, as short as functions."""

from __future__ import annotations

from typing import Literal

from stretto.tools.mqtt import mqtt_tool

Room = Literal["kitchen", "bedroom", "hall"]


@mqtt_tool("home/light/{room}/set", state="home/light/{room}")
def set_light(room: Room, state: Literal["on", "off"]) -> dict[str, str]:
    """Switch a light."""
    return {"state": state.upper()}


@mqtt_tool("home/thermostat/target/set", state="home/thermostat/target")
def set_temperature(degrees: float) -> float:
    """Set the temperature of the house."""
    return degrees


@mqtt_tool("home/door/front/request")
def lock_door() -> dict[str, bool]:
    """Lock the front door."""
    return {"locked": True}


@mqtt_tool("home/door/front/request", confirm=True)
def unlock_door() -> dict[str, bool]:
    """Unlock the front door."""
    return {"locked": False}
