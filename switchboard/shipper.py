"""Ships the facts that ended processes left in files: on the stream again until they are recorded.

Any process that shares the folder may run one; a file is worked on by one at a time.
"""

import asyncio
import fcntl
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from switchboard import stream
from switchboard.fact import CallEnded, Fact
from switchboard.outbound import Outbound, OutboundError
from switchboard.outbox import abandoned, facts_in

log = structlog.get_logger(__name__)

PATH = "/internal/facts/unrecorded"
ASKED_AT_ONCE = 500
SENT_AT_ONCE = 100
PAUSE_S = 3.0
ANSWER_S = 3.0
MAX_ANSWER = 128 * 1024
# A fact younger than this is still on its way by the stream.
ON_ITS_WAY = timedelta(seconds=5)
# What was put on the stream again gets so long to be recorded before it is put there once more.
AGAIN_S = 30.0


class CannotShip(Exception):
    """Control or Redis is away; the text says which."""


class Unrecorded(BaseModel):
    model_config = ConfigDict(frozen=True)

    unrecorded: tuple[UUID, ...]


class Shipper:
    """`control_url` is where the recorder's service listens; `token` is `INTERNAL_TOKEN`.

    `needed`: whether the call of a file may go on. Its file then stays though it is recorded: it shows that an agent
    is dead, and tells the next one what was said.
    """

    def __init__(
        self,
        home: Path,
        redis: Redis,
        outbound: Outbound,
        control_url: str,
        token: str,
        needed: Callable[[Path], bool] = lambda _path: False,
    ) -> None:
        self._home = home
        self._redis = redis
        self._outbound = outbound
        self._url = f"{control_url}{PATH}"
        self._token = token
        self._needed = needed
        self._not_before: dict[Path, float] = {}
        self._trouble = ""

    async def run(self) -> None:
        """Sweeps every few seconds until cancelled."""
        while True:
            try:
                await self.sweep()
                self._trouble = ""
            except (CannotShip, OSError) as error:
                # Said once for each trouble, not every few seconds.
                if str(error) != self._trouble:
                    log.warning("facts_wait_in_files", error=str(error))
                self._trouble = str(error)
            await asyncio.sleep(PAUSE_S)

    async def sweep(self) -> None:
        """One pass over the files whose writers have ended. Raises `CannotShip`, and `OSError` of the disk."""
        paths = await asyncio.to_thread(abandoned, self._home)
        self._not_before = {path: at for path, at in self._not_before.items() if path in paths}
        for path in paths:
            if time.monotonic() >= self._not_before.get(path, 0.0):
                await self._ship_file(path)

    async def unrecorded(self, ids: Collection[UUID]) -> set[UUID]:
        """Which of these facts are not on record. Raises `CannotShip`."""
        found: set[UUID] = set()
        given = list(ids)
        for at in range(0, len(given), ASKED_AT_ONCE):
            found |= await self._asked(given[at : at + ASKED_AT_ONCE])
        return found

    async def waiting(self, ids: Collection[UUID]) -> set[UUID]:
        """Which of these facts stand in files of ended writers, and come on record from there. Raises `OSError`."""
        return await asyncio.to_thread(_standing_in, self._home, ids)

    async def _asked(self, ids: Sequence[UUID]) -> set[UUID]:
        try:
            answer = await self._outbound.request(
                "POST",
                self._url,
                timeout_s=ANSWER_S,
                max_bytes=MAX_ANSWER,
                headers={"Authorization": f"Bearer {self._token}"},
                json={"ids": [str(one) for one in ids]},
                plain_http=True,
            )
        except OutboundError as error:
            raise CannotShip(f"control cannot be asked what is recorded: {error}") from None
        if answer.status != 200:
            raise CannotShip(f"control answers {answer.status} when asked what is recorded")
        try:
            return set(Unrecorded.model_validate_json(answer.body).unrecorded)
        except ValidationError:
            raise CannotShip("control's answer to what is recorded cannot be read") from None

    async def _ship_file(self, path: Path) -> None:
        with _claimed(path) as mine:
            if not mine:
                return
            facts = await asyncio.to_thread(facts_in, path)
            missing = await self.unrecorded([one.id for one in facts])
            if not missing:
                if any(isinstance(one.body, CallEnded) for one in facts) or not self._needed(path):
                    await asyncio.to_thread(_put_away, path, len(facts))
                return
            old = datetime.now(UTC) - ON_ITS_WAY
            due = [one for one in facts if one.id in missing and one.at < old]
            await self._send(due)
            if due:
                log.info("facts_shipped_again", path=path.name, count=len(due))
                self._not_before[path] = time.monotonic() + AGAIN_S

    async def _send(self, facts: Sequence[Fact]) -> None:
        try:
            for at in range(0, len(facts), SENT_AT_ONCE):
                await stream.add(self._redis, facts[at : at + SENT_AT_ONCE])
        except (RedisError, OSError, TimeoutError, stream.StreamFull) as error:
            raise CannotShip(f"Redis does not take facts: {type(error).__name__}") from None


def _standing_in(home: Path, ids: Collection[UUID]) -> set[UUID]:
    found: set[UUID] = set()
    for path in abandoned(home):
        # Whoever ships them clears them away.
        with suppress(FileNotFoundError):
            text = path.read_bytes()
            found |= {one for one in ids if str(one).encode() in text}
    return found


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether the file is this process's to work on; held, nobody else takes it for abandoned."""
    try:
        file = path.open("rb")
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _put_away(path: Path, read: int) -> None:
    """Deletes a file whose facts are all recorded; one with whole lines that could not be read is kept aside."""
    whole = sum(1 for line in path.read_bytes().splitlines() if _is_json(line))
    if whole > read:
        log.error("facts_unreadable", path=path.name, lines=whole - read)
        path.replace(path.with_suffix(".unreadable"))
        return
    path.unlink(missing_ok=True)


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
