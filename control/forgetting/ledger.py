"""What was forgotten, in a file outside the database: a restored backup brings back rows, but not an older file.

Each line of `SWITCHBOARD_HOME/forgotten.jsonl` is a key, what is said of one that is lost, or one request by what
hashes tell of it. Lines are only ever added, so that two such files are joined by having the lines of both.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from switchboard.settings import SettingsError

log = structlog.get_logger(__name__)

FILE = "forgotten.jsonl"
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Line = TypeVar("_Line", bound=BaseModel)


class Entry(BaseModel):
    """One request: a caller's number as HMAC-SHA-256, and conversations as SHA-256 of their ids, all in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receipt: UUID
    asked_at: datetime
    asked_by: str
    number: _Hex | None = None
    conversations: tuple[_Hex, ...] = ()


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: _Hex


class _Lost(BaseModel):
    """Whoever adds it knows that a key, named by its SHA-256, will not be found again."""

    model_config = ConfigDict(extra="forbid")

    lost_key: _Hex


class Ledger:
    """The file in a home, made with a key of its own when there is none."""

    def __init__(self, home: Path) -> None:
        """Raises `SettingsError` when the file cannot be used."""
        self._path = home / FILE
        try:
            with _held(self._path) as file:
                text = file.read()
                keys = [one.key for one in _lines(_Key, text)]
                if not keys:
                    keys = [secrets.token_hex(32)]
                    _add(file, [_Key(key=keys[0]).model_dump_json()])
        except OSError as error:
            raise SettingsError(
                f"{self._path} cannot be used ({error.strerror}): make SWITCHBOARD_HOME writable."
            ) from None
        self._keys = [bytes.fromhex(key) for key in keys]
        self._named = {hashlib.sha256(key).digest() for key in self._keys}
        self._named |= {bytes.fromhex(one.lost_key) for one in _lines(_Lost, text)}

    @property
    def key(self) -> bytes:
        """Which key new requests are under, as its SHA-256."""
        return hashlib.sha256(self._keys[-1]).digest()

    def need(self, keys: Iterable[bytes]) -> None:
        """Raises `SettingsError` when one of these, named by their SHA-256, is neither here nor said to be lost."""
        missing = sorted(set(keys) - self._named)
        if missing:
            raise SettingsError(
                f"{self._path} lacks a key under which callers were forgotten: add to it the lines of the {FILE} of "
                "the SWITCHBOARD_HOME that control had before. If that file is lost for good, add the line "
                f'{{"lost_key": "{missing[0].hex()}"}}; late facts and backups can bring those callers back then.'
            )

    def hashes(self, digits: str) -> list[bytes]:
        """A number under each key; the last one is that of new requests."""
        return [hmac.digest(key, digits.encode(), "sha256") for key in self._keys]

    def entries(self) -> list[Entry]:
        """All requests, oldest first. A line that was cut short is skipped and logged.

        Raises `OSError`, and `SettingsError` for a line that was changed.
        """
        found = []
        for number, line in enumerate(self._path.read_bytes().splitlines(), 1):
            if _read(_Key, line) or _read(_Lost, line):
                continue
            if entry := _read(Entry, line):
                found.append(entry)
            elif line.endswith(b"}"):
                raise SettingsError(
                    f"{self._path}: line {number} is damaged. Put back what it was, as from a backup; or take the "
                    "line out, and what it was about can be brought back by a backup."
                )
            elif line.strip():
                log.warning("ledger_line_skipped", line=number, bytes=len(line))
        return found

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


def _lines(kind: type[_Line], text: bytes) -> list[_Line]:
    return [found for line in text.splitlines() if (found := _read(kind, line))]


def _read(kind: type[_Line], line: bytes) -> _Line | None:
    try:
        return kind.model_validate_json(line)
    except ValidationError:
        return None
