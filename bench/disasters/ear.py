"""What a caller's recording says of the agents in it: when one is heard again, and which one is heard when."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from local.phone import listen

RATE = listen.RATE
# What a dead process had sent is still heard this long: jitter buffers on both ways. No other comes so soon.
TAIL_S = 0.5
WINDOW_S, HOP_S = 0.1, 0.05
# Of the tones' own 8000: a tenth of an agent's voice, which nobody would take for an echo.
AUDIBLE = 800.0

Samples = NDArray[np.int16]


def heard_again(agent: Samples, at: float) -> float | None:
    """Seconds from `at` (of the recording; before its start when negative) to the first sound that is no tail."""
    begun = (part.start for part in listen.speech(agent, hangover=0.1) if part.start > at + TAIL_S)
    first = next(begun, None)
    return None if first is None else first - at


def longest_silence(agent: Samples, start: float, end: float) -> float:
    """The longest time between `start` and `end` in which nothing was heard."""
    parts = [part for part in listen.speech(agent) if part.end > start and part.start < end]
    edges = [start, *(edge for part in parts for edge in (part.start, part.end)), end]
    return max((b - a for a, b in list(pairwise(edges))[::2]), default=0.0)


def tones(agent: Samples, hertz: Sequence[int]) -> list[frozenset[int]]:
    """For each 100 ms, every 50 ms, which of the tones are audible in it."""
    size, hop = round(WINDOW_S * RATE), round(HOP_S * RATE)
    if len(agent) < size:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(agent.astype(np.float64), size)[::hop]
    shape = np.hanning(size)
    at = np.arange(size) / RATE
    waves = np.exp(-2j * np.pi * np.outer(hertz, at)) * shape
    levels = 2 * np.abs(windows @ waves.T) / shape.sum()
    return [frozenset(one for one, level in zip(hertz, row, strict=True) if level > AUDIBLE) for row in levels]


def together(heard: Sequence[frozenset[int]]) -> int:
    """Windows in which more than one is audible."""
    return sum(len(one) > 1 for one in heard)


def order(heard: Sequence[frozenset[int]]) -> list[int]:
    """The tones in the order in which they were heard, each once for every time that it took over."""
    single = [next(iter(one)) for one in heard if len(one) == 1]
    return [one for at, one in enumerate(single) if at == 0 or single[at - 1] != one]
