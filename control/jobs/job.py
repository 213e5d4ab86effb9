"""What a job is, what it is given for one attempt, and the port through which the rest of control has jobs done.

Jobs are at-least-once: an attempt may be cut off at any line, and another one begins. Their effects happen once,
as an attempt commits them together with the mark that the task is completed, and only if it still counts.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self
from uuid import UUID

from redis.asyncio import Redis

from control.db.pool import Connection, Database, Row
from control.db.queries import load
from switchboard.settings import Settings

QUERIES = load(Path(__file__).parent)

State = Literal["queued", "processing", "completed", "failed", "cancelled"]
Result = Mapping[str, Any] | None
# Between two reports of one attempt; what comes sooner is left out.
REPORT_EVERY_S = 0.25


class Queue(StrEnum):
    """Where a job waits. Of all that wait those with the highest priority run first."""

    AI_HIGH_PRIORITY = "ai_high_priority"
    AI_PROCESSING = "ai_processing"
    DEFAULT = "default"
    CRAWLING = "crawling"
    EMBEDDINGS = "embeddings"
    HOUSEKEEPING = "housekeeping"

    @property
    def priority(self) -> int:
        return _PRIORITIES[self]


_PRIORITIES = {
    Queue.AI_HIGH_PRIORITY: 9,
    Queue.AI_PROCESSING: 6,
    Queue.DEFAULT: 5,
    Queue.CRAWLING: 4,
    Queue.EMBEDDINGS: 3,
    Queue.HOUSEKEEPING: 2,
}


class JobError(Exception):
    """The work cannot be done; the text is the sentence that people see."""

    retryable: ClassVar[bool] = False


class Passing(JobError):
    """The work cannot be done now; it is tried again after a pause."""

    retryable = True


class Overtaken(Exception):
    """Another attempt has begun, or somebody cancelled the task: what this attempt does counts no more."""


@dataclass(frozen=True, slots=True)
class Task:
    """A job as people see it. `progress` goes from 0 to 1 and never back; `error` is a sentence."""

    id: UUID
    kind: str
    state: State
    progress: float
    message: str
    owner: str | None
    result: Result
    error: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(**{one.name: row[one.name] for one in fields(cls)})


class Jobs(Protocol):
    """Has work done later. Methods raise `DatabaseAway`; those that take a connection work in its transaction."""

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
        """Runs the job of this kind once the transaction is committed, not before `at`; returns the task's id.

        An id that is known changes nothing. Raises `KeyError` for a kind that is not in the catalogue.
        """

    async def status(self, task: UUID) -> Task | None:
        """The task as it stands; None when there is none."""

    async def progress(self, task: UUID, attempt: int, share: float, message: str) -> None:
        """Says how far an attempt is, from 0 to 1. Raises `Overtaken`."""

    async def cancel(self, connection: Connection, task: UUID) -> Task | None:
        """Ends a task that has not ended, at once; returns it as it stands then, None when there is none."""

    async def schedule(self, now: datetime) -> list[UUID]:
        """Enqueues what is due by the schedule, each tick once whoever asks; returns the tasks that are new."""


class Run:
    """One attempt at a task. `args` are what it was enqueued with, `settings` are the worker's."""

    def __init__(
        self,
        row: Row,
        database: Database,
        redis: Redis,
        settings: Settings,
        jobs: Jobs,
        told: Callable[[Task], Awaitable[None]],
    ) -> None:
        self.task: UUID = row["id"]
        self.args: Mapping[str, Any] = row["args"]
        self.owner: str | None = row["owner"]
        self.attempt: int = row["attempts"]
        self.faults: int = row["faults"]
        self.database = database
        self.redis = redis
        self.settings = settings
        self.completed = False
        self._jobs = jobs
        self._told = told
        self._reported_at = float("-inf")

    async def progress(self, share: float, message: str) -> None:
        """Says how far it is, from 0 to 1, as often as one likes. Raises `Overtaken` and `DatabaseAway`."""
        if time.monotonic() - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = time.monotonic()
            await self._jobs.progress(self.task, self.attempt, share, message)

    @asynccontextmanager
    async def completing(self, result: Result = None) -> AsyncIterator[Connection]:
        """A transaction that completes the task: what the body writes and that mark are one.

        Raises `Overtaken` before the body runs, and `DatabaseAway`.
        """
        async with self.database.transaction() as connection:
            row = await connection.fetchrow(QUERIES["complete_task"], self.task, self.attempt, result)
            if row is None:
                raise Overtaken
            yield connection
        self.completed = True
        await self._told(Task.of(row))


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of work. What `work` returns is kept as the task's result, unless it completed the task itself.

    It may raise `JobError`, or `Passing` for what is worth another attempt after each of `pauses_s`.
    It is cancelled after `limit_s`.
    """

    kind: str
    work: Callable[[Run], Awaitable[Result]]
    queue: Queue = Queue.DEFAULT
    pauses_s: tuple[float, ...] = (5.0, 30.0, 120.0)
    limit_s: float = 300.0
