"""What was forgotten, in a file outside the database: a restored backup brings back rows, but not an older file.

Each line of `SWITCHBOARD_HOME/forgotten.jsonl` is a key, or one request by what hashes tell of it. Lines are only
ever added, so that two such files are joined by having the lines of both.
"""

import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import FileIO
from pathlib import Path
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from switchboard.settings import SettingsError

log = structlog.get_logger(__name__)

FILE = "forgotten.jsonl"
_KEY = r"^[0-9a-f]{64}$"


class Entry(BaseModel):
    """One request: a caller's number as HMAC-SHA-256, and conversations as SHA-256 of their ids, all in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receipt: UUID
    asked_at: datetime
    asked_by: str
    number: str | None = Field(None, pattern=_KEY)
    conversations: tuple[str, ...] = ()


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str = Field(pattern=_KEY)


class Ledger:
    """The file in a home, made with a key of its own when there is none."""

    def __init__(self, home: Path) -> None:
        """Raises `SettingsError` when the file cannot be used."""
        self._path = home / FILE
        try:
            with _held(self._path) as file:
                keys = _keys(file.read())
                if not keys:
                    keys = [secrets.token_hex(32)]
                    _add(file, [_Key(key=keys[0]).model_dump_json()])
        except OSError as error:
            raise SettingsError(
                f"{self._path} cannot be used ({error.strerror}): make SWITCHBOARD_HOME writable."
            ) from None
        self._keys = [bytes.fromhex(key) for key in keys]

    def hashes(self, digits: str) -> list[bytes]:
        """A number under each key; the last one is that of new requests."""
        return [hmac.digest(key, digits.encode(), "sha256") for key in self._keys]

    def entries(self) -> list[Entry]:
        """All requests, oldest first; a line that cannot be read is skipped and logged. Raises `OSError`."""
        lines = self._path.read_bytes().splitlines()
        return [found for line in lines if not _key_in(line) and (found := _entry_in(line))]

    def add(self, entries: Sequence[Entry]) -> None:
        """Returns when they are on disk. Raises `OSError`."""
        if entries:
            with _held(self._path) as file:
                _add(file, [one.model_dump_json() for one in entries])


def join(home: Path, other: bytes) -> None:
    """Adds the lines of another such file that the one of `home` has not. Raises `OSError`."""
    with _held(home / FILE) as file:
        known = set(file.read().splitlines())
        _add(file, [line.decode(errors="replace") for line in other.splitlines() if line not in known])


@contextmanager
def _held(path: Path) -> Iterator[FileIO]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _add(file: FileIO, lines: Sequence[str]) -> None:
    size = os.fstat(file.fileno()).st_size
    # What a full disk or a death cut short must not become a part of the next line.
    whole = size == 0 or os.pread(file.fileno(), 1, size - 1) == b"\n"
    text = ("" if whole else "\n") + "".join(f"{line}\n" for line in lines)
    if file.write(text.encode()) != len(text.encode()):
        raise OSError(28, "it could not be written whole")
    os.fsync(file.fileno())


def _keys(text: bytes) -> list[str]:
    return [key for line in text.splitlines() if (key := _key_in(line))]


def _key_in(line: bytes) -> str | None:
    try:
        return _Key.model_validate_json(line).key
    except ValidationError:
        return None


def _entry_in(line: bytes) -> Entry | None:
    try:
        return Entry.model_validate_json(line)
    except ValidationError as error:
        if line.strip():
            log.warning("ledger_line_skipped", bytes=len(line), faults=error.error_count())
        return None
