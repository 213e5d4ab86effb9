"""How recordings go: first it is on record that they are deleted, and nobody hears them; then the sound goes.

Whatever stops it in between, the daily job takes away the rest, and what comes later of a deleted recording.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid5

import structlog

from control.conversations.log import append_in
from control.db.pool import Connection
from control.jobs.job import Passing, Result, Run
from control.recordings.reading import QUERIES
from switchboard.fact import Fact, RecordingDeleted, Source
from switchboard.recording_store import RecordingStore, StoreAway
from switchboard.recordings import SPOOL, recording_id
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

Why = Literal["deleted", "expired"]

AT_ONCE = 50


async def mark_deleted(
    connection: Connection, why: Why, calls: Sequence[UUID], *, source: Source = Source.CONTROL
) -> list[UUID]:
    """Deletes the recordings of these calls on record, in the caller's transaction; their ids.

    `erase` takes away their sound, once the transaction is committed. Raises `Forgotten`.
    """
    rows = await connection.fetch(QUERIES["to_delete"], list(calls))
    facts = [
        Fact(
            id=uuid5(recording_id(row["call_id"]), "deleted"),
            conversation_id=row["conversation_id"],
            call_id=row["call_id"],
            source=source,
            body=RecordingDeleted(reason=why),
        )
        for row in rows
    ]
    if facts:
        await append_in(connection, facts)
    return [recording_id(row["call_id"]) for row in rows]


def waiting(home: Path, recording: UUID) -> list[Path]:
    """The files of a recording that wait below `home` to be shipped."""
    return list((home / SPOOL).glob(f"{recording}-*"))


async def erase(store: RecordingStore, home: Path, recordings: Sequence[UUID]) -> None:
    """Takes away the sound of recordings, and what of it waits below `home` to be shipped. Raises `StoreAway`."""
    for recording in recordings:
        for path in waiting(home, recording):
            path.unlink(missing_ok=True)
        await store.erase(recording)


async def erase_now_or_later(store: RecordingStore, home: Path, recordings: Sequence[UUID]) -> None:
    """Like `erase`; with the store away the daily job does it."""
    try:
        await erase(store, home, recordings)
    except StoreAway as error:
        log.warning("recordings_not_erased", count=len(recordings), error=str(error))


async def expire(run: Run) -> Result:
    """Deletes recordings whose time is over, and sound that is of none; how many of each.

    Raises `Passing` when what keeps recordings is away.
    """
    settings, store = run.settings, RecordingStore.of(run.settings)
    with passing():
        expired = await _expire_old(run, store, settings)
        await run.progress(0.5, "leftovers")
        return {"expired": expired, "leftovers": await _erase_unwanted(run, store, settings)}


@contextmanager
def passing() -> Iterator[None]:
    """For jobs: a store that is away is back one day, and the task is tried again until then. Raises `Passing`."""
    try:
        yield
    except StoreAway as error:
        raise Passing(f"What keeps recordings is away: {error}") from None


async def _expire_old(run: Run, store: RecordingStore, settings: Settings) -> int:
    count = 0
    while True:
        async with run.database.transaction() as connection:
            rows = await connection.fetch(QUERIES["expired_recordings"], settings.recordings_days, AT_ONCE)
            calls = [row["call_id"] for row in rows]
            gone = await mark_deleted(connection, "expired", calls, source=Source.JOB)
        if not gone:
            return count
        await erase(store, settings.home, gone)
        count += len(gone)
        await run.progress(0.0, f"{count} expired")


async def _erase_unwanted(run: Run, store: RecordingStore, settings: Settings) -> int:
    there = await store.recordings()
    async with run.database.session() as connection:
        rows = await connection.fetch(
            QUERIES["unwanted"], list(there), list(there.values()), settings.recordings_days
        )
    await erase(store, settings.home, [row["id"] for row in rows])
    return len(rows)
