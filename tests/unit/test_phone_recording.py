"""The recording puts each packet where it was heard, and WAV files of any kind become the phone's."""

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.phone.recording import MAX_EARLY, MAX_WAIT, RATE, Packet, Recorder, place, place_sent
from local.phone.rtp import CODECS
from local.phone.wav import NotAWav, read_wav, resample, write_wav

lateness = st.lists(st.floats(0, 0.3), min_size=1, max_size=40)


def packets(late: list[float]) -> list[Packet]:
    return [Packet(100 + index * 0.02 + extra, index * 160, b"") for index, extra in enumerate(late)]


@given(lateness, st.booleans())
def test_received_audio_never_stands_before_it_arrived(late: list[float], loud: bool) -> None:
    came = packets(late)
    places = place(came, [1_000.0 if loud else 0.0] * len(came), 100.0)
    for packet, at in zip(came, places, strict=True):
        assert 0 <= at - round((packet.at - 100) * RATE) <= MAX_WAIT


@given(lateness)
def test_sent_audio_never_stands_after_it_was_sent(late: list[float]) -> None:
    went = packets(late)
    for packet, at in zip(went, place_sent(went, 100.0), strict=True):
        assert 0 <= round((packet.at - 100) * RATE) - at <= MAX_EARLY


def test_speech_keeps_its_rhythm_and_silence_falls_back_to_the_arrival() -> None:
    came = packets([0.0, 0.015, 0.0, 0.0])
    assert place(came, [1_000.0] * 4, 100.0) == [0, 280, 440, 600]
    assert place(came, [1_000.0, 1_000.0, 0.0, 1_000.0], 100.0) == [0, 280, 320, 480]


def test_both_sides_share_one_clock() -> None:
    recorder = Recorder(CODECS[0])
    loud = CODECS[0].encode((np.ones(160) * 5_000).astype("<i2").tobytes())
    recorder.sent(loud, 0)
    recorder.received(loud, 0)
    stereo = recorder.stereo()
    starts = [int(np.argmax(np.abs(stereo[:, side]) > 1_000)) for side in (0, 1)]
    assert abs(starts[0] - starts[1]) < RATE // 100


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(8_000, 2, 1), (44_100, 2, 2), (16_000, 1, 1), (48_000, 3, 1), (11_025, 4, 2)]
)
def test_any_pcm_wav_is_read_as_the_phones(tmp_path: Path, rate: int, width: int, channels: int) -> None:
    at = np.arange(rate)
    tone = 0.5 * np.sin(2 * np.pi * 440 * at / rate)
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(as_bytes(np.repeat(tone, channels), width))
    samples = read_wav(path)
    assert len(samples) == pytest.approx(8_000, abs=1)
    assert int(np.argmax(np.abs(np.fft.rfft(samples)))) == pytest.approx(440, abs=1)
    assert np.abs(samples).max() == pytest.approx(16_384, rel=0.03)


def as_bytes(signal: "np.ndarray[tuple[int], np.dtype[np.float64]]", width: int) -> bytes:
    if width == 1:
        return bytes((signal * 127 + 128).astype(np.uint8))
    full = (signal * (2**31 - 1)).astype("<i4")
    return full.view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()


def test_what_the_lower_rate_cannot_carry_is_filtered_out() -> None:
    hiss = 10_000 * np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000)
    assert np.abs(resample(hiss, 48_000)[100:-100]).max() < 100


def test_a_stereo_recording_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    write_wav(path, np.array([[100, -100]] * 800, dtype=np.int16))
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (
            2,
            2,
            8_000,
            800,
        )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no PCM WAV"),
        (b"ID3\x04mp3 it is" * 20, "no PCM WAV"),
        (b"RIFF\x04\x00\x00\x00WAVE", "no PCM WAV"),
        (None, "does not exist"),
    ],
)
def test_what_is_no_wav_is_said_in_one_sentence(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "speech.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotAWav, match=says) as failed:
        read_wav(path)
    assert str(path) in str(failed.value)


def test_a_folder_is_no_wav(tmp_path: Path) -> None:
    with pytest.raises(NotAWav, match="cannot be read"):
        read_wav(tmp_path)


def test_an_empty_wav_has_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    write_wav(path, np.zeros(0, dtype=np.int16))
    with pytest.raises(NotAWav, match="no audio"):
        read_wav(path)
