"""Audio between phone and room: mixing, filling of gaps, and what RTP lets through."""

import numpy as np
import pytest
from aiortp.packet import RtpPacket

from local.phone import media
from local.phone.media import MAX_BEHIND, Filler, Mixer, add_up
from local.phone.offer import Audio
from local.phone.rtp import CODECS, RtpPort
from tests.room_guest import eventually

AUDIO = Audio(remote=("127.0.0.1", 4000), payload_type=0, dtmf=101, ptime=20, held=False)


def frame(value: int) -> media.Samples:
    return np.full(160, value, dtype=np.int16)


def test_one_speaker_passes_through_untouched() -> None:
    mixer = Mixer()
    mixed = mixer.add("a", frame(7))
    assert mixed is not None
    assert (mixed == 7).all()


def test_two_speakers_are_added_in_the_beat_of_the_first() -> None:
    mixer = Mixer()
    mixer.add("a", frame(1))
    assert mixer.add("b", frame(100)) is None
    mixed = mixer.add("a", frame(1))
    assert mixed is not None
    assert (mixed == 101).all()


def test_when_the_first_speaker_stalls_or_leaves_the_other_gives_the_beat() -> None:
    mixer = Mixer()
    mixer.add("a", frame(1))
    heard = [mixer.add("b", frame(5)) for _ in range(MAX_BEHIND + 1)]
    assert heard[-1] is not None
    mixer.remove("b")
    assert mixer.add("a", frame(1)) is not None


def test_loud_speakers_are_clipped_not_wrapped() -> None:
    assert (add_up([frame(30_000), frame(30_000)]) == 32_767).all()


def test_sound_that_comes_late_goes_through_and_a_flood_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = media.Pace()
    now[0] += 60.0
    # Held back by the network for a second, and let go at once.
    assert all(pace.admits(0.01) for _ in range(100))
    flood = [pace.admits(0.01) for _ in range(1_000)]
    assert flood.count(True) < 5
    now[0] += 0.02
    assert [pace.admits(0.01) for _ in range(3)] == [True, True, False]


def test_a_gap_is_filled_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    emitted: list[float] = []
    filler = Filler(lambda: emitted.append(now[0]))
    for _ in range(4):
        now[0] += 0.02
        filler.tick()
    assert not emitted  # jitter is no gap
    for _ in range(50):
        now[0] += 0.02
        filler.tick()
    assert len(emitted) == pytest.approx(54, abs=1)
    filler.heard()
    emitted.clear()
    now[0] += 0.05
    filler.tick()
    assert not emitted


async def opened(frames: list[bytes], digits: list[str]) -> RtpPort:
    port = RtpPort(lambda payload, _timestamp: frames.append(payload), digits.append)
    await port.open("127.0.0.1")
    port.connect(AUDIO)
    return port


def packet(number: int, payload: bytes = b"\xff" * 160, kind: int = 0, timestamp: int = 0) -> bytes:
    return RtpPacket(
        payload_type=kind, sequence_number=number & 0xFFFF, timestamp=timestamp, ssrc=1, payload=payload
    ).serialize()


async def test_late_and_doubled_packets_are_dropped_and_the_number_may_wrap() -> None:
    frames: list[bytes] = []
    port = await opened(frames, [])
    here = ("127.0.0.1", 4000)
    for number in (65_534, 65_535, 65_535, 65_533, 65_536, 65_537):
        port.datagram_received(packet(number), here)
    assert len(frames) == 4
    assert port.port % 2 == 0
    port.close()


async def test_a_new_stream_is_taken_after_a_jump() -> None:
    frames: list[bytes] = []
    port = await opened(frames, [])
    for number in (40_000, 7):
        port.datagram_received(packet(number), ("127.0.0.1", 4000))
    assert len(frames) == 2
    port.close()


async def test_other_hosts_other_codecs_and_noise_are_not_heard() -> None:
    frames: list[bytes] = []
    port = await opened(frames, [])
    port.datagram_received(packet(1), ("10.9.9.9", 4000))
    port.datagram_received(packet(1, kind=9), ("127.0.0.1", 4000))
    port.datagram_received(packet(1, payload=b""), ("127.0.0.1", 4000))
    port.datagram_received(packet(1, payload=b"\xff" * 1_400), ("127.0.0.1", 4000))
    for junk in (b"", b"\x80", b"\x80\xc8" * 20, b"\xbf" * 30, b"\x9f\x00" * 9):
        port.datagram_received(junk, ("127.0.0.1", 4000))
    assert frames == []
    assert port.dropped >= 8
    port.close()


async def test_a_key_counts_once_however_often_its_end_is_told() -> None:
    digits: list[str] = []
    port = await opened([], digits)
    press = bytes([5, 0x0A, 0, 160])
    release = bytes([5, 0x8A, 5, 0])
    for number, payload in enumerate((press, release, release, release)):
        port.datagram_received(packet(number, payload, kind=101, timestamp=8_000), ("127.0.0.1", 4000))
    port.datagram_received(packet(9, bytes([200, 0x8A, 5, 0]), kind=101, timestamp=9_000), ("127.0.0.1", 4000))
    assert digits == ["5"]
    port.close()


async def test_packets_arrive_at_the_other_end_in_order() -> None:
    frames: list[bytes] = []
    there = await opened(frames, [])
    here = await opened([], [])
    here.connect(Audio(("127.0.0.1", there.port), 0, 101, 20, False))
    for value in range(5):
        here.send(bytes([value]) * 160, 160)
    await eventually(lambda: len(frames) == 5)
    assert [found[0] for found in frames] == [0, 1, 2, 3, 4]
    here.close()
    there.close()


@pytest.mark.parametrize("kind", [0, 8])
def test_g711_keeps_speech_within_its_error(kind: int) -> None:
    samples = (10_000 * np.sin(np.arange(800) / 9)).astype("<i2")
    back = np.frombuffer(CODECS[kind].decode(CODECS[kind].encode(samples.tobytes())), dtype="<i2")
    assert np.abs(back.astype(int) - samples).max() < 520
