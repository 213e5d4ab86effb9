"""Both sides of a call on one clock: what the caller said left, what the agent was heard saying right.

Times are seconds from the recording's start. What has not been taken yet can still be made silent, or be taken back.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from switchboard.recordings import CHANNELS, RATE

Samples = NDArray[np.int16]

VOICE_RATE = 24_000
# Sound is taken in whole steps of this many samples, a tenth of a second: whole samples at both rates.
STEP = RATE // 10
VOICE_STEP = VOICE_RATE // 10
# Frames come late when the event loop was busy, and never early: of those that come within this time the earliest
# says when all of them were heard. With `LATEST_S` it is less than a recording is behind.
LOOKAHEAD_S = 5.0
# How far a frame may be from its place before it is moved there; smaller moves would be heard and help nobody.
TOLERANCE = RATE // 50
# How late a frame can be at all: a process whose event loop is later ends itself.
LATEST_S = 3.0
# Frames that are kept when nobody takes them, some two minutes on each side.
MOST_FRAMES = 4_000
# The filter from 24 to 16 kHz: samples on each side, and the part of the band that is kept.
REACH = 18
BAND = 0.94 * RATE / VOICE_RATE


class _Frame(NamedTuple):
    """A frame of the caller's, `before` samples from the first. `origin`: when that would have been heard."""

    at: float
    samples: Samples
    before: int
    origin: float


class _Placed(NamedTuple):
    start: int
    samples: Samples

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


class _Side:
    """One side's sound in its places."""

    def __init__(self) -> None:
        self._placed: deque[_Placed] = deque(maxlen=MOST_FRAMES)
        self.end = 0

    def place(self, start: int, samples: Samples) -> None:
        self._placed.append(_Placed(start, samples))
        self.end = start + len(samples)

    def cut(self, end: int) -> None:
        """There is nothing from here on."""
        while self._placed and self._placed[-1].start >= end:
            self._placed.pop()
        if self._placed and self._placed[-1].end > end:
            last = self._placed.pop()
            self._placed.append(_Placed(last.start, last.samples[: end - last.start]))
        self.end = min(self.end, end)

    def painted(self, start: int, end: int) -> Samples:
        """The sound between two samples; where there is none, silence."""
        whole = np.zeros(end - start, np.int16)
        for one in self._placed:
            first, last = max(one.start, start), min(one.end, end)
            if first < last:
                whole[first - start : last - start] = one.samples[first - one.start : last - one.start]
        return whole

    def forget(self, before: int) -> None:
        while self._placed and self._placed[0].end <= before:
            self._placed.popleft()


@dataclass(slots=True)
class _Silence:
    start: float
    end: float


class Taken(NamedTuple):
    """`start` in samples from the recording's start; `sound` is 16-bit stereo."""

    start: int
    sound: bytes


class Mixer:
    """The sound of one call by one agent, which begins `at` seconds after the recording's start."""

    def __init__(self, at: float) -> None:
        self._taken = _whole(at)
        self._waiting: deque[_Frame] = deque(maxlen=MOST_FRAMES)
        self._count = 0
        self._caller = _Side()
        self._voice = _Side()
        self._silences: list[_Silence] = []

    @property
    def full(self) -> bool:
        """Nobody has taken anything for so long that each frame that comes pushes out an old one."""
        return len(self._waiting) == MOST_FRAMES

    def heard(self, at: float, data: bytes) -> None:
        """16 kHz mono of the caller's that has come just now, `at`."""
        samples = np.frombuffer(data, "<i2")
        before, self._count = self._count, self._count + len(samples)
        self._waiting.append(_Frame(at, samples, before, at - self._count / RATE))

    def said(self, at: float, data: bytes) -> None:
        """24 kHz mono of the agent's, handed over `at`: it is played at once, or when what was before has been."""
        samples = np.frombuffer(data, "<i2")
        self._voice.place(max(round(at * VOICE_RATE), self._voice.end), samples)

    def cut(self, at: float) -> None:
        """What was handed over and not played by now never is."""
        self._voice.cut(round(at * VOICE_RATE))

    def silence(self, start: float, end: float = math.inf) -> None:
        """Both sides are silent there, as far as it has not been taken."""
        self._silences.append(_Silence(start, end))

    def unsilence(self, at: float) -> None:
        """Ends, `at`, what has no end yet."""
        for one in self._silences:
            if one.end == math.inf:
                one.end = at

    def take(self, until: float) -> Taken:
        """What lies between the last take and `until`; nothing when that is less than a tenth of a second."""
        start, end = self._taken, _whole(until)
        if end <= start:
            return Taken(start, b"")
        self._settle(until + LATEST_S)
        block = np.zeros((end - start, CHANNELS), "<i2")
        block[:, 0] = self._caller.painted(start, end)
        block[:, 1] = self._voice_between(start, end)
        for one in self._silences:
            first, last = max(math.floor(one.start * RATE), start), min(one.end * RATE, end)
            if first < last:
                block[first - start : math.ceil(last) - start] = 0
        self._forget(end)
        return Taken(start, block.tobytes())

    def _settle(self, until: float) -> None:
        """Gives the frames that came by `until` their places."""
        while self._waiting and self._waiting[0].at <= until:
            origin = min(one.origin for one in self._soon(self._waiting[0].at + LOOKAHEAD_S))
            frame = self._waiting.popleft()
            wanted = round(origin * RATE) + frame.before
            moved = abs(wanted - self._caller.end) > TOLERANCE
            self._caller.place(wanted if moved else self._caller.end, frame.samples)

    def _soon(self, until: float) -> Iterator[_Frame]:
        return takewhile(lambda one: one.at <= until, self._waiting)

    def _voice_between(self, start: int, end: int) -> Samples:
        first, last = start // STEP * VOICE_STEP, end // STEP * VOICE_STEP
        return _narrowed(self._voice.painted(first - REACH, last + REACH))

    def _forget(self, before: int) -> None:
        self._taken = before
        self._caller.forget(before)
        self._voice.forget(before // STEP * VOICE_STEP - REACH)
        self._silences = [one for one in self._silences if one.end * RATE > before]


def _whole(at: float) -> int:
    return int(at * RATE) // STEP * STEP


def _weights(shift: float) -> NDArray[np.float32]:
    """A low pass between two samples of 24 kHz, `shift` of the way from one to the next."""
    away = np.arange(-REACH, REACH + 1) - shift
    shape = np.i0(8.0 * np.sqrt(np.clip(1 - (away / (REACH + 1)) ** 2, 0, None))) / np.i0(8.0)
    weights = np.sinc(BAND * away) * shape
    normal: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return normal


# Every second sample of 16 kHz falls on one of 24 kHz, the others between two.
_ON, _BETWEEN = _weights(0.0), _weights(0.5)


def _narrowed(wide: Samples) -> Samples:
    """24 kHz as 16 kHz without delay; `wide` has `REACH` samples more on each side."""
    count = (len(wide) - 2 * REACH) * 2 // 3
    if not wide.any():
        return np.zeros(count, np.int16)
    windows = sliding_window_view(wide.astype(np.float32), 2 * REACH + 1)
    out = np.empty(count, np.float32)
    out[0::2] = windows[0::3] @ _ON
    out[1::2] = windows[1::3] @ _BETWEEN
    return np.clip(np.rint(out), -32_768, 32_767).astype(np.int16)
