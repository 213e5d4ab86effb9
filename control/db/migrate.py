"""Numbered migrations, run at start under an advisory lock, from any number of processes."""

from pathlib import Path

import structlog

from control.db.pool import Connection

log = structlog.get_logger(__name__)

FOLDER = Path(__file__).parent / "migrations"
LOCK = 0x5B_0001
_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The database is of another version than this program; the text says what to do."""


def known() -> tuple[int, ...]:
    """The migrations that this program knows."""
    return tuple(_numbered(FOLDER))


def _numbered(folder: Path) -> dict[int, Path]:
    return {int(path.name[:4]): path for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))}


async def migrate(connection: Connection, folder: Path = FOLDER) -> list[int]:
    """Runs what the database has not seen, all or nothing; returns the numbers that ran.

    Raises `MigrationError` when the database has migrations that this program does not know.
    """
    files = _numbered(folder)
    async with connection.transaction():
        # The lock goes with the transaction; a second process waits here and then finds nothing to do.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=120)
        await connection.execute(_TABLE)
        done = {row["number"] for row in await connection.fetch("SELECT number FROM migrations")}
        if done - files.keys():
            raise MigrationError(
                f"The database has migration {max(done - files.keys())}, which this version does not know: "
                "run the newer version, or restore the backup made before it."
            )
        missing = sorted(files.keys() - done)
        for number in missing:
            await connection.execute(files[number].read_text(encoding="utf-8"), timeout=600)
            await connection.execute("INSERT INTO migrations VALUES ($1, $2)", number, files[number].stem)
    if missing:
        log.info("database_migrated", migrations=missing)
    return missing
