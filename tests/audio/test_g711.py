"""Telephone codecs against the standard's values, and against Python's own codec where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stretto.audio.g711 import A_LAW, MU_LAW, decode_a_law, decode_mu_law, encode_a_law, encode_mu_law

CODECS = [(encode_mu_law, decode_mu_law, MU_LAW), (encode_a_law, decode_a_law, A_LAW)]


@pytest.mark.parametrize(("encode", "decode", "table"), CODECS)
def test_every_value_comes_back_as_itself(encode, decode, table):
    assert np.array_equal(decode(encode(table)), table)


@pytest.mark.parametrize(("encode", "decode", "table"), CODECS)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_a_sample_comes_back_as_the_nearest_value(encode, decode, table, samples):
    pcm = np.array(samples, np.int16)
    back = decode(encode(pcm)).astype(int)
    nearest = np.abs(table.astype(int)[None] - pcm.astype(int)[:, None]).min(axis=1)
    assert np.array_equal(np.abs(back - pcm.astype(int)), nearest)


def test_values_of_the_standard():
    # ITU-T G.711, tables 1 and 2: the ends of the scale and the smallest steps (13 and 14 bits as 16).
    assert decode_mu_law(b"\x00\x80\xff\x7f").tolist() == [-32124, 32124, 0, 0]
    assert decode_a_law(b"\xd5\x55\xaa\x2a").tolist() == [8, -8, 32256, -32256]


def test_python_itself_says_the_same():
    audioop = pytest.importorskip("audioop", reason="gone from Python 3.13 on")
    codes = bytes(range(256))
    assert decode_mu_law(codes).tobytes() == audioop.ulaw2lin(codes, 2)
    assert decode_a_law(codes).tobytes() == audioop.alaw2lin(codes, 2)
