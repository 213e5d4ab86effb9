"""Jobs in Postgres: a task is our row, and a row of Procrastinate's has a worker run it.

The task's row is the truth. Procrastinate's is made in the same transaction; should the two ever disagree,
`recover` gives a task that has not ended a new one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from redis.asyncio import Redis

from control.db.pool import Connection, Database
from control.jobs.catalogue import CATALOGUE, Catalogue
from control.jobs.job import QUERIES, Overtaken, Queue, Task
from control.jobs.progress import tell
from control.jobs.schedule import SCHEDULE, Every

log = structlog.get_logger(__name__)

# The one task that Procrastinate knows; what it does is in ours.
NAME = "switchboard"
# A worker beats every few seconds; one that has not for this long is taken to be dead.
STALLED_S = 15.0
HARD_LIMIT_S = 600.0
_TOO_LONG = f"It took longer than {HARD_LIMIT_S / 60:.0f} minutes."


class PostgresJobs:
    """The port `Jobs`."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        catalogue: Catalogue = CATALOGUE,
        schedule: Sequence[Every] = SCHEDULE,
    ) -> None:
        self._database = database
        self._redis = redis
        self._catalogue = catalogue
        self._schedule = schedule

    async def enqueue(
        self,
        connection: Connection,
        kind: str,
        args: Mapping[str, Any] | None = None,
        *,
        task: UUID | None = None,
        owner: str | None = None,
        at: datetime | None = None,
    ) -> UUID:
        made = task or uuid4()
        await self._add(connection, made, kind, args or {}, owner, at)
        return made

    async def _add(
        self,
        connection: Connection,
        task: UUID,
        kind: str,
        args: Mapping[str, Any],
        owner: str | None = None,
        at: datetime | None = None,
    ) -> bool:
        """Whether the task is new."""
        queue = self._catalogue[kind].queue
        if not await connection.fetchval(QUERIES["add_task"], task, kind, dict(args), owner):
            return False
        await _defer(connection, task, queue, at)
        return True

    async def status(self, task: UUID) -> Task | None:
        async with self._database.session() as connection:
            row = await connection.fetchrow(QUERIES["task"], task)
        return Task.of(row) if row else None

    async def progress(self, task: UUID, attempt: int, share: float, message: str) -> None:
        async with self._database.session() as connection:
            row = await connection.fetchrow(QUERIES["advance"], task, attempt, min(max(share, 0.0), 1.0), message)
        if row is None:
            raise Overtaken
        await tell(self._redis, Task.of(row))

    async def cancel(self, connection: Connection, task: UUID) -> Task | None:
        row = await connection.fetchrow(QUERIES["cancel_task"], task)
        if row is not None:
            await connection.execute(QUERIES["stop_job"], row["job"])
        else:
            row = await connection.fetchrow(QUERIES["task"], task)
        return Task.of(row) if row else None

    async def schedule(self, now: datetime) -> list[UUID]:
        new = []
        for every in self._schedule:
            task = every.task(every.due(now))
            async with self._database.transaction() as connection:
                if await self._add(connection, task, every.kind, {}):
                    new.append(task)
        return new

    async def recover(self) -> None:
        """Has every task that has not ended and that no living worker is at run again; ends those that take too long.

        Any number of processes may do so at once.
        """
        async with self._database.transaction() as connection:
            stalled = await connection.fetch(QUERIES["requeue_stalled"], STALLED_S)
            overtime = await connection.fetch(QUERIES["fail_overtime"], HARD_LIMIT_S, STALLED_S, _TOO_LONG)
            for row in overtime:
                await connection.execute(QUERIES["stop_job"], row["job"])
            lost = await connection.fetch(QUERIES["lost_tasks"])
            for row in lost:
                job = self._catalogue.get(row["kind"])
                await _defer(connection, row["id"], job.queue if job else Queue.DEFAULT, None)
        for row in overtime:
            await tell(self._redis, Task.of(row))
        if stalled or overtime or lost:
            log.warning("tasks_recovered", stalled=len(stalled), overtime=len(overtime), lost=len(lost))


async def _defer(connection: Connection, task: UUID, queue: Queue, at: datetime | None) -> None:
    await connection.execute(QUERIES["defer_task"], task, queue.value, NAME, queue.priority, at)
