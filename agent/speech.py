"""From the model's words to sound: the first clause is spoken while the rest is still being written."""

import re
import wave
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from livekit import rtc

# A clause ends at punctuation that white space follows; the first one may be as short as "Sure,".
_CLAUSE_END = re.compile(r"[,;:.!?…—](?=\s)")
_SENTENCE_END = re.compile(r"[.!?…](?=\s)")
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|st|no|vs|etc|a\.m|p\.m|e\.g|i\.e|[a-z])\.$", re.IGNORECASE)
MIN_FIRST_CLAUSE = 12
MIN_CLAUSE = 40
# Without any punctuation a sentence is cut here, at a space.
MAX_CLAUSE = 240

QUIET = 250
LEAD_S = 0.02
TAIL_S = 0.15


async def clauses(text: AsyncIterable[str], *, whole: Sequence[str] = ()) -> AsyncIterator[str]:
    """The text in pieces that can be spoken one by one: the first as early as may be, then longer ones.

    A sentence of `whole` is one piece where a piece begins with it.
    """
    rest, first = "", True
    async for piece in text:
        rest += piece
        while (cut := _cut(rest, whole, first=first)) is not None:
            clause, rest = rest[:cut].strip(), rest[cut:]
            if clause:
                first = False
                yield clause
    if rest.strip():
        yield rest.strip()


def _cut(text: str, whole: Sequence[str], *, first: bool) -> int | None:
    begins = text.lstrip()
    for sentence in filter(None, whole):
        if begins.startswith(sentence):
            return len(text) - len(begins) + len(sentence)
        if begins and sentence.startswith(begins):
            return None
    shortest = MIN_FIRST_CLAUSE if first else MIN_CLAUSE
    for found in (_CLAUSE_END if first else _SENTENCE_END).finditer(text):
        if found.end() >= shortest and not _ABBREVIATION.search(text[: found.end()]):
            return found.end()
    if len(text) <= MAX_CLAUSE:
        return None
    return text.rfind(" ", 0, MAX_CLAUSE) + 1 or MAX_CLAUSE


async def without_leading_silence(frames: AsyncIterable[rtc.AudioFrame]) -> AsyncGenerator[rtc.AudioFrame, None]:
    """The same sound, begun 20 ms before its first audible sample and ended 150 ms after its last."""
    begun, quiet = False, b""
    async for frame in frames:
        data = bytes(frame.data)
        samples = np.abs(np.frombuffer(data, dtype=np.int16).astype(np.int32))
        loud = np.flatnonzero(samples > QUIET)
        if not loud.size:
            quiet = (quiet + data)[-_bytes(LEAD_S if not begun else 60.0, frame) :]
            continue
        start = 0 if begun else max(int(loud[0]) * 2 - _bytes(LEAD_S, frame), 0)
        end = min((int(loud[-1]) + 1) * 2, len(data))
        head = quiet if begun else quiet[max(len(quiet) - _bytes(LEAD_S, frame) + int(loud[0]) * 2, 0) :]
        begun, quiet = True, data[end:]
        yield _frame(head + data[start:end], frame)
    tail = quiet[: _bytes(TAIL_S, frame)] if begun else b""
    if tail:
        yield _frame(tail, frame)


def _bytes(seconds: float, like: rtc.AudioFrame) -> int:
    return int(seconds * like.sample_rate) * 2


def _frame(data: bytes, like: rtc.AudioFrame) -> rtc.AudioFrame:
    return rtc.AudioFrame(data, like.sample_rate, 1, len(data) // 2)


def pronounced(text: str, pronunciations: Mapping[str, str]) -> str:
    """The text with the persona's words spelled as they sound, whole words only, in any case."""
    for word, sound in pronunciations.items():
        if not word:
            continue
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", sound.replace("\\", r"\\"), text, flags=re.IGNORECASE)
    return text


async def replay(frames: Sequence[rtc.AudioFrame]) -> AsyncGenerator[rtc.AudioFrame, None]:
    for frame in frames:
        yield frame


def recorded(path: Path) -> list[rtc.AudioFrame]:
    """The sound in a WAV file of 8 kHz mono, at 24 kHz."""
    with wave.open(str(path)) as file:
        narrow = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float64)
    wide = np.interp(np.arange(len(narrow) * 3) / 3, np.arange(len(narrow)), narrow).astype("<i2").tobytes()
    step = 24_000 // 5 * 2
    return [
        rtc.AudioFrame(wide[at : at + step], 24_000, 1, len(wide[at : at + step]) // 2)
        for at in range(0, len(wide), step)
    ]
