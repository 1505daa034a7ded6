"""The protocol's session object: what a client may set, checked, merged, and what it means for a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from stretto.agent.call import SessionOptions
from stretto.agent.realtime.audio_format import Format
from stretto.agent.realtime.beta import session_from_beta
from stretto.agent.realtime.errors import RequestError
from stretto.agent.turn import TurnOptions
from stretto.audio.vad import VADOptions
from stretto.llm.language_model import ToolChoice

NEVER_S = 30 * 24 * 3600.0
FOR_EVER = 10**9
"""Questions to a silent caller: the client, not the agent, decides when to hang up."""
EAGERNESS: dict[str, tuple[float, float, float]] = {
    "high": (350.0, 500.0, 800.0),
    "low": (800.0, 1200.0, 2000.0),
}
"""Silences (ms) of a turn that is surely over, perhaps, surely not; medium and auto: those of the options."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class AudioFormat(_Strict):
    """Encoding on the wire; PCM is 16 bits, little-endian, mono."""

    type: Format = "audio/pcm"
    rate: Literal[24000] | None = None

    @model_validator(mode="after")
    def _rate(self) -> AudioFormat:
        if self.type != "audio/pcm" and self.rate is not None:
            raise ValueError(f"{self.type} has no rate: it is 8000 Hz")
        return self


class TurnDetection(_Strict):
    """Who ends the caller's turns: a silence (`server_vad`), or the model's judgement (`semantic_vad`)."""

    type: Literal["server_vad", "semantic_vad"] = "semantic_vad"
    threshold: float | None = Field(default=None, gt=0.0, lt=1.0)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=5000)
    silence_duration_ms: int | None = Field(default=None, ge=120, le=10_000)
    idle_timeout_ms: int | None = Field(default=None, ge=5000, le=120_000)
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None

    @model_validator(mode="after")
    def _kind(self) -> TurnDetection:
        foreign = (
            ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms")
            if self.type == "semantic_vad"
            else ("eagerness",)
        )
        if given := [name for name in foreign if getattr(self, name) is not None]:
            raise ValueError(f"{self.type} has no {given[0]}")
        return self


class Transcription(_Strict):
    """Ask for the caller's words as events; the recogniser is always Stretto's."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    delay: str | None = None


class AudioInput(_Strict):
    format: AudioFormat = AudioFormat()
    transcription: Transcription | None = None
    noise_reduction: dict[str, Any] | None = None
    turn_detection: TurnDetection | None = TurnDetection()


class AudioOutput(_Strict):
    format: AudioFormat = AudioFormat()
    voice: str | dict[str, Any] | None = None
    speed: float = Field(default=1.0, ge=0.25, le=1.5)


class Audio(_Strict):
    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class FunctionTool(_Strict):
    """A tool that the client runs."""

    type: Literal["function"] = "function"
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")
    description: str = Field(default="", max_length=4000)
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None

    @field_validator("description", "parameters", mode="before")
    @classmethod
    def _nothing(cls, value: Any, info: ValidationInfo) -> Any:
        """Many clients write null where they have nothing to say."""
        empty: Any = "" if info.field_name == "description" else {}
        return empty if value is None else value


class RealtimeSession(_Strict):
    """All fields that a session has; those without a meaning here are kept and shown, and change nothing."""

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    instructions: str | None = Field(default=None, max_length=20_000)
    output_modalities: list[Literal["text", "audio"]] = ["audio"]
    audio: Audio = Audio()
    tools: list[FunctionTool] | None = Field(default=None, max_length=128)
    tool_choice: Any = "auto"
    max_output_tokens: int | Literal["inf"] = "inf"
    parallel_tool_calls: bool | None = None
    include: list[str] | None = None
    prompt: Any = None
    reasoning: dict[str, Any] | None = None
    tracing: Any = None
    truncation: Any = None
    temperature: float | None = None

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _choice(cls, value: Any) -> Any:
        choice = tool_choice_of(value)
        return {"type": "function", "name": next(iter(choice.names))} if choice.names else choice.mode

    def updated(self, changes: Mapping[str, Any]) -> RealtimeSession:
        """With only the given fields changed. Raises RequestError; this session stays as it is."""
        given = session_from_beta(changes)
        if given.get("type", "realtime") != "realtime":
            raise RequestError("session.type must be 'realtime'", param="session.type")
        merged = _merged(self.model_dump(), given)
        try:
            json.dumps(given, allow_nan=False)
        except (ValueError, RecursionError) as error:
            message = "a number is infinite or none at all, or the nesting too deep"
            raise RequestError(f"session: {message}", param="session") from error
        try:
            return RealtimeSession.model_validate(merged)
        except ValidationError as error:
            raise refused(error, "session") from error

    @property
    def text_only(self) -> bool:
        """Answers are written, not spoken."""
        return "audio" not in self.output_modalities

    def options(self, plain: SessionOptions) -> SessionOptions:
        """How the call is to be led; what the session does not say is as in `plain`. Raises RequestError."""
        turns = self.audio.input.turn_detection
        changed: dict[str, Any] = {"silence_prompt_s": NEVER_S, "interruptible": False, "respond": False}
        changed["silence_prompts"] = FOR_EVER
        changed["caller_gone_s"] = NEVER_S  # a client need not send silence; the server sees when it is gone
        if self.instructions is not None:
            changed["system"] = self.instructions
        if turns is not None:
            changed["respond"] = turns.create_response is not False
            changed["interruptible"] = turns.interrupt_response is not False
            if turns.type == "server_vad":
                silence = float(turns.silence_duration_ms or 500)
                names = ("commit_silence_ms", "doubtful_silence_ms", "unfinished_silence_ms")
                changed |= dict.fromkeys(names, silence) | {"use_p_end": False}
                changed["soft_end_ms"] = min(plain.soft_end_ms, silence)
                if turns.idle_timeout_ms is not None:
                    changed["silence_prompt_s"] = turns.idle_timeout_ms / 1000
            elif turns.eagerness in EAGERNESS:
                sure, doubtful, unfinished = EAGERNESS[turns.eagerness]
                changed |= {"commit_silence_ms": sure, "doubtful_silence_ms": doubtful}
                changed["unfinished_silence_ms"] = unfinished
        try:
            changed["tool_choice"] = tool_choice_of(self.tool_choice)
        except ValueError as error:
            raise RequestError(str(error), param="tool_choice") from error
        try:
            options = replace(plain, **changed)
            options.turn_options()
        except ValueError as error:
            raise RequestError(str(error), param="session.audio.input.turn_detection") from error
        return options

    def vad(self) -> VADOptions:
        """How speech is told from silence."""
        turns, plain = self.audio.input.turn_detection, VADOptions()
        soft = TurnOptions.soft_end_ms
        if turns is None or turns.type == "semantic_vad":
            return replace(plain, min_silence_ms=soft)
        return VADOptions(
            threshold=turns.threshold or plain.threshold,
            min_silence_ms=min(soft, float(turns.silence_duration_ms or 500)),
            prefix_padding_ms=plain.prefix_padding_ms
            if turns.prefix_padding_ms is None
            else float(turns.prefix_padding_ms),
        )

    def to_json(self, name: str, model: str, voice: str) -> dict[str, Any]:
        """The session as the client is told of it."""
        shown = self.model_dump(exclude_none=True)
        shown |= {"id": name, "object": "realtime.session", "model": model, "tools": shown.get("tools", [])}
        shown["audio"]["output"]["voice"] = voice
        shown["audio"]["input"].setdefault("turn_detection", None)
        for side in shown["audio"].values():
            if side["format"]["type"] == "audio/pcm":
                side["format"]["rate"] = 24_000
        return shown


def tool_choice_of(value: Any) -> ToolChoice:
    """A `tool_choice` of this protocol, or of Chat Completions, for the model. Raises ValueError."""
    match value:
        case None:
            return ToolChoice()
        case "auto" | "none" | "required":
            return ToolChoice(value)
        case {"type": "function", "name": str(name)} | {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("required", frozenset({name}))
    raise ValueError("tool_choice is 'auto', 'none', 'required' or {'type': 'function', 'name': …}")


def refused(error: ValidationError, root: str) -> RequestError:
    """The first problem of a validation as the protocol tells it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join([root, *(str(part) for part in first["loc"])])
    code = "unknown_parameter" if first["type"] == "extra_forbidden" else "invalid_value"
    message = f"Unknown parameter: '{where}'." if code == "unknown_parameter" else f"{where}: {first['msg']}."
    return RequestError(message, code, where)


def _merged(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` over `old`; objects are merged, but for a turn detection of another type and a tool's choice."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        if isinstance(value, Mapping) and isinstance(before, dict):
            other = key in ("turn_detection", "format") and value.get(
                "type", before.get("type")
            ) != before.get("type")
            other = other or key == "tool_choice"
            merged[key] = dict(value) if other else _merged(before, value)
        else:
            merged[key] = value
    return merged
