"""How recordings go: first it is on record that they are deleted, and nobody hears them; then the sound goes.

Whatever stops it in between, the daily job takes away the rest, and what comes later of a deleted recording.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid5

import structlog

from control.conversations.log import append_in
from control.db.pool import Connection
from control.jobs.job import Jobs, Passing, Result, Run
from control.recordings.reading import QUERIES
from switchboard.fact import Fact, RecordingDeleted, RecordingStored, Source
from switchboard.recording_store import Kept, RecordingStore, StoreAway
from switchboard.recordings import SPOOL, recording_id
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

Why = Literal["deleted", "expired"]

ERASE = "erase_recording"
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
        await asyncio.to_thread(_unlink, home, recording)
        await store.erase(recording)


def _unlink(home: Path, recording: UUID) -> None:
    for path in waiting(home, recording):
        path.unlink(missing_ok=True)


async def erase_now_or_later(store: RecordingStore, home: Path, recordings: Sequence[UUID]) -> None:
    """Like `erase`; with the store away the daily job does it."""
    try:
        await erase(store, home, recordings)
    except StoreAway as error:
        log.warning("recordings_not_erased", count=len(recordings), error=str(error))


async def erase_late(connection: Connection, jobs: Jobs, facts: Sequence[Fact]) -> None:
    """Has sound erased that was put where recordings are kept after its recording was deleted.

    It was on its way there, or waited on another host. `facts` are on record, in the same transaction.
    """
    stored = {
        one.id: recording_id(one.call_id) for one in facts if isinstance(one.body, RecordingStored) and one.call_id
    }
    if not stored:
        return
    rows = await connection.fetch(QUERIES["deleted_among"], list(set(stored.values())))
    gone = {row["id"] for row in rows}
    for fact, recording in stored.items():
        if recording in gone:
            # A fact that comes again is the same task.
            task = uuid5(fact, ERASE)
            await jobs.enqueue(connection, ERASE, {"recording_id": str(recording)}, task=task)


async def erase_one(run: Run) -> Result:
    """Takes away the sound of the recording `recording_id`. Raises `Passing` when what keeps recordings is away."""
    with passing():
        await erase(RecordingStore.of(run.settings), run.settings.home, [UUID(run.args["recording_id"])])
    return None


async def expire(run: Run) -> Result:
    """Deletes recordings whose time is over, and sound that is of none; how many of each. Mends what rows say.

    Raises `Passing` when what keeps recordings is away.
    """
    settings, store = run.settings, RecordingStore.of(run.settings)
    with passing():
        expired = await _expire_old(run, store, settings)
        await run.progress(0.5, "leftovers")
        there = await store.recordings()
        await _mend_rows(run, there)
        return {"expired": expired, "leftovers": await _erase_unwanted(run, store, settings, there)}


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


async def _erase_unwanted(run: Run, store: RecordingStore, settings: Settings, there: Mapping[UUID, Kept]) -> int:
    put_at = [one.put_at for one in there.values()]
    async with run.database.session() as connection:
        alone = await _is_alone(connection, store)
        rows = await connection.fetch(QUERIES["unwanted"], list(there), put_at, settings.recordings_days, alone)
    await erase(store, settings.home, [row["id"] for row in rows])
    return len(rows)


async def _is_alone(connection: Connection, store: RecordingStore) -> bool:
    """Whether all sound there is this installation's: each leaves its mark, and looks for those of others."""
    mine = await connection.fetchval(QUERIES["installation"])
    await store.mark(mine)
    others = await store.marks() - {mine}
    if others:
        log.error(
            "recordings_shared",
            others=sorted(map(str, others)),
            advice="Sound of unknown calls is left, as it may be another installation's: give each a bucket of its "
            "own. Of one that is gone for good delete the object installations/ID.",
        )
    return not others


async def _mend_rows(run: Run, there: Mapping[UUID, Kept]) -> None:
    """Facts of sound that were lost, with a Redis that was emptied, are made up for by what is there."""
    kept = there.values()
    async with run.database.session() as connection:
        await connection.execute(
            QUERIES["mend_recordings"],
            list(there),
            [one.put_at for one in kept],
            [one.until for one in kept],
            [one.bytes for one in kept],
        )
