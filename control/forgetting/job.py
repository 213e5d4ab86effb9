"""The job that forgets: whatever is to be erased, however far an earlier attempt came.

Outside the tables first, as the rows say what to look for; a conversation's rows go last, all in one transaction with
the count on the receipt.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import structlog

from control.db.pool import Database, DatabaseAway
from control.forgetting import elsewhere, tables
from control.forgetting.elsewhere import Conversation, Place
from control.forgetting.tables import QUERIES
from control.jobs.job import Result, Run
from switchboard.recording_store import RecordingStore

log = structlog.get_logger(__name__)

KIND = "forget"
AT_ONCE = 100
VACUUM_S = 120.0


async def forget(run: Run) -> Result:
    """Erases what was asked to be forgotten; how many receipts are whole with that."""
    async with run.database.session() as connection:
        receipts = [row["id"] for row in await connection.fetch(QUERIES["unfinished"])]
        most = await connection.fetchval(QUERIES["count_erasures"])
    if not receipts:
        return {"receipts": 0}
    places = elsewhere.places(run.redis, run.settings.home, RecordingStore.of(run.settings))
    done = 0
    while batch := await _next(run.database):
        await _erase_elsewhere(run, places, batch)
        for one in batch:
            await tables.erase(run.database, one.names)
            done += 1
            await run.progress(min(done / max(most, 1), 1.0) * 0.9, "erasing")
    await elsewhere.rewritten(run.redis)
    await _vacuum(run.database)
    async with run.completing({"receipts": len(receipts)}) as connection:
        await connection.execute(QUERIES["finish"], receipts)
    return None


async def _next(database: Database) -> list[Conversation]:
    async with database.session() as connection:
        ids = [row["conversation_id"] for row in await connection.fetch(QUERIES["some_erasures"], AT_ONCE)]
        rows = await connection.fetch(QUERIES["calls_in"], ids)
    calls: dict[str, list[UUID]] = defaultdict(list)
    for row in rows:
        calls[row["conversation_id"]].append(row["id"])
    return [Conversation(id, tuple({*calls[id], *_named_as(id)})) for id in ids]


def _named_as(conversation: str) -> list[UUID]:
    """The call that a conversation is named after, as most are: of one that was erased before no row is left."""
    try:
        return [UUID(conversation)]
    except ValueError:
        return []


async def _erase_elsewhere(run: Run, places: Sequence[Place], batch: Sequence[Conversation]) -> None:
    for place in places:
        found = await place.find(batch)
        if not found:
            continue
        async with run.database.transaction() as connection:
            for conversation, things in found.items():
                await connection.execute(QUERIES["note_found"], conversation, place.name, len(things))
        await place.erase([one for things in found.values() for one in things])


async def _vacuum(database: Database) -> None:
    """Deleted rows are out of the reach of any statement at once, instead of when Postgres comes round."""
    try:
        async with database.session() as connection:
            await connection.execute(f"VACUUM {', '.join(tables.ERASED)}", timeout=VACUUM_S)
    except DatabaseAway as error:
        # Of very large tables it takes long, and Postgres does the same by itself.
        log.warning("not_vacuumed", error=str(error))
