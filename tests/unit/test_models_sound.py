"""Sound: rates, WAV."""

import struct

import numpy as np
import pytest

from local.models import sound


def tone(hertz: float, rate: int, seconds: float = 1.0) -> sound.Signal:
    wave: sound.Signal = np.float32(0.5) * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(
        np.float32
    )
    return wave


@pytest.mark.parametrize(
    ("source", "target"),
    [(16_000, 24_000), (22_050, 24_000), (24_000, 8_000), (8_000, 16_000), (48_000, 16_000), (11_025, 16_000)],
)
def test_a_tone_keeps_its_pitch_loudness_and_place_at_another_rate(source: int, target: int) -> None:
    resampled = sound.resample(tone(1_000, source), source, target)
    expected = tone(1_000, target)
    assert abs(len(resampled) - len(expected)) <= 1
    middle = slice(200, min(len(resampled), len(expected)) - 200)
    assert float(np.abs(resampled[middle] - expected[middle]).max()) < 1e-3


def test_what_the_lower_rate_cannot_carry_is_taken_out() -> None:
    resampled = sound.resample(tone(6_000, 24_000), 24_000, 8_000)
    assert float(np.abs(resampled[100:-100]).max()) < 1e-3


def test_a_wav_that_was_written_is_read_back_alike() -> None:
    samples = sound.to_samples(tone(440, 16_000))
    signal, rate = sound.read_wav(sound.write_wav(samples, 16_000))
    assert rate == 16_000
    assert np.array_equal(sound.to_samples(signal), samples)


@pytest.mark.parametrize(("coding", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32)])
def test_each_common_coding_is_read_and_mixed_to_mono(coding: int, bits: int) -> None:
    wave = tone(440, 8_000, 0.1)
    stereo = np.stack([wave, wave], axis=1)
    if coding == 3:
        body = stereo.astype("<f4").tobytes()
    elif bits == 8:
        body = ((stereo + 1) * 127.5).astype(np.uint8).tobytes()
    elif bits == 24:
        body = (stereo * 2**31).astype("<i4").reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    else:
        body = (stereo * (2 ** (bits - 1) - 1)).astype(f"<i{bits // 8}").tobytes()
    frame = 2 * bits // 8
    head = struct.pack("<IHHIIHH", 16, coding, 2, 8_000, 8_000 * frame, frame, bits)
    wav = b"RIFF\0\0\0\0WAVEfmt " + head + b"LIST\3\0\0\0abc\0" + b"data" + struct.pack("<I", len(body)) + body
    signal, rate = sound.read_wav(wav)
    assert rate == 8_000
    assert float(np.abs(signal - wave).max()) < 0.02


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ID3 a song",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd",
        b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 85, 1, 8_000, 8_000, 1, 0) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 0, 8_000, 8_000, 0, 16) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 2**31, 0, 2, 16) + b"data\0\0\0\0",
    ],
)
def test_what_is_no_wav_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(sound.NotWav, match="WAV"):
        sound.read_wav(data)
