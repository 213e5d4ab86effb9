"""The recorder: takes facts from the stream in Redis, appends them to the log, and only then removes them.

One recorder works at a time, whichever process holds an advisory lock on the very connection that it appends
with: one that lost its connection has lost the lock and cannot append, and the next one begins with what was
delivered but not recorded. So order is the stream's, and nothing is lost or doubled by a death at any place.
Facts of what was forgotten are refused: their ids are kept, so that nobody ships them again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from control.conversations.log import QUERIES, Forgotten, append_in
from control.db.pool import REFUSED, Connection, Database, DatabaseAway, storable
from control.forgetting import tables
from control.forgetting.forgetting import Forgetting
from control.jobs.job import Jobs
from control.recordings.deletion import erase_late
from switchboard import stream
from switchboard.fact import MAX_BYTES, Fact

log = structlog.get_logger(__name__)

LOCK = 0x5B_0002
CONSUMER = "control"
BATCH = 200
BLOCK_S = 1.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STANDBY_S = 1.0
IDLE_S = 0.02
MEASURE_S = 5.0
ALARM_LENGTH = int(stream.MAX_LENGTH * 0.8)
# What cannot be recorded is kept for a person to look at; the oldest go beyond the cap.
KEPT_ASIDE = 10_000

RECORDED = Counter("switchboard_facts_recorded", "Facts appended to the log")
SET_ASIDE = Counter("switchboard_facts_set_aside", "Entries that are no facts, or that the database refuses", ["why"])
LENGTH = Gauge("switchboard_facts_stream_length", "Entries in the stream of facts")
ALARM = Gauge("switchboard_facts_stream_alarm", "1 while the stream is over 80 % of its cap")
# One that Postgres refuses, or that cannot even be put into its columns: trying again would never end.
UNFIT = (*REFUSED, TypeError, ValueError, ArithmeticError, LookupError, RecursionError)
APPEND_S = Histogram("switchboard_facts_append_seconds", "Time to append one batch to the log")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the stream; `fact` is None for anything else that was put there."""

    id: str
    fields: dict[str, str]
    fact: Fact | None


class Recorder:
    """Runs until it is cancelled; whatever is away, it tries again with growing pauses."""

    def __init__(self, redis: Redis, database: Database, forgetting: Forgetting, jobs: Jobs) -> None:
        self._redis = redis
        self._database = database
        self._forgetting = forgetting
        self._jobs = jobs
        self._pause_s = FIRST_PAUSE_S

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._record_always(), name="recorder")
            tasks.create_task(self._measure_always(), name="recorder-length")

    async def _record_always(self) -> None:
        while True:
            try:
                await self._record_while_holding()
                await asyncio.sleep(STANDBY_S)
                continue
            except (DatabaseAway, RedisError, OSError, TimeoutError) as error:
                log.warning("recorder_waits", pause_s=self._pause_s, error=str(error))
            except Exception:
                # The border of the recorder: a fault in it must not end the recording of all later facts.
                log.exception("recorder_failed", pause_s=self._pause_s)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    async def _record_while_holding(self) -> None:
        """Returns at once when another process records."""
        async with self._database.session() as connection:
            # The pool gives session locks back when it takes the connection.
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                return
            await self._make_group()
            while True:
                await self._wait_for_entries()
                await self._record_batch(connection, await self._take(connection))
                self._pause_s = FIRST_PAUSE_S

    async def _wait_for_entries(self) -> None:
        # Outside the group, so that waiting takes nothing: what is recorded is gone, and the rest is work.
        await self._redis.xread({stream.STREAM: "0-0"}, count=1, block=int(BLOCK_S * 1000))

    async def _make_group(self) -> None:
        try:
            await self._redis.xgroup_create(stream.STREAM, stream.GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _take(self, connection: Connection) -> list[Entry]:
        """The next entries: first those that a recorder took and did not remove, as they are older."""
        if connection.is_closed():
            raise DatabaseAway("the recorder's connection is closed, and its lock with it")
        try:
            # No idle time is asked for: the lock says that no other recorder is at work on these.
            _next, found, *_gone = await self._redis.xautoclaim(
                stream.STREAM, stream.GROUP, CONSUMER, min_idle_time=0, start_id="0-0", count=BATCH
            )
            if not found:
                answer = await self._redis.xreadgroup(stream.GROUP, CONSUMER, {stream.STREAM: ">"}, count=BATCH)
                found = answer[0][1] if answer else []
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            log.warning("stream_flushed", error=str(error))
            await self._make_group()
            return []
        return _entries(found)

    async def _record_batch(self, connection: Connection, entries: Sequence[Entry]) -> None:
        if not entries:
            # Either nothing came within the wait, or what is there is nobody's: never a tight loop.
            await asyncio.sleep(IDLE_S)
            return
        for entry in entries:
            if entry.fact is None:
                await self._set_aside(connection, entry, "garbage")
        good = [entry for entry in entries if entry.fact is not None]
        with APPEND_S.time():
            try:
                await self._append(connection, good)
            except UNFIT:
                await self._append_singly(connection, good)
        await self._remove(entries)

    async def _append(self, connection: Connection, entries: Sequence[Entry]) -> None:
        facts = [entry.fact for entry in entries if entry.fact is not None]
        while facts:
            try:
                async with connection.transaction():
                    refused = await self._record(connection, facts)
            except Forgotten:
                # In this very moment; the next look sees it.
                continue
            await self._leave_no_copy(refused)
            return

    async def _record(self, connection: Connection, facts: Sequence[Fact]) -> list[Fact]:
        """Appends the facts; returns those that are refused instead, as what they are of was forgotten."""
        forgotten = await self._forgetting.refused(connection, facts)
        kept = [fact for fact in facts if storable(fact.conversation_id) not in forgotten]
        if kept:
            RECORDED.inc(len(await append_in(connection, kept)))
            await erase_late(connection, self._jobs, kept)
        refused = [fact for fact in facts if storable(fact.conversation_id) in forgotten]
        new: dict[UUID, int] = defaultdict(int)
        for fact in refused:
            if await connection.fetchval(QUERIES["set_aside"], fact.id, "forgotten", b"") is not None:
                new[forgotten[storable(fact.conversation_id)]] += 1
        await self._forgetting.came_again(connection, refused, forgotten)
        for receipt, count in new.items():
            await tables.count(connection, receipt, {"refused": count})
        return refused

    async def _leave_no_copy(self, refused: Sequence[Fact]) -> None:
        """Whoever put them on the stream kept them for another agent of the call as well."""
        keys = {stream.items_key(fact.call_id) for fact in refused if fact.call_id is not None}
        if keys:
            await self._redis.delete(*keys)

    async def _append_singly(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """In order, each for itself, so that what the database refuses takes nothing with it."""
        for entry in entries:
            try:
                await self._append(connection, [entry])
            except UNFIT as error:
                await self._set_aside(connection, entry, type(error).__name__)

    async def _set_aside(self, connection: Connection, entry: Entry, why: str) -> None:
        """Keeps it for a person to look at; of what is forgotten, that there was something."""
        text = entry.fields.get(stream.FIELD, str(entry.fields))
        async with connection.transaction():
            if await self._forgetting.refuses(connection, text):
                why, text = "forgotten", ""
            SET_ASIDE.labels(why).inc()
            log.error("fact_set_aside", entry=entry.id, why=why, kind=entry.fact.kind if entry.fact else None)
            left = text.encode(errors="replace")[:MAX_BYTES]
            kept = await connection.fetchval(QUERIES["set_aside"], entry.fact.id if entry.fact else None, why, left)
            if kept is not None:
                await connection.execute(QUERIES["forget_set_aside"], kept, KEPT_ASIDE)

    async def _remove(self, entries: Sequence[Entry]) -> None:
        ids = [entry.id for entry in entries]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(stream.STREAM, stream.GROUP, *ids)
            pipe.xdel(stream.STREAM, *ids)
            await pipe.execute()

    async def _measure_always(self) -> None:
        while True:
            try:
                measured(await self._redis.xlen(stream.STREAM))
            except (RedisError, OSError, TimeoutError) as error:
                log.debug("stream_unmeasured", error=str(error))
            await asyncio.sleep(MEASURE_S)


def measured(length: int) -> None:
    """Shows the stream's length, and says so when nobody seems to record."""
    LENGTH.set(length)
    ALARM.set(length > ALARM_LENGTH)
    if length > ALARM_LENGTH:
        log.error("stream_nearly_full", length=length, cap=stream.MAX_LENGTH)


def _entries(found: Sequence[tuple[str, dict[str, str] | None]]) -> list[Entry]:
    # An entry that was deleted while it was delivered has no fields.
    return [Entry(id, fields, stream.read(fields)) for id, fields in found if fields]
