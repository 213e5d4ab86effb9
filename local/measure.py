"""When somebody speaks in a recording: stretches of sound, and how long a reply took."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 8_000
FRAME_S = 0.01
_FRAME = int(RATE * FRAME_S)
# A frame that peaks above this is sound; comfort noise and the coding's own noise stay below.
LOUD = 600
# A pause shorter than this is part of the speech, a sound shorter than that is a click.
PAUSE_S, CLICK_S = 0.3, 0.04

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Uninterrupted sound; seconds from the recording's start."""

    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start


def stretches(channel: Samples, *, since: float = 0.0, pause_s: float = PAUSE_S) -> list[Stretch]:
    """The sound in one channel of a recording from `since` on; pauses shorter than `pause_s` belong to it."""
    first = round(since / FRAME_S)
    whole = channel[first * _FRAME : len(channel) // _FRAME * _FRAME].astype(np.int32)
    loud = np.flatnonzero(np.abs(whole).reshape(-1, _FRAME).max(axis=1) > LOUD) if len(whole) else np.empty(0, int)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) * FRAME_S > pause_s) + 1
    parts = np.split(loud, breaks)
    found = [Stretch(float(first + part[0]) * FRAME_S, float(first + part[-1] + 1) * FRAME_S) for part in parts]
    return [one for one in found if one.length >= CLICK_S]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn in a stereo recording: when the caller's speech ended, and what the agent said from then on.

    `interrupted`: the agent began to speak before the caller had finished.
    """

    said_until: float
    replies: Sequence[Stretch]
    interrupted: bool

    def delay(self, reply: Stretch) -> float:
        """Voice to voice: from the caller's last sound to the reply's first."""
        return max(0.0, reply.start - self.said_until)


def exchange(stereo: NDArray[np.int16], since: float) -> Exchange:
    """The turn that began at `since`: caller left, agent right."""
    said = stretches(stereo[:, 0], since=since)
    said_until = said[-1].end if said else since
    agent = stretches(stereo[:, 1], since=since)
    interrupted = any(since < one.start < said_until for one in agent)
    return Exchange(said_until, [one for one in agent if one.end > said_until], interrupted)
