"""The file that a backup is: a zip archive that appears whole or not at all.

It holds `manifest.json`, `database.dump` (pg_dump's custom format), `keys.json`, `admin.key`, `forgotten.jsonl` and
`outbox/…`, the facts that were not recorded yet. All of it is for its owner's eyes alone.
"""

import fcntl
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.fault import CommandFailed
from control.forgetting import ledger

MANIFEST, DATABASE = "manifest.json", "database.dump"
# What else makes an installation, besides its database and what waits to be recorded in it.
SECRETS = ("keys.json", "admin.key")
LEDGER = ledger.FILE
OUTBOX = "outbox/"
_FACT_FILE = re.compile(r"[\w.-]{1,200}\.(jsonl|unreadable)")
_MAX_MANIFEST = 64 * 1024
_MEND = "name a file that `switchboard backup` made"


class Manifest(BaseModel):
    """`migration` is the newest that the database had, `postgres` its server's major version."""

    model_config = ConfigDict(frozen=True)

    format: Literal["switchboard backup 1"] = "switchboard backup 1"
    made_at: datetime
    version: str = Field(max_length=100)
    migration: int
    postgres: int


@contextmanager
def written(file: Path) -> Iterator[zipfile.ZipFile]:
    """A new archive. It gets its name once it is whole and on disk; until then it is called `FILE.part`.

    Raises `CommandFailed` when the file is there already or cannot be written.
    """
    if file.exists():
        raise CommandFailed(f"{file} is there already: name a new file.")
    part = file.with_name(f"{file.name}.part")
    try:
        with _held(part) as handle:
            try:
                with zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
                    yield archive
                handle.flush()
                os.fsync(handle.fileno())
                part.replace(file)
                _sync_folder(file.parent)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise CommandFailed(
            f"{file} cannot be written ({error.strerror}): name one in a folder with room for it."
        ) from None


@contextmanager
def _held(part: Path) -> Iterator[IO[bytes]]:
    handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(f"{part} is being written by another backup: wait for it.") from None
        # Of a backup that was cut off.
        file.truncate()
        yield file


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep_files(archive: zipfile.ZipFile, home: Path) -> int:
    """Copies the secrets, the ledger and the files of facts of `home`; how many of the last."""
    for name in (*SECRETS, LEDGER):
        if (home / name).is_file():
            archive.write(home / name, name)
    kept = 0
    for path in sorted((home / OUTBOX).glob("*")):
        if _FACT_FILE.fullmatch(path.name):
            kept += _keep(archive, path)
    return kept


def _keep(archive: zipfile.ZipFile, path: Path) -> bool:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        # Its facts were recorded meanwhile.
        return False
    archive.writestr(f"{OUTBOX}{path.name}", found)
    return True


@contextmanager
def opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """An archive, read through and found whole. Raises `CommandFailed`."""
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = _manifest(archive, file)
            # Reads all of it: what does not hold its checksum was damaged, and restores nothing.
            if damaged := archive.testzip():
                raise CommandFailed(f"{file} is damaged ({damaged}): restore another backup.")
            yield archive, manifest
    except zipfile.BadZipFile:
        raise CommandFailed(f"{file} is no backup, or was cut short: {_MEND}.") from None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read ({error.strerror}): {_MEND}.") from None


def _manifest(archive: zipfile.ZipFile, file: Path) -> Manifest:
    try:
        if archive.getinfo(MANIFEST).file_size > _MAX_MANIFEST:
            raise CommandFailed(f"{file} is no backup: {_MEND}.")
        archive.getinfo(DATABASE)
        return Manifest.model_validate_json(archive.read(MANIFEST))
    except (KeyError, ValidationError):
        raise CommandFailed(f"{file} is no backup: {_MEND}.") from None


def facts_in(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of facts; names that lead elsewhere are no such files."""
    for name in archive.namelist():
        plain = name.removeprefix(OUTBOX)
        if name != plain and _FACT_FILE.fullmatch(plain):
            yield plain, archive.read(name)
