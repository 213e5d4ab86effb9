"""What can be heard in a recording, and when. Pure functions over int16 samples at 8 kHz; times in seconds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 8_000
FRAME = RATE // 100
FRAME_S = FRAME / RATE

# Speech is this much above the quietest tenth of the channel, and never quieter than the floor (RMS).
ABOVE_NOISE = 4.0
FLOOR = 120.0
# And this far below the loudest speech it is hum or echo.
BELOW_PEAK = 0.02
MIN_SPEECH_S = 0.06
HANGOVER_S = 0.3

Samples = NDArray[np.int16]
Stereo = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Interval:
    """One stretch of speech."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Caller speech and the first speech of the agent after its end; None when there was none."""

    said: Interval
    answered: float | None

    @property
    def voice_to_voice(self) -> float | None:
        return None if self.answered is None else self.answered - self.said.end


def speech(samples: Samples, *, hangover: float = HANGOVER_S, shortest: float = MIN_SPEECH_S) -> list[Interval]:
    """The stretches of speech in one channel; pauses up to `hangover` belong to a stretch, its end does not
    include them."""
    loud = _loud(samples)
    if not loud.any():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(np.int8), [0]))))
    raw = [Interval(int(a) / 100, int(b) / 100) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [found for found in _joined(raw, hangover) if found.end - found.start >= shortest]


def turns(stereo: Stereo, *, pause: float = 1.0) -> list[Turn]:
    """Each thing the caller said and when the agent answered. Speech of the caller with less than `pause`
    seconds between is one thing said, unless the agent began to speak in between."""
    said, agent = speech(stereo[:, 0]), speech(stereo[:, 1])
    starts = [found.start for found in agent]
    merged: list[Interval] = []
    for part in said:
        last = merged[-1] if merged else None
        if last and part.start - last.end < pause and not any(last.end <= at < part.start for at in starts):
            merged[-1] = Interval(last.start, part.end)
        else:
            merged.append(part)
    ends = [part.start for part in merged[1:]] + [float("inf")]
    return [
        Turn(part, next((at for at in starts if part.end <= at < until), None))
        for part, until in zip(merged, ends, strict=True)
    ]


def voice_to_voice(stereo: Stereo) -> list[float | None]:
    """For each turn of the caller, seconds from the end of their speech to the agent's first sound after it."""
    return [turn.voice_to_voice for turn in turns(stereo)]


def first_sound(samples: Samples) -> float | None:
    """When speech first begins in a channel, or None."""
    found = speech(samples)
    return found[0].start if found else None


def silent_after(samples: Samples, at: float) -> float | None:
    """How long after `at` speech that then is going on ends (a barge-in's measure); 0 when none is going on,
    None when it goes on to the end of the recording."""
    for found in speech(samples):
        if found.start <= at < found.end:
            at_the_end = found.end >= len(samples) // FRAME * FRAME_S
            return None if at_the_end else found.end - at
    return 0.0


def _loud(samples: Samples) -> NDArray[np.bool_]:
    whole = samples[: len(samples) // FRAME * FRAME].astype(np.float64).reshape(-1, FRAME)
    if not len(whole):
        return np.zeros(0, dtype=np.bool_)
    # The mean of a frame is no sound: a channel with an offset would be loud throughout.
    rms = whole.std(axis=1)
    noise = float(np.percentile(rms, 10))
    peak = float(np.percentile(rms, 99))
    threshold = max(FLOOR, min(noise * ABOVE_NOISE, peak / 2), peak * BELOW_PEAK)
    return np.asarray(rms > threshold, dtype=np.bool_)


def _joined(raw: list[Interval], hangover: float) -> list[Interval]:
    joined: list[Interval] = []
    for part in raw:
        if joined and part.start - joined[-1].end <= hangover:
            joined[-1] = Interval(joined[-1].start, part.end)
        else:
            joined.append(part)
    return joined
