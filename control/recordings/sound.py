"""The sound of a recording as one WAV, whatever pieces there are of it: time that was not recorded is silence."""

import hashlib
import re
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from switchboard.recording_store import NoSuchPiece, RecordingStore, StoreAway
from switchboard.recordings import CHANNELS, FRAME_BYTES, RATE, Piece

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
class _Place:
    piece: Piece
    start: int  # in samples of the recording

    @property
    def end(self) -> int:
        return self.start + self.piece.samples


class Sound:
    """A recording's file. `started_us`: when it begins, in microseconds since 1970."""

    def __init__(self, pieces: Sequence[Piece], started_us: int) -> None:
        self._places = [_Place(one, _samples(one.start_us - started_us)) for one in sorted(pieces)]
        self._samples = max((place.end for place in self._places), default=0)
        names = [str(started_us), *(place.piece.key for place in self._places)]
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
        for place in self._places:
            first, last = place.start * FRAME_BYTES, place.end * FRAME_BYTES
            if last <= at or first >= end:
                continue
            for some in _silence(min(first, end) - at):
                yield some
            at = max(at, first)
            sound = await _sound(store, place.piece)
            for cut in range(at - first, min(last, end) - first, _SENT_AT_ONCE):
                yield sound[cut : min(cut + _SENT_AT_ONCE, end - first)]
            at = min(last, end)
        for some in _silence(end - at):
            yield some


async def _sound(store: RecordingStore, piece: Piece) -> bytes:
    try:
        return await store.read(piece)
    except NoSuchPiece:
        raise StoreAway("a piece went while it was being listened to") from None


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
