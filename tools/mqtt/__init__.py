"""MQTT: one broker connection, and tools that publish a command and await what came of it."""

from __future__ import annotations

from stretto.tools.mqtt.connection import BrokerConnection
from stretto.tools.mqtt.exchange import Exchange
from stretto.tools.mqtt.message import Message
from stretto.tools.mqtt.options import BrokerOptions
from stretto.tools.mqtt.tool import MqttTool, attached, mqtt_tool

__all__ = ["BrokerConnection", "BrokerOptions", "Exchange", "Message", "MqttTool", "attached", "mqtt_tool"]
