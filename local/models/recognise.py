"""Finds which known utterance, or which part of one, a piece of sound is: by the course of its energy in bands.

It stands codecs, other sample rates, noise, trimmed ends and an unknown start; it knows no words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from local.models import sound
from local.models.timing import FRAME_S, Word, active

RATE = 8_000
HOP, WINDOW = 80, 256
# Hz; within what a telephone carries.
BANDS = ((200, 500), (500, 900), (900, 1_500), (1_500, 2_300), (2_300, 3_300))
FLOOR_DB = 35.0
# How much more the shape over the bands counts than loudness: a cough has the course, but not the shape.
SHAPE = 2.0
MAX_FRAMES = 4_096
LEAST_FRAMES = 10
# A short piece resembles much by chance, so more is asked of it.
ALIKE, ALIKE_SHORT, SHORT_FRAMES = 0.65, 0.3, 20.0
# Early questions hold an utterance from its start, so between equals the start wins.
START_BONUS, START_FRAMES = 0.04, 8
# A jitter buffer that waits for sound, or catches up, moves all that comes behind it. What fits hardly as a whole
# lacks a word then, at one of its ends, so it is tried in chunks, each of which may be a little off the place where
# the one before would have it. What came through whole is 0.95 alike and more.
WHOLE = 0.95
CHUNK_FRAMES, LEAST_CHUNKS = 20, 4
MOST_OFF, COST_OFF = 20, 0.002
ALIKE_IN_CHUNKS = 0.75

Frames = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Match:
    """Words heard and how alike the sounds are, up to 1."""

    text: str
    likeness: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """A known utterance: its words and the course of its energy."""

    words: tuple[Word, ...]
    frames: Frames
    spectrum: NDArray[np.complex64]

    @classmethod
    def of(cls, words: Sequence[Word], signal: sound.Signal, rate: int) -> "Utterance":
        """At most 40 s of sound."""
        frames = _energy(signal, rate)[:MAX_FRAMES]
        return cls(tuple(words), frames, np.fft.rfft(frames, 2 * MAX_FRAMES, axis=0).astype(np.complex64))


def find(signal: sound.Signal, rate: int, known: Sequence[Utterance]) -> Match:
    """The words of the best fitting part of what is known; "" when nothing fits."""
    samples = sound.to_samples(sound.resample(signal, rate, RATE))
    loud = active(samples, RATE)
    if len(loud) < LEAST_FRAMES:
        return Match("", 0.0)
    piece = _energy(sound.to_signal(samples), RATE)[loud[0] : loud[-1] + 1][:MAX_FRAMES]
    found, which = _best(piece, known)
    if found.likeness >= WHOLE or len(piece) < LEAST_CHUNKS * CHUNK_FRAMES:
        return found
    in_chunks = (_in_chunks(piece, one) for one in ([which] if which else known))
    return max(found, *in_chunks, key=lambda match: match.likeness)


def _best(piece: Frames, known: Sequence[Utterance]) -> tuple[Match, Utterance | None]:
    needed = ALIKE + ALIKE_SHORT * float(np.exp(-len(piece) / SHORT_FRAMES))
    spectrum = np.conj(np.fft.rfft(piece - piece.mean(axis=0), 2 * MAX_FRAMES, axis=0)).astype(np.complex64)
    best, which, best_score = Match("", 0.0), None, 0.0
    for utterance in known:
        start, score, likeness = _place(piece, spectrum, utterance)
        if score > best_score and likeness >= needed:
            best, which, best_score = Match(_words(utterance, start, start + len(piece)), likeness), utterance, score
    return best, which


def _in_chunks(piece: Frames, known: Utterance) -> Match:
    """The words that its chunks are, each at its best place in keeping with the one before; none when too unlike."""
    chunks = [piece[at : at + CHUNK_FRAMES] for at in range(0, len(piece) - CHUNK_FRAMES + 1, CHUNK_FRAMES)]
    spreads = [_spread(chunk) for chunk in chunks]
    total = sum(spreads)
    if len(known.frames) < CHUNK_FRAMES or not total:
        return Match("", 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(known.frames, CHUNK_FRAMES, axis=0).transpose(0, 2, 1)
    # By where the piece would begin if this chunk were all that is known of it.
    starts = np.arange(-MOST_OFF * len(chunks), len(known.frames) - CHUNK_FRAMES + 1)
    best, back = np.zeros(len(starts)), []
    for number, (chunk, spread) in enumerate(zip(chunks, spreads, strict=True)):
        reached, came_from = _moved(best) if number else (best, np.arange(len(starts)))
        back.append(came_from)
        best = reached + _at(_alike(windows, chunk, spread), starts + number * CHUNK_FRAMES) * spread / total
    last = place = int(best.argmax())
    for came_from in reversed(back):
        place = int(came_from[place])
    likeness = float(best[last])
    if likeness < ALIKE_IN_CHUNKS:
        return Match("", 0.0)
    return Match(_words(known, int(starts[place]), int(starts[last]) + len(piece)), likeness)


def _moved(best: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each start the best of those near it, less what it costs to be off, and which that is."""
    padded = np.pad(best, MOST_OFF, constant_values=-np.inf)
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * MOST_OFF + 1)
    near = near - COST_OFF * np.abs(np.arange(-MOST_OFF, MOST_OFF + 1))
    which = near.argmax(axis=1)
    return near[np.arange(len(best)), which], np.arange(len(best)) + which - MOST_OFF


def _at(values: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value of each place; 0 for one that is outside."""
    found = np.zeros(len(places))
    there = (places >= 0) & (places < len(values))
    found[there] = values[places[there]]
    return found


def _alike(windows: Frames, chunk: Frames, spread: float) -> NDArray[np.float64]:
    """How alike a chunk of that spread is to each window of its length; what did not come through says nothing."""
    if not spread:
        return np.zeros(len(windows))
    heard = chunk[:, 0] > 0
    theirs, ours = windows[:, heard], chunk[heard]
    spreads = (theirs.var(axis=1) * len(ours)).sum(axis=1)
    products = np.tensordot(theirs, ours - ours.mean(axis=0), axes=2)
    return np.asarray(products / np.sqrt(np.maximum(spreads, 1e-3) * max(spread, 1e-3)))


def _spread(chunk: Frames) -> float:
    heard = chunk[chunk[:, 0] > 0]
    return float((heard.var(axis=0) * len(heard)).sum()) if len(heard) else 0.0


def _place(piece: Frames, spectrum: NDArray[np.complex64], known: Utterance) -> tuple[int, float, float]:
    """The frame of the utterance where the piece fits best, the score and the likeness there."""
    size, length = len(piece), len(known.frames)
    products = np.fft.irfft((known.spectrum * spectrum).sum(axis=1), 2 * MAX_FRAMES)
    # Both ends of the piece may hold noise that the utterance has not: it may stick out a little.
    spill = min(size // 4, 30)
    starts = np.arange(-spill, max(length - size + spill, 0) + 1)
    sums, squares = (_cumulated(known.frames**power) for power in (1, 2))
    low, high = np.clip(starts, 0, length), np.clip(starts + size, 0, length)
    spread = (squares[high] - squares[low] - (sums[high] - sums[low]) ** 2 / size).sum(axis=1)
    own = float(((piece - piece.mean(axis=0)) ** 2).sum())
    likeness = products[starts] / np.sqrt(np.maximum(spread, 1e-3) * max(own, 1e-3))
    score = likeness + START_BONUS * (np.abs(starts - _first(known.frames)) <= START_FRAMES)
    best = int(score.argmax())
    return int(starts[best]), float(score[best]), float(likeness[best])


def _words(utterance: Utterance, start: int, end: int) -> str:
    """The words of which at least half lies within the frames."""
    heard, before = [], _first(utterance.frames) * FRAME_S
    for word in utterance.words:
        middle = (min(before, word.end_s) + word.end_s) / 2
        before = word.end_s
        if start * FRAME_S <= middle <= end * FRAME_S:
            heard.append(word.text)
    return " ".join(heard)


def _first(frames: Frames) -> int:
    """The frame in which the speech begins."""
    loud = np.flatnonzero(frames[:, 0] > 0)
    return int(loud[0]) if len(loud) else 0


def _energy(signal: sound.Signal, rate: int) -> Frames:
    """For each 10 ms the loudness in decibels over the floor (0 is quiet), then how each band differs from it."""
    signal = sound.resample(signal, rate, RATE)
    padded = np.pad(signal, (WINDOW // 2 - HOP // 2, WINDOW))
    count = len(signal) // HOP
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), axis=1)) ** 2
    edges = [(round(low * WINDOW / RATE), round(high * WINDOW / RATE)) for low, high in BANDS]
    decibels = 10 * np.log10(np.stack([power[:, low:high].sum(axis=1) for low, high in edges], axis=1) + 1e-9)
    top = np.percentile(decibels, 98, axis=0) if count else np.zeros(len(BANDS))
    bands = np.maximum(decibels - np.maximum(top - FLOOR_DB, -50.0), 0)
    loudness = bands.mean(axis=1, keepdims=True)
    return np.concatenate([loudness, SHAPE * (bands - loudness)], axis=1).astype(np.float32)


def _cumulated(frames: Frames) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, axis=0, dtype=np.float64)])
