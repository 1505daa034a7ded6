"""Which microphones and speakers this machine has (PortAudio), and how loud a sound is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
from stretto.audio.pcm import Int16

Kind = Literal["microphone", "speaker"]

FAINTEST_DB = -100.0


class DeviceError(RuntimeError):
    """A device cannot be used; the message says why and what to do."""


class DeviceLost(DeviceError):
    """A device that was in use is gone."""


@dataclass(frozen=True)
class Device:
    """One of the machine's devices; `inputs` and `outputs` are channels, `rate` is its own, Hz."""

    number: int
    name: str
    inputs: int
    outputs: int
    rate: int
    microphone: bool = False
    """The one that is taken where none is named."""
    speaker: bool = False

    def channels(self, kind: Kind) -> int:
        return self.inputs if kind == "microphone" else self.outputs


def level_dbfs(pcm: Int16) -> float:
    """Loudness (RMS) of int16 PCM in dB of full scale: 0 for a full square wave, -100 for silence."""
    power = float(np.mean(np.square(pcm.astype(np.float64) / 32768.0))) if len(pcm) else 0.0
    return max(FAINTEST_DB, 10 * math.log10(power)) if power > 0 else FAINTEST_DB


def portaudio() -> ModuleType:
    """The package sounddevice with the library PortAudio behind it. Raises `DeviceError`."""
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise DeviceError(
            "microphone and speaker need the package sounddevice: pip install 'stretto[mic]'"
        ) from error
    except Exception as error:  # OSError where the library is missing, PortAudioError where it cannot start
        raise DeviceError(
            f"microphone and speaker need the library PortAudio, which does not load ({error}). Debian, "
            f"Ubuntu: apt-get install libportaudio2; Fedora: dnf install portaudio; "
            f"macOS: brew install portaudio"
        ) from error
    return sounddevice  # type: ignore[no-any-return]


def devices() -> list[Device]:
    """What PortAudio found when it was first used. Raises `DeviceError` without PortAudio."""
    library = portaudio()
    standard = tuple(library.default.device)
    return [
        Device(
            number,
            str(info["name"]),
            int(info["max_input_channels"]),
            int(info["max_output_channels"]),
            int(info["default_samplerate"]),
            number == standard[0],
            number == standard[1],
        )
        for number, info in enumerate(library.query_devices())
    ]


def find(kind: Kind, which: str | None = None, among: list[Device] | None = None) -> Device:
    """The device of that name, part of a name or number; the system's own where none is named.

    Raises `DeviceError` where there is none, or where several match.
    """
    usable = [each for each in (devices() if among is None else among) if each.channels(kind)]
    if not usable:
        raise DeviceError(
            f"there is no {kind} on this machine. Connect one; on Linux the sound server must run, and its "
            f"ALSA plug-in be there (Debian, Ubuntu: apt-get install libportaudio2 libasound2-plugins)"
        )
    if which is None:
        return next((each for each in usable if getattr(each, kind)), usable[0])
    found = [each for each in usable if which.isdecimal() and each.number == int(which)]
    found = found or [each for each in usable if each.name.lower() == which.lower()]
    found = found or [each for each in usable if which.lower() in each.name.lower()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{each.number} {each.name}" for each in (found or usable))
    if found:
        raise DeviceError(f"{which!r} names {len(found)} {kind}s: {listed}. Give the number")
    raise DeviceError(f"there is no {kind} {which!r}. There are: {listed}")
