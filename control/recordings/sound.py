"""The sound of a recording as one WAV, whatever pieces there are of it: time that was not recorded is silence."""

import hashlib
import re
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import structlog

from switchboard.recording_store import DamagedPiece, NoSuchPiece, RecordingStore, StoreAway
from switchboard.recordings import CHANNELS, FRAME_BYTES, RATE, Piece

log = structlog.get_logger(__name__)

TYPE = "audio/wav"
_HEAD_BYTES = 44
_SENT_AT_ONCE = 64 * 1024
_MOST = 0xFFFFFFFF
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class NotThere(ValueError):
    """The range lies beyond the file."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `end`, the latter not among them."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What is heard of a piece, from `start` to `end` in samples of the recording; the piece begins at `origin`."""

    piece: Piece
    origin: int
    start: int
    end: int

    def between(self, start: int, end: int) -> list[Self]:
        """The part of it that lies there, if any."""
        first, last = max(self.start, start), min(self.end, end)
        return [replace(self, start=first, end=last)] if first < last else []


class Sound:
    """A recording's file. `started_us`: when it begins, in microseconds since 1970."""

    def __init__(self, pieces: Sequence[Piece], started_us: int) -> None:
        pieces = sorted(pieces)
        self._stretches = _laid([(one, _samples(one.start_us - started_us)) for one in pieces])
        self._samples = max((one.end for one in self._stretches), default=0)
        names = [str(started_us), *(one.key for one in pieces)]
        self.etag = f'"{hashlib.sha256(" ".join(names).encode()).hexdigest()[:32]}"'

    @property
    def size(self) -> int:
        return _HEAD_BYTES + self._samples * FRAME_BYTES

    @property
    def head(self) -> bytes:
        body = self._samples * FRAME_BYTES
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            min(36 + body, _MOST),
            b"WAVE",
            b"fmt ",
            16,
            1,
            CHANNELS,
            RATE,
            RATE * FRAME_BYTES,
            FRAME_BYTES,
            16,
            b"data",
            min(body, _MOST),
        )

    async def read(self, store: RecordingStore, span: Span) -> AsyncIterator[bytes]:
        """The bytes of a span, some at a time. Raises `StoreAway`."""
        yield self.head[span.start : span.end]
        start, end = max(span.start - _HEAD_BYTES, 0), span.end - _HEAD_BYTES
        at = start
        for one in self._stretches:
            first, last = one.start * FRAME_BYTES, min(one.end * FRAME_BYTES, end)
            if last <= at or first >= end:
                continue
            for some in _silence(first - at):
                yield some
            at = max(at, first)
            sound = await _sound(store, one.piece)
            origin = one.origin * FRAME_BYTES
            for cut in range(at - origin, last - origin, _SENT_AT_ONCE):
                yield sound[cut : min(cut + _SENT_AT_ONCE, last - origin)]
            at = last
        for some in _silence(end - at):
            yield some


def _laid(pieces: Sequence[tuple[Piece, int]]) -> list[_Stretch]:
    """Pieces with their places, in order of these, none over another.

    Where two overlap the one that begins later is heard: the caller talks with that agent, no more with the other.
    """
    found: list[_Stretch] = []
    for piece, start in pieces:
        one = _Stretch(piece, start, start, start + piece.samples)
        under: list[_Stretch] = []
        while found and found[-1].end > one.start:
            under.insert(0, found.pop())
        for before in under:
            found += before.between(0, one.start)
        found.append(one)
        for before in under:
            found += before.between(one.end, before.end)
    return found


async def _sound(store: RecordingStore, piece: Piece) -> bytes:
    try:
        return await store.read(piece)
    except NoSuchPiece:
        raise StoreAway("a piece went while it was being listened to") from None
    except DamagedPiece as error:
        # All else can be heard.
        log.error("recording_piece_damaged", piece=piece.key, error=str(error))  # noqa: TRY400 (it says it all)
        return bytes(piece.samples * FRAME_BYTES)


def _silence(length: int) -> Sequence[bytes]:
    whole, rest = divmod(max(length, 0), _SENT_AT_ONCE)
    return [bytes(_SENT_AT_ONCE)] * whole + [bytes(rest)] * bool(rest)


def _samples(microseconds: int) -> int:
    return max(round(microseconds * RATE / 1_000_000), 0)


def asked(header: str | None, size: int) -> Span | None:
    """The span that a `Range` header asks for; None for all: there is none, or one that nobody has to understand.

    Raises `NotThere`.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        return _last(int(last), size)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise NotThere
    return Span(int(first), min(int(last) + 1, size) if last else size)


def _last(length: int, size: int) -> Span:
    if not length:
        raise NotThere
    return Span(max(size - length, 0), size)
