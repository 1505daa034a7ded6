"""The names that the protocol had in its beta, and the flat session: from such clients, and to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_FLAT_FORMATS = {new: old for old, new in FORMATS.items()}
NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
"""What events were called before general availability; `conversation.item.done` did not exist."""
_PARTS = {"output_audio": "audio", "output_text": "text"}


def session_from_beta(session: Mapping[str, Any]) -> dict[str, Any]:
    """A session with the beta's flat names put where they stand now."""
    given = dict(session)
    sides: dict[str, dict[str, Any]] = {"input": {}, "output": {}}
    for side in sides:
        if f"{side}_audio_format" in given:
            kind = given.pop(f"{side}_audio_format")
            sides[side]["format"] = {"type": FORMATS.get(kind, kind)} if isinstance(kind, str) else kind
    if "input_audio_transcription" in given:
        sides["input"]["transcription"] = given.pop("input_audio_transcription")
    if "input_audio_noise_reduction" in given:
        sides["input"]["noise_reduction"] = given.pop("input_audio_noise_reduction")
    if "turn_detection" in given:
        sides["input"]["turn_detection"] = given.pop("turn_detection")
    for name in ("voice", "speed"):
        if name in given:
            sides["output"][name] = given.pop(name)
    for old, new in (
        ("modalities", "output_modalities"),
        ("max_response_output_tokens", "max_output_tokens"),
    ):
        if old in given:
            given[new] = given.pop(old)
    if sides["input"] or sides["output"]:
        given["audio"] = _joined({k: v for k, v in sides.items() if v}, given.get("audio"))
    return given


def _joined(sides: dict[str, Any], audio: Any) -> dict[str, Any]:
    """What stands under `audio` already goes before the flat names."""
    given = dict(audio) if isinstance(audio, Mapping) else {}
    for side, values in sides.items():
        before = given.get(side, {})
        given[side] = {**values, **before} if isinstance(before, Mapping) else before
    return given


def event_to_beta(event: dict[str, Any]) -> dict[str, Any] | None:
    """A server's event as a client of the beta knows it; None where it had none such."""
    kind = event["type"]
    if kind == "conversation.item.done":
        return None
    changed = {**event, "type": NAMES.get(kind, kind)}
    for name, change in (("part", _part), ("item", _item), ("session", _session), ("response", _response)):
        if name in changed:
            changed[name] = change(changed[name])
    return changed


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "type": _PARTS.get(part["type"], part["type"])}


def _item(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "content": [_part(part) for part in item["content"]]} if "content" in item else item


def _response(response: dict[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in response.items() if name not in ("audio", "output_modalities")}
    if "audio" in response:
        flat["output_audio_format"] = _FLAT_FORMATS[response["audio"]["output"]["format"]["type"]]
    output = [_item(item) for item in response["output"]]
    return {**flat, "modalities": _modalities(response["output_modalities"]), "output": output}


def _modalities(new: list[str]) -> list[str]:
    """Speech always came with its text."""
    return ["text", "audio"] if "audio" in new else ["text"]


def _session(session: dict[str, Any]) -> dict[str, Any]:
    kept = (
        "id", "object", "model", "instructions", "tools", "tool_choice", "temperature", "tracing"
    )  # fmt: skip
    heard, said = session["audio"]["input"], session["audio"]["output"]
    return {
        **{name: session[name] for name in kept if name in session},
        "modalities": _modalities(session["output_modalities"]),
        "input_audio_format": _FLAT_FORMATS[heard["format"]["type"]],
        "output_audio_format": _FLAT_FORMATS[said["format"]["type"]],
        "input_audio_transcription": heard.get("transcription"),
        "input_audio_noise_reduction": heard.get("noise_reduction"),
        "turn_detection": heard.get("turn_detection"),
        "voice": said["voice"],
        "speed": said["speed"],
        "max_response_output_tokens": session["max_output_tokens"],
    }
