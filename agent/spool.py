"""Sound on its way to where recordings are kept: files that one process writes, and the worker ships.

A file is a line of JSON and then 16-bit stereo. It is locked as long as its writer lives and is at it, so that one
whose lock is free is whole, or as whole as it will ever be.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from switchboard.recordings import FRAME_BYTES, RATE, SPOOL, Piece

PIECE_S = 60
# What may wait here while the store is away, eighteen hours of sound, and what is left of the disk to others.
MOST_BYTES = 4 * 1024**3
LEFT_FREE = 256 * 1024**2
FULL = "4 GiB of sound wait for the store of recordings: mend what the worker's log names at recordings_wait"
_LONGEST_HEAD = 1_024
_MOST_AT_ONCE = PIECE_S * RATE * FRAME_BYTES


class Head(BaseModel):
    """Whose sound it is, and when it begins, in microseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    recording: UUID
    call_id: UUID
    conversation_id: str = Field(min_length=1, max_length=128)
    start_us: int = Field(ge=0, lt=10**16)


class Waiting(NamedTuple):
    """A piece that waits to be shipped, with its sound."""

    head: Head
    sound: bytes

    @property
    def piece(self) -> Piece:
        return Piece(self.head.recording, self.head.start_us, len(self.sound) // FRAME_BYTES)


class Unreadable(ValueError):
    """The file is none of ours."""


class Writer:
    """Writes the sound of one recording, a file a minute. Methods raise `OSError`, and go on after it."""

    def __init__(self, home: Path, head: Head) -> None:
        """`head.start_us` is that of sample 0."""
        self._folder = home / SPOOL
        self._head = head
        self._file: int | None = None
        self._next = 0
        self._until = 0

    def write(self, start: int, sound: bytes) -> None:
        """Appends sound that begins with the sample `start`; on an error what is on disk ends before it."""
        # After a disk that hung it may be minutes, and a file is read whole.
        for at in range(0, len(sound), _MOST_AT_ONCE):
            self._append(start + at // FRAME_BYTES, sound[at : at + _MOST_AT_ONCE])

    def _append(self, start: int, sound: bytes) -> None:
        file = self._file
        if file is None or start != self._next or start >= self._until:
            self.close()
            file = self._open(start)
        try:
            _write(file, sound)
        except OSError:
            self.close()
            raise
        self._next = start + len(sound) // FRAME_BYTES

    def close(self) -> None:
        """What was written may be shipped."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, start: int) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _room(self._folder)
        head = self._head.model_copy(update={"start_us": self._head.start_us + start * 1_000_000 // RATE})
        path = self._folder / f"{head.recording}-{uuid4().hex}.sound"
        # It gets its name once it is locked: nobody takes it for one that is whole.
        part = path.with_suffix(".part")
        self._file = file = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(file, head.model_dump_json().encode() + b"\n")
            part.replace(path)
        except OSError:
            self.close()
            part.unlink(missing_ok=True)
            raise
        self._until = start + PIECE_S * RATE
        return file


def _write(file: int, data: bytes) -> None:
    if os.write(file, data) < len(data):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def _room(folder: Path) -> None:
    if shutil.disk_usage(folder).free < LEFT_FREE:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    sizes = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            sizes += path.stat().st_size
    if sizes > MOST_BYTES:
        raise OSError(EDQUOT, FULL)


class File(NamedTuple):
    """A file of sound. `written_at`: when the last of it was, in seconds since 1970."""

    path: Path
    written_at: float
    bytes: int


def waiting(home: Path) -> list[File]:
    """The files there are, oldest first."""
    found: list[File] = []
    for path in (home / SPOOL).glob("*.sound"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.append(File(path, status.st_mtime, status.st_size))
    return sorted(found, key=lambda one: one.written_at)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[Waiting | None]:
    """What is in a file that nobody writes or ships; None for any other. Raises `Unreadable` and `OSError`."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Shipped and removed by another one before the lock was had.
        if os.fstat(file.fileno()).st_nlink == 0:
            yield None
            return
        line = file.readline(_LONGEST_HEAD)
        sound = file.read(2 * _MOST_AT_ONCE)
        yield _read(line, sound)


def done(path: Path) -> None:
    """What was in the file is where recordings are kept."""
    path.unlink(missing_ok=True)


def put_aside(path: Path) -> None:
    """Keeps what nobody can read for a person to look at."""
    path.replace(path.with_suffix(".unreadable"))


def _read(line: bytes, sound: bytes) -> Waiting:
    sound = sound[: len(sound) // FRAME_BYTES * FRAME_BYTES]
    try:
        head = Head.model_validate_json(line)
    except ValidationError:
        raise Unreadable("its first line is none of ours") from None
    return Waiting(head, sound)
