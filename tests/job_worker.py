"""Job workers as processes of their own, with a real Postgres and Redis."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from redis.asyncio import Redis

from control.db.migrate import migrate
from control.db.pool import Database, DatabaseAway, Row, open_database
from control.jobs import beat
from control.jobs.engine import PostgresJobs
from control.jobs.job import Task
from switchboard import stream
from tests import trial_jobs
from tests.facts import until
from tests.postgres_server import fresh_database
from tests.redis_server import RedisServer, redis_server
from tests.trial_jobs import CATALOGUE_OF_TESTS, SCHEDULE_OF_TESTS

END_S = 30.0


@dataclass
class JobWorker:
    """One process with a home of its own. `module` is what it runs."""

    home: Path
    settings: Mapping[str, str]
    module: str = "tests.trial_jobs"
    words: Sequence[str] = ()
    process: asyncio.subprocess.Process | None = field(default=None)

    async def start(self) -> None:
        """Returns when it says that it works."""
        beat.hide(self.home)
        with (self.home / "worker.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.module, *self.words),
                env=os.environ | self.settings,
                stdout=log,
                stderr=log,
            )
        await until(self._works)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), END_S)

    def log(self) -> str:
        return (self.home / "worker.log").read_text()

    async def says(self, event: str, times: int = 1) -> None:
        """Returns when its log has the event so many times."""

        async def said() -> bool:
            return self.log().count(f'"event": "{event}"') >= times

        await until(said)

    async def _works(self) -> bool:
        assert self.process is not None and self.process.returncode is None, self.log()
        return beat.file(self.home).exists()


@dataclass
class Workshop:
    """A database and Redis, and the port to have jobs done."""

    folder: Path
    url: str
    server: RedisServer
    redis: Redis
    database: Database
    jobs: PostgresJobs

    def settings(self, home: Path) -> dict[str, str]:
        database_url = self.url.replace("postgresql://", "postgresql+asyncpg://")
        return {"SWITCHBOARD_HOME": str(home), "DATABASE_URL": database_url, "REDIS_URL": self.server.url}

    @asynccontextmanager
    async def worker(self, *words: str, module: str = "tests.trial_jobs") -> AsyncIterator[JobWorker]:
        """One that works while the body runs."""
        home = self.folder / uuid4().hex
        home.mkdir()
        worker = JobWorker(home, self.settings(home), module, words)
        try:
            await worker.start()
            yield worker
        finally:
            await worker.end(signal.SIGKILL)

    async def enqueue(self, kind: str, args: Mapping[str, Any] | None = None, **more: Any) -> UUID:
        async with self.database.transaction() as connection:
            return await self.jobs.enqueue(connection, kind, args, **more)

    async def ended(self, task: UUID, within_s: float = 60.0) -> Task:
        """The task once it has ended."""
        found: list[Task] = []

        async def over() -> bool:
            try:
                status = await self.jobs.status(task)
            except DatabaseAway:
                return False
            assert status is not None
            found[:] = [status]
            return status.finished_at is not None

        await until(over, within_s)
        return found[0]

    async def trials(self, what: str, task: UUID | None = None) -> Sequence[Row]:
        """What the jobs wrote down, in order."""
        async with self.database.session() as connection:
            return await connection.fetch(
                "SELECT * FROM trials WHERE what = $1 AND ($2::uuid IS NULL OR task = $2) ORDER BY number", what, task
            )

    async def begun(self, task: UUID, times: int = 1, within_s: float = 90.0) -> None:
        """Returns when a held job has begun so many times."""

        async def so_often() -> bool:
            return len(await self.trials("begun", task)) >= times

        await until(so_often, within_s)

    async def open_gate(self, task: UUID) -> None:
        async with self.database.session() as connection:
            await connection.execute("INSERT INTO gates VALUES ($1) ON CONFLICT DO NOTHING", task)

    async def rows(self, statement: str) -> Sequence[Row]:
        async with self.database.session() as connection:
            return await connection.fetch(statement)


@asynccontextmanager
async def workshop() -> AsyncIterator[Workshop]:
    """One over an empty database of this version."""
    with tempfile.TemporaryDirectory(prefix="sb-jobs-") as folder:
        async with redis_server() as server, fresh_database() as url, open_database(url) as database:
            async with database.session() as connection:
                await migrate(connection)
            await trial_jobs.prepare(database)
            redis = stream.connect(server.url, timeout_s=5)
            jobs = PostgresJobs(database, redis, CATALOGUE_OF_TESTS, SCHEDULE_OF_TESTS)
            try:
                yield Workshop(Path(folder), url, server, redis, database, jobs)
            finally:
                await redis.aclose()
