"""Works: Procrastinate fetches what waits, our attempts do it, and whatever ends the one or the other is outlived.

Procrastinate's worker ends when it loses Postgres. So it runs in a loop here, as a new worker each time; what the
old one was at is found by its heartbeat, which stops, and runs again.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import procrastinate
import psycopg
import structlog
from procrastinate.exceptions import JobAborted, ProcrastinateException
from procrastinate.job_context import AbortReason
from procrastinate.worker import Worker

from control.db.pool import Database, DatabaseAway, dsn
from control.jobs import beat
from control.jobs.attempt import Again, Attempts
from control.jobs.engine import NAME, STALLED_S, PostgresJobs
from control.jobs.job import QUERIES, Queue

log = structlog.get_logger(__name__)

# Told to stop, jobs have so long to end; then they are left to another attempt. Shorter than STALLED_S, as a
# worker that stops beats no more.
DRAIN_S = 10.0
KEEP_S = 3.0
REGISTER_S = 0.1
# Postgres tells of new jobs at once; the others, whose pause is over, are looked for.
FETCH_S = 1.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
POOL_WAIT_S = 5.0
# A host that is gone says nothing; without these a query would wait for it for ever.
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker takes on: jobs of these queues, all when there are none named, so many at once."""

    queues: Collection[Queue] = ()
    at_once: int = 8


class Working:
    """Runs until it is cancelled, and then drains."""

    def __init__(
        self, url: str, home: Path, database: Database, jobs: PostgresJobs, attempts: Attempts, share: Share
    ) -> None:
        self._url = dsn(url)
        self._home = home
        self._database = database
        self._jobs = jobs
        self._attempts = attempts
        self._share = share
        self._worker: Worker | None = None
        # It logs what our own lines say, and the traces of every outage.
        for noisy in ("procrastinate", "psycopg.pool"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work_always(), name="working")
                tasks.create_task(self._keep_always(), name="keeping")
        finally:
            beat.hide(self._home)

    async def _work_always(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                # Procrastinate's pool asks seldom once it was refused for a while; ours asks each time.
                async with self._database.session() as connection:
                    await connection.fetchval(QUERIES["now"])
                pause_s = FIRST_PAUSE_S
                await self._work()
                log.warning("worker_starts_again")
            except (DatabaseAway, ProcrastinateException, psycopg.Error) as error:
                log.warning(
                    "worker_waits", pause_s=pause_s, error=f"{type(error).__name__}: {error.__cause__ or error}"
                )
            except Exception:
                # The border of the worker: a fault in it must not end the work of all later jobs.
                log.exception("worker_broke", pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _work(self) -> None:
        async with self._registered_app() as app:
            worker = Worker(
                app=app,
                queues=[queue.value for queue in self._share.queues] or None,
                concurrency=self._share.at_once,
                fetch_job_polling_interval=FETCH_S,
                abort_job_polling_interval=KEEP_S,
                shutdown_graceful_timeout=DRAIN_S,
                install_signal_handlers=False,
                update_heartbeat_interval=KEEP_S,
                stalled_worker_timeout=STALLED_S,
            )
            self._worker = worker
            try:
                await worker.run()  # type: ignore[no-untyped-call]
            finally:
                self._worker = None

    @asynccontextmanager
    async def _registered_app(self) -> AsyncIterator[procrastinate.App]:
        connector = procrastinate.PsycopgConnector(
            conninfo=self._url, kwargs=_NETWORK, min_size=1, max_size=4, timeout=POOL_WAIT_S
        )
        app = procrastinate.App(connector=connector)
        app.task(name=NAME, pass_context=True, retry=_Later())(self._attempt)
        async with app.open_async():
            yield app

    async def _attempt(self, context: procrastinate.JobContext, task: str) -> None:
        try:
            await self._attempts.make(UUID(task))
        except asyncio.CancelledError:
            if context.abort_reason() is AbortReason.USER_REQUEST:
                raise JobAborted from None
            raise Again from None

    async def _keep_always(self) -> None:
        """Beats, recovers what dead workers left, and keeps to the schedule."""
        kept_at = float("-inf")
        while True:
            pause_s = KEEP_S
            try:
                if not await self._beat():
                    pause_s = REGISTER_S
                if time.monotonic() - kept_at >= KEEP_S:
                    kept_at = time.monotonic()
                    await self._keep()
            except (DatabaseAway, OSError) as error:
                log.warning("worker_not_kept", error=str(error))
                pause_s = KEEP_S
            except Exception:
                # As above.
                log.exception("worker_keeping_broke")
                pause_s = KEEP_S
            await asyncio.sleep(pause_s)

    async def _beat(self) -> bool:
        """Whether there is a worker now. Procrastinate beats as well, but may stop while it goes on fetching."""
        worker = self._worker
        if worker is None or worker.worker_id is None:
            return False
        async with self._database.session() as connection:
            known = await connection.fetchval(QUERIES["beat"], worker.worker_id)
        if known:
            beat.show(self._home)
        else:
            log.warning("worker_forgotten")
            worker.stop()  # type: ignore[no-untyped-call]
        return bool(known)

    async def _keep(self) -> None:
        async with self._database.session() as connection:
            now: datetime = await connection.fetchval(QUERIES["now"])
        await self._jobs.recover()
        await self._jobs.schedule(now)


class _Later(procrastinate.BaseRetryStrategy):
    """Procrastinate tries again what our attempt says, and nothing else."""

    def get_retry_decision(self, *, exception: BaseException, job: Any) -> procrastinate.RetryDecision | None:
        if not isinstance(exception, Again):
            return None
        return procrastinate.RetryDecision(retry_at=exception.at)
