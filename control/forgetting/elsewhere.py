"""What lies outside the tables: in Redis, and in the files of this host.

A place with something of callers or conversations has its line in `places`. Each is asked what lies there before it
is told to erase it, so that the receipt has the count even when the process dies in between.
"""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from control.jobs.job import Passing
from control.recordings import deletion
from switchboard import outbox, stream
from switchboard.recording_store import RecordingStore
from switchboard.recordings import recording_id

log = structlog.get_logger(__name__)

ENTRIES_AT_ONCE = 200
REWRITE_S = 60.0
PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    calls: tuple[UUID, ...]

    @property
    def names(self) -> list[str]:
        """Its id, and those of its calls."""
        return [self.id, *map(str, self.calls)]


class Place(Protocol):
    """Somewhere outside the tables. Both methods raise what a missing service raises."""

    name: str

    async def find(self, conversations: Sequence[Conversation]) -> Mapping[str, Sequence[Any]]:
        """What lies there, by the id of the conversation."""

    async def erase(self, found: Sequence[Any]) -> None:
        """Erases some of what was found."""


def places(redis: Redis, home: Path, store: RecordingStore) -> tuple[Place, ...]:
    """All of them."""
    return (Stream(redis), Carried(redis), Live(redis), Outbox(home), Sound(home, store))


class Stream:
    """Facts that are not recorded yet."""

    name = "stream"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def find(self, conversations: Sequence[Conversation]) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        whose = _Whose(conversations)
        place = "-"
        while entries := await self._redis.xrange(stream.STREAM, min=place, count=ENTRIES_AT_ONCE):
            for id, fields in entries:
                if owner := whose.of(str(fields.get(stream.FIELD, fields))):
                    found[owner].append(id)
            place = f"({entries[-1][0]}"
        return found

    async def erase(self, found: Sequence[str]) -> None:
        for at in range(0, len(found), ENTRIES_AT_ONCE):
            await self._redis.xdel(stream.STREAM, *found[at : at + ENTRIES_AT_ONCE])


class Carried:
    """What an agent that takes a call over has to know."""

    name = "carried"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def find(self, conversations: Sequence[Conversation]) -> Mapping[str, Sequence[str]]:
        keys = {one.id: [stream.items_key(call) for call in one.calls] for one in conversations}
        return {
            id: found for id, each in keys.items() if (found := [key for key in each if await self._is_there(key)])
        }

    async def _is_there(self, key: str) -> bool:
        return bool(await self._redis.exists(key))

    async def erase(self, found: Sequence[str]) -> None:
        await self._redis.delete(*found)


class Live:
    """The webhook service's live calls: one that goes on is put there again."""

    name = "live_calls"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def find(self, conversations: Sequence[Conversation]) -> Mapping[str, Sequence[str]]:
        known = set(await _asked(self._redis, "HKEYS", stream.LIVE_CALLS))
        calls = {one.id: [str(call) for call in one.calls if str(call) in known] for one in conversations}
        return {id: found for id, found in calls.items() if found}

    async def erase(self, found: Sequence[str]) -> None:
        await _asked(self._redis, "HDEL", stream.LIVE_CALLS, *found)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, without its end."""

    path: Path
    at: int
    length: int


class Outbox:
    """The files of facts of this host; those of others go by themselves, once their facts are refused."""

    name = "outbox"

    def __init__(self, home: Path) -> None:
        self._folder = outbox.folder(home)

    async def find(self, conversations: Sequence[Conversation]) -> Mapping[str, Sequence[Line]]:
        return await asyncio.to_thread(self._find, _Whose(conversations))

    def _find(self, whose: "_Whose") -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = defaultdict(list)
        for path in sorted(self._folder.glob("*")):
            for line, text in _lines(path):
                if owner := whose.of(text):
                    found[owner].append(line)
        return found

    async def erase(self, found: Sequence[Line]) -> None:
        await asyncio.to_thread(_blank, found)


class Sound:
    """Recordings: what is kept, and what waits on this host to be. What waits on others is refused as it comes."""

    name = "sound"

    def __init__(self, home: Path, store: RecordingStore) -> None:
        self._home = home
        self._store = store

    async def find(self, conversations: Sequence[Conversation]) -> Mapping[str, Sequence[UUID]]:
        found: dict[str, list[UUID]] = defaultdict(list)
        for one in conversations:
            for recording in map(recording_id, one.calls):
                if await self._is_there(recording):
                    found[one.id].append(recording)
        return found

    async def _is_there(self, recording: UUID) -> bool:
        with deletion.passing():
            waiting = await asyncio.to_thread(deletion.waiting, self._home, recording)
            return bool(waiting or await self._store.pieces(recording))

    async def erase(self, found: Sequence[UUID]) -> None:
        with deletion.passing():
            await deletion.erase(self._store, self._home, found)


async def rewritten(redis: Redis) -> None:
    """Has Redis write its own file anew, which otherwise keeps what was deleted. Raises `Passing`.

    A Redis that keeps no such file has nothing to do; one that does not let us is logged.
    """
    try:
        async with asyncio.timeout(REWRITE_S):
            # One that is under way began before.
            if not (await _no_rewrite(redis))["aof_enabled"]:
                return
            await _asked(redis, "BGREWRITEAOF")
            if (await _no_rewrite(redis))["aof_last_bgrewrite_status"] != "ok":
                raise Passing("Redis could not write its file anew.")
    except TimeoutError:
        raise Passing("Redis takes long to write its file anew.") from None
    except ResponseError as error:
        if "in progress" in str(error):
            raise Passing("Redis is writing its file anew for somebody else.") from None
        log.warning("redis_file_not_rewritten", error=str(error)[:200])


async def _no_rewrite(redis: Redis) -> Mapping[str, Any]:
    """What Redis says of its file, once it is not writing it anew."""
    while True:
        state: dict[str, Any] = await _asked(redis, "INFO", "persistence")
        if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
            return state
        await asyncio.sleep(PAUSE_S)


class _Whose:
    """Tells whose a text is: a fact as JSON by what it says, anything else by the ids that stand in it."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self._owners = {name: one.id for one in conversations for name in one.names}

    def of(self, text: str) -> str | None:
        try:
            fact = json.loads(text)
        except (ValueError, RecursionError):
            fact = None
        if not isinstance(fact, dict):
            return next(
                (owner for name, owner in self._owners.items() if json.dumps(name, ensure_ascii=False) in text), None
            )
        named = (fact.get("conversation_id"), fact.get("call_id"))
        return next((self._owners[name] for name in named if isinstance(name, str) and name in self._owners), None)


def _lines(path: Path) -> Iterator[tuple[Line, str]]:
    try:
        text = path.read_bytes()
    except OSError:
        # Whoever ships them clears them away.
        return
    at = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip(b"\r\n")
        yield Line(path, at, len(bare)), bare.decode(errors="replace")
        at += len(line)


def _blank(lines: Sequence[Line]) -> None:
    """Overwrites lines in place: their writers, who may be alive, add at the end alone."""
    for line in lines:
        # One that nobody writes any more may have been kept aside since, and its name is the other one for good.
        for path in (line.path, line.path.with_suffix(".unreadable")):
            try:
                file = os.open(path, os.O_WRONLY)
            except FileNotFoundError:
                continue
            try:
                os.pwrite(file, b" " * line.length, line.at)
            finally:
                os.close(file)
            break


async def _asked(redis: Redis, *command: str) -> Any:
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
