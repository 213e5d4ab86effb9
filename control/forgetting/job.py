"""The job that forgets: whatever is to be erased, however far an earlier attempt came.

Outside the tables first, as the rows say what to look for; a conversation's rows go last, all in one transaction with
the count on the receipt. What is away holds back nothing but itself: the rows go all the same, and their erasure,
which keeps what to look for, stays until nothing can lie there any more.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from control.db.pool import Connection, Database, DatabaseAway
from control.forgetting import elsewhere, tables
from control.forgetting.elsewhere import Conversation, Place
from control.forgetting.tables import QUERIES
from control.jobs.job import Passing, Result, Run
from switchboard.recording_store import RecordingStore

log = structlog.get_logger(__name__)

KIND = "forget"
AT_ONCE = 100
VACUUM_S = 120.0
_AWAY = (Passing, RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations that are erased together, and the receipt of each."""

    conversations: Sequence[Conversation]
    receipts: Sequence[UUID]


async def forget(run: Run) -> Result:
    """Erases what was asked to be forgotten; how many receipts are whole with that."""
    async with run.database.session() as connection:
        unfinished = await connection.fetch(QUERIES["unfinished"])
    if not unfinished:
        return {"receipts": 0}
    await tables.look_for_numbers(
        run.database, {row["id"]: row["spellings"] for row in unfinished if row["spellings"]}
    )
    away = await _erase_all(run)
    async with run.database.session() as connection:
        receipts = [row["id"] for row in unfinished]
        due = [row["id"] for row in await connection.fetch(QUERIES["due"], receipts)]
    if due:
        # At the last end alone: both are work for all of Redis and Postgres, and of a live call facts come and come.
        await elsewhere.rewritten(run.redis)
        await _vacuum(run.database)
    if away is not None:
        async with run.database.transaction() as connection:
            await _finish(connection, due)
        raise away
    async with run.completing({"receipts": len(due)}) as connection:
        await _finish(connection, due)
    return None


async def _erase_all(run: Run) -> Exception | None:
    """Erases what there is to erase. Returns what was away first: what may lie there is left to the next attempt."""
    reachable = list(elsewhere.places(run.redis, run.settings.home, RecordingStore.of(run.settings)))
    away: Exception | None = None
    left: list[str] = []
    done, most = 0, await _count(run.database)
    while batch := await _next(run.database, left):
        for place in [*reachable]:
            try:
                await _erase_in(run.database, place, batch.conversations)
            except _AWAY as error:
                log.warning("place_away", place=place.name, error=repr(error))
                reachable.remove(place)
                away = away or error
        named = zip(batch.conversations, batch.receipts, strict=True)
        await tables.look_through(run.database, {name: receipt for one, receipt in named for name in one.names})
        for one in batch.conversations:
            await tables.erase(run.database, one.id, one.calls, whole=away is None)
            done += 1
            await run.progress(min(done / max(most, 1), 1.0) * 0.9, "erasing")
        if away is not None:
            left += [one.id for one in batch.conversations]
    return away


async def _count(database: Database) -> int:
    async with database.session() as connection:
        return int(await connection.fetchval(QUERIES["count_erasures"]))


async def _next(database: Database, without: Sequence[str]) -> Batch | None:
    async with database.session() as connection:
        rows = await connection.fetch(QUERIES["some_erasures"], AT_ONCE, without)
        ids = [row["conversation_id"] for row in rows]
        kept = await connection.fetch(QUERIES["keep_calls"], ids)
    if not ids:
        return None
    calls: dict[str, set[UUID]] = defaultdict(set) | {row["conversation_id"]: {*row["calls"]} for row in kept}
    found = [Conversation(id, tuple({*calls[id], *_named_as(id)})) for id in ids]
    return Batch(found, [row["receipt"] for row in rows])


def _named_as(conversation: str) -> list[UUID]:
    """The call that a conversation is named after, as most are: of one that was erased before no row is left."""
    try:
        return [UUID(conversation)]
    except ValueError:
        return []


async def _erase_in(database: Database, place: Place, conversations: Sequence[Conversation]) -> None:
    found = await place.find(conversations)
    if not found:
        return
    async with database.transaction() as connection:
        for conversation, things in sorted(found.items()):
            await connection.execute(QUERIES["note_found"], conversation, place.name, len(things))
    await place.erase([one for things in found.values() for one in things])


async def _finish(connection: Connection, receipts: Sequence[UUID]) -> None:
    # Facts that come again meanwhile have their receipt changed last: who waits for it sees what is to go with it.
    await connection.execute(QUERIES["hold_receipts"], receipts)
    await connection.execute(QUERIES["finish"], receipts)


async def _vacuum(database: Database) -> None:
    """Deleted rows are out of the reach of any statement at once, instead of when Postgres comes round."""
    try:
        async with database.session() as connection:
            await connection.execute(f"VACUUM {', '.join(tables.ERASED)}", timeout=VACUUM_S)
    except DatabaseAway as error:
        # Of very large tables it takes long, and Postgres does the same by itself.
        log.warning("not_vacuumed", error=str(error))
