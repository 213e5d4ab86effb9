"""One attempt at a task: from its beginning to the one end that is written down."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from control.db.pool import Database, DatabaseAway, Row
from control.jobs.catalogue import Catalogue
from control.jobs.job import QUERIES, Job, JobError, Jobs, Overtaken, Passing, Run, Task
from control.jobs.progress import tell
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

# So many starts without an end: the job takes its workers with it.
MOST_ATTEMPTS = 10
UNKNOWN_PAUSES_S = (30.0, 120.0, 600.0)
_PASSING = (RedisError, OSError, TimeoutError)


class Again(Exception):
    """The task waits for another attempt, not before `at` by Postgres' clock; None is at once."""

    def __init__(self, at: datetime | None = None) -> None:
        super().__init__(f"again at {at}")
        self.at = at


class Attempts:
    """Makes attempts at tasks with the jobs of a catalogue."""

    def __init__(
        self, database: Database, redis: Redis, settings: Settings, jobs: Jobs, catalogue: Catalogue
    ) -> None:
        self._database = database
        self._redis = redis
        self._settings = settings
        self._jobs = jobs
        self._catalogue = catalogue

    async def make(self, task: UUID) -> None:
        """Returns when there is nothing more to do for the task. Raises `Again` when there is.

        Cancelled, it leaves the task to another attempt, unless it has ended.
        """
        try:
            row = await self._one("begin_attempt", task)
            if row is None:
                return
            run = Run(row, self._database, self._redis, self._settings, self._jobs, self._tell)
            with structlog.contextvars.bound_contextvars(task=str(task), kind=row["kind"], attempt=run.attempt):
                await self._to_an_end(run, self._catalogue.get(row["kind"]))
        except DatabaseAway as error:
            log.warning("task_interrupted", task=str(task), error=str(error))
            raise Again from None

    async def _to_an_end(self, run: Run, job: Job | None) -> None:
        log.info("task_begun")
        pauses_s = job.pauses_s if job else UNKNOWN_PAUSES_S
        try:
            await self._work(run, job)
            log.info("task_completed")
        except asyncio.CancelledError:
            await self._give_back(run)
            raise
        except Overtaken:
            log.info("task_overtaken")
        except JobError as error:
            await self._fault(run, str(error), pauses_s if error.retryable else ())
        except DatabaseAway:
            raise
        except _PASSING as error:
            log.warning("task_fault", error=repr(error))
            await self._fault(run, "A service that it needs is away.", pauses_s)
        except Exception:
            # The border of a job: a fault in it ends it, and no other.
            log.exception("task_broke")
            await self._fault(run, "Something went wrong here; it is in the log.", ())

    async def _work(self, run: Run, job: Job | None) -> None:
        if run.attempt > MOST_ATTEMPTS:
            raise JobError(f"It was begun {MOST_ATTEMPTS} times, and its worker died or was stopped each time.")
        if job is None:
            raise Passing("This version knows no such job.")
        limit = asyncio.timeout(job.limit_s)
        try:
            async with limit:
                result = await job.work(run)
        except TimeoutError:
            if limit.expired():
                raise JobError(f"It took longer than {job.limit_s / 60:g} minutes.") from None
            raise
        if not run.completed:
            async with run.completing(result):
                pass

    async def _fault(self, run: Run, sentence: str, pauses_s: tuple[float, ...]) -> None:
        """Writes down what went wrong. Raises `Again` when it may go better after one of the pauses."""
        pause_s = pauses_s[run.faults] if run.faults < len(pauses_s) else None
        log.warning("task_failed" if pause_s is None else "task_set_back", why=sentence, pause_s=pause_s)
        query = "fail_task" if pause_s is None else "set_back"
        row = await self._one(query, run.task, run.attempt, sentence)
        if row is not None and pause_s is not None:
            raise Again(row["asked_at"] + timedelta(seconds=pause_s))

    async def _give_back(self, run: Run) -> None:
        # Without it the task is found like one whose worker died.
        with suppress(DatabaseAway):
            if await self._one("give_back", run.task, run.attempt) is not None:
                log.info("task_given_back")

    async def _one(self, query: str, *args: object) -> Row | None:
        """The task's row after a change of it, which is told; None when the change did not apply."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(QUERIES[query], *args)
        if row is not None:
            await self._tell(Task.of(row))
        return row

    async def _tell(self, task: Task) -> None:
        await tell(self._redis, task)
