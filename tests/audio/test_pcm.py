from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.audio.pcm import FRAME, RATE, AudioFileError, Resampler, frames, read_audio, write_wav


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def dominant(pcm: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(pcm))) * RATE / len(pcm))


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 16_000, 1, "PCM_16"),
        ("a.wav", 16_000, 1, "PCM_U8"),
        ("a.wav", 44_100, 2, "PCM_16"),
        ("a.wav", 8_000, 1, "ULAW"),
        ("a.wav", 48_000, 2, "PCM_24"),
        ("a.wav", 16_000, 1, "PCM_32"),
        ("a.wav", 22_050, 1, "FLOAT"),
        ("a.flac", 44_100, 2, "PCM_24"),
        ("a.ogg", 48_000, 1, "VORBIS"),
    ],
)
def test_every_format_becomes_16_khz_mono(
    tmp_path: Path, name: str, rate: int, channels: int, subtype: str
) -> None:
    sound = np.repeat(tone(rate)[:, None], channels, axis=1)
    soundfile.write(tmp_path / name, sound, rate, subtype=subtype)
    pcm = read_audio(tmp_path / name)
    assert pcm.dtype == np.int16 and pcm.ndim == 1
    assert abs(len(pcm) - RATE // 2) <= 20
    assert abs(dominant(pcm) - 440) < 5
    assert 14_000 < np.max(np.abs(pcm)) < 19_000


def test_unusable_files_say_what_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    text = tmp_path / "text.wav"
    text.write_text("no audio " * 50)
    headless = tmp_path / "none.wav"
    soundfile.write(headless, np.zeros(0), RATE)
    whole = tmp_path / "whole.wav"
    write_wav(whole, (tone(RATE) * 30000).astype(np.int16), RATE)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[:5000])
    stub = tmp_path / "stub.wav"
    stub.write_bytes(whole.read_bytes()[:20])
    flac = tmp_path / "cut.flac"
    rng = np.random.default_rng(0)
    soundfile.write(flac, rng.normal(0, 0.1, RATE), RATE)
    flac.write_bytes(flac.read_bytes()[:8000])
    for path, words in [
        (tmp_path / "missing.wav", "no such file"),
        (tmp_path, "folder"),
        (empty, "empty"),
        (text, "WAV, FLAC and OGG"),
        (headless, "no samples"),
        (cut, "truncated"),
        (stub, "truncated"),
        (flac, "."),
    ]:
        with pytest.raises(AudioFileError, match=words) as caught:
            read_audio(path)
        assert path.name in str(caught.value)


def test_streamed_wav_header_without_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe.wav"
    write_wav(path, (tone(RATE) * 30000).astype(np.int16), RATE)
    data = bytearray(path.read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(read_audio(path)) == RATE // 2


def test_stereo_is_written_and_averaged(tmp_path: Path) -> None:
    left = np.full(1600, 1000, np.int16)
    write_wav(tmp_path / "s.wav", np.stack([left, 3 * left], axis=1), RATE)
    assert np.allclose(read_audio(tmp_path / "s.wav"), 2000, atol=1)
    with pytest.raises(TypeError):
        write_wav(tmp_path / "f.wav", np.zeros(10), RATE)  # type: ignore[arg-type]


@given(st.integers(0, 5 * FRAME))
def test_frames_cover_the_audio_in_order(length: int) -> None:
    pcm = np.arange(length, dtype=np.int16) + 1
    cut = list(frames(pcm, at=3.0))
    joined = np.concatenate([frame.pcm for frame in cut]) if cut else np.zeros(0, np.int16)
    assert all(len(frame.pcm) == FRAME for frame in cut)
    assert np.array_equal(joined[:length], pcm) and not joined[length:].any()
    assert [round(frame.at, 6) for frame in cut] == [round(3.0 + 0.02 * i, 6) for i in range(len(cut))]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=8), st.sampled_from([8_000, 22_050, 48_000]))
def test_resampling_in_pieces_equals_the_whole(pieces: list[int], rate: int) -> None:
    rng = np.random.default_rng(sum(pieces))
    pcm = (rng.normal(0, 3000, sum(pieces))).astype(np.int16)
    whole, parts = Resampler(rate, RATE), Resampler(rate, RATE)
    expected = np.concatenate([whole.feed(pcm), whole.flush()])
    out, at = [], 0
    for piece in pieces:
        out.append(parts.feed(pcm[at : at + piece]))
        at += piece
    joined = np.concatenate([*out, parts.flush()])
    assert len(joined) == len(expected)
    assert (
        len(joined) == 0 or int(np.max(np.abs(joined.astype(int) - expected.astype(int)))) <= 3
    )  # soxr dithers
    assert Resampler(RATE, RATE).feed(pcm) is pcm


def test_an_mp3_whose_padding_is_not_decoded_is_whole(clips: dict[Path, str]) -> None:
    lengths = {path.name: len(read_audio(path)) / RATE for path in clips if path.suffix == ".mp3"}
    assert lengths == {
        name: pytest.approx(seconds, abs=0.05)
        for name, seconds in (
            ("common-voice-64.mp3", 4.10),
            ("common-voice-66.mp3", 2.35),
            ("common-voice-67.mp3", 1.85),
        )
    }
