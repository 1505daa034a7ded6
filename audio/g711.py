"""Telephone codecs: µ-law and A-law, one byte a sample (ITU-T G.711)."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from stretto.audio.pcm import Int16

G711_RATE = 8_000
"""Samples a second on the wire, Hz."""

Bytes = npt.NDArray[np.uint8]


def _mu_law() -> Int16:
    """What each of the 256 codes stands for: sign, three bits of exponent, four of mantissa, all inverted."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, code & 15
    value = (((mantissa.astype(np.int32) << 3) + 132) << exponent) - 132
    return cast(Int16, np.where(code & 128, -value, value).astype(np.int16))


def _a_law() -> Int16:
    """The same with every second bit inverted, and a sign bit that is set for what is positive."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    value = np.where(
        exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0)
    )
    return cast(Int16, np.where(code & 128, value, -value).astype(np.int16))


def _nearest(table: Int16) -> Bytes:
    """The code of every int16 sample: that of the nearest value."""
    order = np.argsort(table, kind="stable")
    values = table[order].astype(np.int32)
    edges = (values[1:] + values[:-1]) / 2
    samples = np.arange(-32768, 32768)
    # On an edge the larger magnitude is as near; the sign of zero is plus.
    side = np.searchsorted(edges, samples, side="left")
    return cast(Bytes, order[side].astype(np.uint8))


MU_LAW, A_LAW = _mu_law(), _a_law()
_TO_MU_LAW, _TO_A_LAW = _nearest(MU_LAW), _nearest(A_LAW)


def encode_mu_law(pcm: Int16) -> bytes:
    """int16 samples as µ-law bytes."""
    return _TO_MU_LAW[pcm.astype(np.int32) + 32768].tobytes()


def decode_mu_law(data: bytes) -> Int16:
    """µ-law bytes as int16 samples."""
    return MU_LAW[np.frombuffer(data, np.uint8)]


def encode_a_law(pcm: Int16) -> bytes:
    """int16 samples as A-law bytes."""
    return _TO_A_LAW[pcm.astype(np.int32) + 32768].tobytes()


def decode_a_law(data: bytes) -> Int16:
    """A-law bytes as int16 samples."""
    return A_LAW[np.frombuffer(data, np.uint8)]
