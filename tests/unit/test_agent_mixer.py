"""The mixer: where each side's sound lies, to the sample, whatever the clocks and the event loop do."""

import math
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.mixer import STEP, VOICE_RATE, Mixer
from switchboard.recordings import RATE

Samples = NDArray[np.int16]

FRAME = 512  # 32 ms of the caller's
PIECE = 960  # 40 ms of the agent's
LATE_S = 0.003  # a frame's way to us, at least


def tone(samples: int, rate: int, hertz: float = 500.0) -> Samples:
    return (8_000 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype(np.int16)


def whole(mixer: Mixer, until: float, every: float = 1.0) -> Samples:
    """All that the mixer gives up to `until`, taken as a recording takes it; (samples, 2) from the first take on."""
    parts, at = [], 0.0
    while at < until:
        at = min(at + every, until)
        parts.append(np.frombuffer(mixer.take(at).sound, np.int16).reshape(-1, 2))
    return np.concatenate(parts)


def spans(channel: Samples) -> list[tuple[float, float]]:
    """Where there is sound, in seconds; holes of less than 50 ms are none."""
    loud = np.flatnonzero(np.abs(channel) > 400)
    if not loud.size:
        return []
    cuts = np.flatnonzero(np.diff(loud) > RATE // 20)
    starts, ends = [loud[0], *loud[cuts + 1]], [*loud[cuts], loud[-1]]
    return [(start / RATE, (end + 1) / RATE) for start, end in zip(starts, ends, strict=True)]


class Phone:
    """A caller whose sound is heard from `began` on; `drift` is by how much its clock is faster than ours."""

    def __init__(self, mixer: Mixer, began: float = 0.0, drift: float = 0.0) -> None:
        self.mixer, self.began, self.drift = mixer, began, drift
        self.sent = 0

    @property
    def at(self) -> float:
        """When what is sent next begins to be heard."""
        return self.began + self.sent / (RATE * (1 + self.drift))

    def send(self, samples: Samples, late: float = 0.0, jitter: random.Random | None = None) -> None:
        for at in range(0, len(samples), FRAME):
            frame = samples[at : at + FRAME]
            self.sent += len(frame)
            more = jitter.random() * 0.03 if jitter else 0.0
            self.mixer.heard(self.at + LATE_S + late + more, frame.tobytes())

    def quiet(self, seconds: float) -> None:
        self.send(np.zeros(round(seconds * RATE) // FRAME * FRAME, np.int16))

    def gap(self, seconds: float) -> None:
        """No packets."""
        self.began += seconds


def test_sound_is_where_it_was_on_both_sides() -> None:
    mixer = Mixer(0.0)
    phone = Phone(mixer)
    phone.quiet(2.0)
    began = phone.at
    phone.send(tone(16 * FRAME, RATE))
    phone.quiet(2.0)
    for at in range(25):
        mixer.said(3.0 + at * 0.02, tone(PIECE, VOICE_RATE).tobytes())
    sound = whole(mixer, 5.0)
    [(start, end)] = spans(sound[:, 0])
    assert (start, end) == pytest.approx((began, began + 0.512), abs=0.021)
    [(start, end)] = spans(sound[:, 1])
    assert (start, end) == pytest.approx((3.0, 4.0), abs=0.001)


def test_frames_that_come_late_and_in_bursts_keep_their_places() -> None:
    mixer, dice = Mixer(0.0), random.Random(1)
    phone = Phone(mixer)
    marks = []
    for turn in range(60):
        phone.quiet(0.7)
        marks.append(phone.at + LATE_S)
        phone.send(tone(8 * FRAME, RATE), late=(0.9 - (turn % 3) * 0.4) if turn % 5 == 0 else 0.0, jitter=dice)
    found = spans(whole(mixer, 60.0)[:, 0])
    assert len(found) == len(marks)
    worst = max(abs(start - mark) for (start, _end), mark in zip(found, marks, strict=True))
    assert worst < 0.025


def test_an_event_loop_that_stood_still_moves_nothing() -> None:
    """All that came meanwhile is read at once when it goes on."""
    mixer = Mixer(0.0)
    frames = [(n + 1) * FRAME / RATE for n in range(200)]
    beep = tone(FRAME, RATE)
    for n, at in enumerate(frames):
        seen = 3.5 if 1.7 < at < 3.5 else at
        mixer.heard(seen, (beep if n in (20, 80, 100, 150) else np.zeros(FRAME, np.int16)).tobytes())
    starts = [start for start, _end in spans(whole(mixer, 6.4)[:, 0])]
    assert starts == pytest.approx([n * FRAME / RATE for n in (20, 80, 100, 150)], abs=0.021)


def test_a_gap_of_packets_is_a_gap_of_its_length() -> None:
    mixer = Mixer(0.0)
    phone = Phone(mixer)
    phone.send(tone(32 * FRAME, RATE))
    phone.gap(4.0)
    phone.send(tone(32 * FRAME, RATE))
    found = spans(whole(mixer, 8.0)[:, 0])
    first, second = found[0], found[-1]
    assert first == pytest.approx((0.0, 1.024), abs=0.021)
    assert second == pytest.approx((5.024, 6.048), abs=0.021)
    assert len(found) == 2


@pytest.mark.parametrize("drift", [-300e-6, 300e-6])
def test_half_an_hour_of_a_clock_that_is_off_moves_nothing_by_more_than_a_hearing_notices(drift: float) -> None:
    mixer = Mixer(0.0)
    phone = Phone(mixer, drift=drift)
    marks, parts = [], []
    beep, quiet = tone(2 * FRAME, RATE), np.zeros(FRAME * 93, np.int16)
    at = 0.0
    for _minute in range(600):
        marks.append(phone.at)
        phone.send(beep)
        phone.send(quiet)
        if phone.at > at + 8:
            at += 1.0 if phone.at < at + 9 else 3.0
            parts.append(np.frombuffer(mixer.take(at).sound, np.int16)[0::2])
    parts.append(np.frombuffer(mixer.take(phone.at + 1).sound, np.int16)[0::2])
    found = [start for start, _end in spans(np.concatenate(parts))]
    assert len(found) == len(marks) and marks[-1] > 1_800
    assert max(abs(start - mark) for start, mark in zip(found, marks, strict=True)) < 0.05


def test_speech_that_is_taken_back_leaves_nothing_and_goes_on_later() -> None:
    mixer = Mixer(0.0)
    for at in (1.0, 1.0, 1.0, 1.0, 1.0):
        mixer.said(at, tone(PIECE, VOICE_RATE).tobytes())
    mixer.cut(1.1)
    mixer.said(2.0, tone(PIECE * 2, VOICE_RATE).tobytes())
    first, second = spans(whole(mixer, 4.0)[:, 1])
    assert first == pytest.approx((1.0, 1.1), abs=0.001)
    assert second == pytest.approx((2.0, 2.08), abs=0.001)


def test_silence_covers_exactly_its_time_on_both_sides_also_afterwards() -> None:
    mixer = Mixer(0.0)
    phone = Phone(mixer)
    phone.send(tone(200 * FRAME, RATE))
    for at in range(150):
        mixer.said(at * 0.04, tone(PIECE, VOICE_RATE).tobytes())
    mixer.silence(2.0, 3.0)
    mixer.silence(4.5)
    mixer.unsilence(5.25)
    sound = whole(mixer, 6.0)
    for start, end in ((2.0, 3.0), (4.5, 5.25)):
        assert not sound[round(start * RATE) : round(end * RATE)].any()
    for channel in (0, 1):
        edges = [edge for span in spans(sound[:, channel]) for edge in span][1:-1]
        assert edges == pytest.approx([2.0, 3.0, 4.5, 5.25], abs=0.002)


def test_what_was_taken_stays_and_a_late_silence_begins_there() -> None:
    mixer = Mixer(0.0)
    Phone(mixer).send(tone(100 * FRAME, RATE))
    first = mixer.take(1.0)
    mixer.silence(0.5, 2.0)
    second = mixer.take(3.0)
    assert (first.start, second.start) == (0, RATE)
    assert np.frombuffer(first.sound, np.int16).any()
    assert not np.frombuffer(second.sound, np.int16).reshape(-1, 2)[:RATE].any()


def test_a_mixer_that_begins_late_begins_there() -> None:
    mixer = Mixer(7.26)
    Phone(mixer, began=7.26).send(tone(100 * FRAME, RATE))
    taken = mixer.take(9.0)
    assert taken.start == 72 * STEP
    assert len(taken.sound) == (90 - 72) * STEP * 4
    [(start, _end)] = spans(np.frombuffer(taken.sound, np.int16)[0::2])
    assert start == pytest.approx(0.06 + LATE_S, abs=0.002)


@pytest.mark.parametrize("hertz", [300.0, 1_000.0, 3_400.0, 6_500.0])
def test_the_agents_voice_keeps_its_tone_and_strength(hertz: float) -> None:
    mixer = Mixer(0.0)
    wide = tone(VOICE_RATE * 2, VOICE_RATE, hertz)
    for at in range(0, len(wide), PIECE):
        mixer.said(at / VOICE_RATE, wide[at : at + PIECE].tobytes())
    voice = whole(mixer, 2.0)[RATE // 2 : RATE * 3 // 2, 1].astype(np.float64)
    expected = tone(RATE * 2, RATE, hertz)[RATE // 2 : RATE * 3 // 2].astype(np.float64)
    assert math.sqrt(np.mean((voice - expected) ** 2)) < 8_000 * 0.025


def test_nobody_who_takes_costs_no_memory_without_end() -> None:
    mixer = Mixer(0.0)
    phone = Phone(mixer)
    for at in range(10_000):
        phone.send(np.zeros(FRAME, np.int16))
        mixer.said(at * 0.04, bytes(PIECE * 2))
    assert len(mixer._waiting) <= 4_000 and len(mixer._voice._placed) <= 4_000
