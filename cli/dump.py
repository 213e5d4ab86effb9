"""The database in and out: pg_dump and psql of the Postgres that comes along, against whichever server is used."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit
from uuid import UUID

import asyncpg

from cli.fault import CommandFailed
from control.db.pool import dsn
from local import postgres

CONNECT_S = 10
_TIMEOUT_S = 60.0
# Older servers do not know a setting that a dump begins with.
OLDEST = 17
_EMPTIED = b"""\
DROP SCHEMA IF EXISTS public CASCADE;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
"""
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Held:
    """What a database holds. `migration` is None in one that is not of Switchboard; `others` are using it too."""

    postgres: int
    tables: int
    others: int
    migration: int | None = None
    calls: int = 0
    personas: int = 0

    def __str__(self) -> str:
        return f"{count(self.calls, 'call')} and {count(self.personas, 'persona')}"


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that has no end on record."""

    call_id: UUID
    conversation_id: str
    started_at: datetime


async def look(url: str) -> Held:
    """Raises `CommandFailed` when the database cannot be reached."""
    async with _connected(url) as connection:
        return await _held(connection)


async def open_calls(url: str) -> list[OpenCall]:
    """The calls without an end. Raises `CommandFailed`."""
    async with _connected(url) as connection:
        rows = await connection.fetch(
            "SELECT id AS call_id, conversation_id, started_at FROM calls WHERE ended_at IS NULL"
        )
    return [OpenCall(**row) for row in rows]


async def ended_calls(url: str, calls: Collection[UUID]) -> set[UUID]:
    """Those of `calls` that have an end. Raises `CommandFailed`."""
    async with _connected(url) as connection:
        rows = await connection.fetch("SELECT id FROM calls WHERE ended_at IS NOT NULL AND id = ANY($1)", list(calls))
    return {row["id"] for row in rows}


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    connect: Any = asyncpg.connect
    try:
        connection = await connect(dsn(url), timeout=CONNECT_S, command_timeout=_TIMEOUT_S)
        try:
            yield connection
        finally:
            await connection.close(timeout=CONNECT_S)
    except _AWAY as error:
        raise CommandFailed(_unreachable(error)) from None


async def _held(connection: Any) -> Held:
    tables = {row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    others = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    held = Held(connection.get_server_version().major, len(tables), others)
    if not {"migrations", "calls", "personas"} <= tables:
        return held
    row = await connection.fetchrow(
        "SELECT (SELECT max(number) FROM migrations) AS migration, (SELECT count(*) FROM calls) AS calls,"
        " (SELECT count(*) FROM personas) AS personas"
    )
    return Held(held.postgres, held.tables, others, **row)


def save(url: str, out: IO[bytes]) -> None:
    """Writes the whole database to `out`, as of one moment; calls go on meanwhile. Raises `CommandFailed`."""
    where, environment = address(url)
    with _said() as said:
        process = subprocess.Popen(
            (str(postgres.program("pg_dump")), "--format=custom", "--lock-wait-timeout=60s", f"--dbname={where}"),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        with process:
            assert process.stdout is not None  # noqa: S101
            try:
                shutil.copyfileobj(process.stdout, out)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise CommandFailed(f"The database could not be saved: {_last_line(said)}")


def load(url: str, source: IO[bytes], *, emptied: bool) -> None:
    """Fills the database from what `save` wrote, `emptied` before: all of it or, raising `CommandFailed`, nothing."""
    where, environment = address(url)
    with _said() as said:
        reader = subprocess.Popen(
            (str(postgres.program("pg_restore")), "--no-owner", "--no-privileges", "--file=-"),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        writer = subprocess.Popen(
            (
                *(str(postgres.program("psql")), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"),
                f"--dbname={where}",
            ),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        feeder = threading.Thread(target=_feed, args=(source, reader), name="restore")
        try:
            feeder.start()
            _write(reader, writer, emptied=emptied)
        finally:
            for process in (reader, writer):
                process.kill()
                process.wait()
            feeder.join()
        if writer.returncode != 0 or reader.returncode != 0:
            raise CommandFailed(f"The database is as it was, as restoring failed: {_last_line(said)}")


def _feed(source: IO[bytes], reader: "subprocess.Popen[bytes]") -> None:
    assert reader.stdin is not None  # noqa: S101
    # It may end before its source does; its status tells.
    with contextlib.suppress(BrokenPipeError), reader.stdin:
        shutil.copyfileobj(source, reader.stdin)


def _write(reader: "subprocess.Popen[bytes]", writer: "subprocess.Popen[bytes]", *, emptied: bool) -> None:
    assert reader.stdout is not None and writer.stdin is not None  # noqa: S101
    try:
        with writer.stdin as statements, reader.stdout:
            statements.write(b"BEGIN;\n")
            if emptied:
                statements.write(_EMPTIED)
            shutil.copyfileobj(reader.stdout, statements)
            # Without this word at the end of a whole dump, whatever stopped it, nothing has happened.
            if reader.wait() == 0:
                statements.write(b"\nCOMMIT;\n")
    except BrokenPipeError:
        # It refused a statement and ended; its status tells.
        pass
    writer.wait()


def address(url: str) -> tuple[str, Mapping[str, str]]:
    """The database's address without its password, which every process of the machine could read, and the rest."""
    parts = urlsplit(dsn(url))
    query = parse_qsl(parts.query, keep_blank_values=True)
    password = unquote(parts.password or "") or dict(query).get("password", "")
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}{at}{host}"
    kept = urlencode([(name, value) for name, value in query if name != "password"])
    told = {"PGCONNECT_TIMEOUT": str(CONNECT_S), "PGOPTIONS": "-c client_min_messages=warning"}
    if password:
        told["PGPASSWORD"] = password
    return urlunsplit(parts._replace(netloc=netloc, query=kept)), {**os.environ, **told}


@contextlib.contextmanager
def _said() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as said:
        yield said


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()] or lines
    return f"{told[0][:500]}." if told else "no reason was given."


def _unreachable(error: BaseException) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"The database cannot be reached ({reason}): start it, or set DATABASE_URL to where it is."


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
