"""When each word of a spoken sentence ends, for callers whose words must be known: by flite's own timing."""

import asyncio
import difflib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from local.models import flite, sound, voice

FRAME_S = 0.01
QUIET_DB = 35.0
PAUSE = "pau"


@dataclass(frozen=True, slots=True)
class Word:
    """A word as written and the second at which it ends in the sound."""

    text: str
    end_s: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as sound (24 kHz mono) with its words' times."""

    samples: sound.Samples
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words, as written."""
        return " ".join(word.text for word in self.words)


async def speak(parts: str | Sequence[str | float], name: str = "flite:slt") -> Spoken:
    """Speaks texts one after another; a number is that many seconds of silence in place of the pause around it."""
    samples: list[sound.Samples] = []
    words: list[Word] = []
    at = 0.0
    mixed: Sequence[str | float] = [parts] if isinstance(parts, str) else parts
    for part in mixed:
        said = await _speak(part, name, bare=len(mixed) > 1) if isinstance(part, str) else _silence(part)
        samples.append(said.samples)
        words += [replace(word, end_s=round(at + word.end_s, 3)) for word in said.words]
        at += len(said.samples) / voice.RATE
    return Spoken(np.concatenate(samples), tuple(words))


def spread(text: str, samples: sound.Samples, rate: int) -> tuple[Word, ...]:
    """A guess at the times: the sound that is not quiet, shared among the words by their letters."""
    words = text.split()
    loud = active(samples, rate)
    if not words or not len(loud):
        return ()
    shares = np.cumsum([len(re.sub(r"\W", "", word)) + 1 for word in words], dtype=float)
    ends = loud[np.minimum((shares / shares[-1] * len(loud)).astype(int), len(loud)) - 1]
    return tuple(Word(word, round(float(end + 1) * FRAME_S, 3)) for word, end in zip(words, ends, strict=True))


def active(samples: sound.Samples, rate: int) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Which 10 ms of the sound are not quiet."""
    size = max(1, round(rate * FRAME_S))
    frames = sound.to_signal(samples[: len(samples) // size * size]).reshape(-1, size)
    level = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
    if not len(level) or level.max() < -60:
        return np.zeros(0, np.intp)
    return np.flatnonzero(level > level.max() - QUIET_DB)


async def _speak(text: str, name: str, *, bare: bool) -> Spoken:
    samples = await voice.synthesise(text, name)
    words = await _timed(text, samples, voice.resolve(name))
    loud = active(samples, voice.RATE)
    if not bare or not len(loud):
        return Spoken(samples, words)
    start, end = int(loud[0]), int(loud[-1]) + 1
    size = round(voice.RATE * FRAME_S)
    moved = tuple(replace(word, end_s=min(word.end_s, end * FRAME_S) - start * FRAME_S) for word in words)
    return Spoken(samples[start * size : end * size], moved)


def _silence(seconds: float) -> Spoken:
    return Spoken(np.zeros(round(seconds * voice.RATE), np.int16), ())


async def _timed(text: str, samples: sound.Samples, chosen: voice.Voice) -> tuple[Word, ...]:
    words = text.split()
    if chosen.engine != "flite" or not words:
        return spread(text, samples, voice.RATE)
    said, apart = await asyncio.gather(
        flite.phones(text, chosen.name), flite.phones("\n\n".join(_alone(word) for word in words), chosen.name)
    )
    ends = align(_sentences(said), _groups(apart), len(words))
    if ends is None:
        return spread(text, samples, voice.RATE)
    return tuple(Word(word, round(end, 3)) for word, end in zip(words, ends, strict=True))


def _alone(word: str) -> str:
    return (re.sub(r"[^\w$%'&@-]+$", "", word) or "a") + "."


def _sentences(said: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The sounds without pauses, their ends counted from the start of the whole text."""
    before, last, whole = 0.0, 0.0, []
    for name, end in said:
        if end < last:
            before += last
        last = end
        if name != PAUSE:
            whole.append((name, before + end))
    return whole


def _groups(apart: Sequence[tuple[str, float]]) -> list[list[str]]:
    """The sounds of each word said on its own: between the pause before it and the pause after it."""
    groups: list[list[str]] = []
    last = float("inf")
    for name, end in apart:
        if end < last:
            groups.append([])
        last = end
        if name != PAUSE:
            groups[-1].append(name)
    return groups


def align(said: Sequence[tuple[str, float]], groups: Sequence[Sequence[str]], words: int) -> list[float] | None:
    """Where each word ends: at the sound before the next word's first. None when the two do not fit."""
    if len(groups) != words or not said:
        return None
    owner = [index for index, group in enumerate(groups) for _ in group]
    flat = [name for group in groups for name in group]
    matcher = difflib.SequenceMatcher(None, flat, [name for name, _ in said], autojunk=False)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for block in matcher.get_matching_blocks():
        for step in range(block.size):
            first.setdefault(owner[block.a + step], block.b + step)
            last[owner[block.a + step]] = block.b + step
    # A word may sound different alone (a, Dr.), but not two in a row.
    found = [first[word + 1] - 1 if word + 1 in first else last.get(word, -1) for word in range(words - 1)]
    found.append(len(said) - 1)
    if found[0] < 0 or any(later <= earlier for earlier, later in itertools.pairwise(found)):
        return None
    return [said[at][1] for at in found]
