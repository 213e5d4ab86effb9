"""Facts on their way to the stream: written to a file of their call first, then shipped in order.

A process may die between the two, or Redis be away: whoever finds the file later ships it again, and as
a fact recorded twice is one fact, too much does no harm. The file goes when its facts are recorded.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from switchboard import stream
from switchboard.fact import MAX_BYTES, Fact

log = structlog.get_logger(__name__)

FOLDER = "outbox"
# Facts of one call held in memory while Redis is away; older ones are in the file all the same.
BACKLOG = 10_000
BATCH = 100
PAUSE_S = 0.5
FLUSH_S = 2.0


class Outbox:
    """The facts of one call (or one process) on their way. Not shared between processes."""

    def __init__(self, path: Path, redis: Redis) -> None:
        self._path = path
        self._redis = redis
        self._waiting: deque[Fact] = deque(maxlen=BACKLOG)
        self._news = asyncio.Event()
        self._stuck = False
        self._file: int | None = None

    def put(self, fact: Fact) -> None:
        """Keeps the fact on disk and ships it soon. Raises `ValueError` for one beyond 64 KiB."""
        line = fact.model_dump_json().encode()
        if len(line) > MAX_BYTES:
            raise ValueError(f"a {fact.kind} fact of {len(line)} bytes is beyond {MAX_BYTES}")
        self._append(line)
        self._waiting.append(fact)
        self._news.set()

    def ahead(self, facts: Iterable[Fact]) -> None:
        """Ships these before its own: they stand in the file of a process that ended, and happened before.

        That file is shipped by others in their time; on record each fact is once all the same.
        """
        self._waiting.extendleft(reversed(tuple(facts)))
        if self._waiting:
            self._news.set()

    def _append(self, line: bytes) -> None:
        # A full disk must not end a call: the fact still travels by the stream.
        try:
            if self._file is None:
                self._file = _locked(self._path)
            if os.write(self._file, line + b"\n") <= len(line):
                # Cut short by a full disk: the next line must not become a part of this one.
                os.write(self._file, b"\n")
        except OSError:
            log.exception("fact_not_on_disk", path=self._path.name)

    async def _ship(self) -> None:
        while True:
            await self._news.wait()
            if not await self._ship_some():
                await asyncio.sleep(PAUSE_S)

    async def _ship_some(self) -> bool:
        """True when nothing stands in the way of the next batch."""
        self._news.clear()
        batch = [self._waiting[at] for at in range(min(BATCH, len(self._waiting)))]
        try:
            await stream.add(self._redis, batch)
        except (RedisError, OSError, TimeoutError, stream.StreamFull) as error:
            # Said once for each outage, not at every try.
            if not self._stuck:
                log.warning("facts_wait", waiting=len(self._waiting), error=str(error))
            self._stuck = True
            self._news.set()
            return False
        if self._stuck:
            log.info("facts_go_on", waiting=len(self._waiting))
        self._stuck = False
        shipped = {one.id for one in batch}
        # Not as many as were sent: a full queue has dropped its oldest meanwhile.
        while self._waiting and self._waiting[0].id in shipped:
            self._waiting.popleft()
        if self._waiting:
            self._news.set()
        return True

    @asynccontextmanager
    async def shipping(self) -> AsyncIterator["Outbox"]:
        """Ships while the body runs, and for at most two seconds more; what is left stays in the file."""
        task = asyncio.create_task(self._ship(), name="outbox")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self._flush()
            if self._file is not None:
                os.close(self._file)
                self._file = None

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_S):
                while self._waiting and await self._ship_some():
                    pass
        except TimeoutError:
            log.warning("facts_left_in_file", waiting=len(self._waiting), path=self._path.name)


def _locked(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # Held until the process ends, however it ends: a file that can be locked has no writer.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever clears away old files may have had it between the two.
        if not path.exists() or path.stat().st_ino != os.fstat(file).st_ino:
            raise BlockingIOError(f"{path.name} was cleared away while it was opened")
    except OSError:
        os.close(file)
        raise
    return file


def folder(home: Path) -> Path:
    return home / FOLDER


def abandoned(home: Path) -> list[Path]:
    """Files of facts whose writers have ended, oldest first."""
    return [path for path in sorted(folder(home).glob("*.jsonl"), key=_age) if is_free(path)]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def is_free(path: Path) -> bool:
    """Whether the file is there and its writer has ended."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def facts_in(path: Path) -> list[Fact]:
    """The facts in a file; a line cut short by the end of its writer is skipped."""
    found = []
    for line in path.read_bytes().splitlines():
        if not line.strip():
            # What stood there was forgotten.
            continue
        try:
            found.append(Fact.model_validate_json(line))
        except ValidationError:
            log.warning("fact_line_skipped", path=path.name, bytes=len(line))
    return found
