"""What the webhook processes share in Redis. Every method says when Redis is away instead of raising."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from switchboard import stream
from switchboard.blocklist import MAX_BYTES

log = structlog.get_logger(__name__)

MEMORY = "webhook:memory"
WATCHER = "webhook:watcher"
BLOCKLIST = "webhook:blocklist"
WATCHER_TTL_MS = 6_000
MAX_CALLS = 20_000
MAX_WORKERS = 1_000
KEYS_AT_ONCE = 500
# An answer of the Persona API as JSON, with its wrapping.
MAX_PERSONA = 512 * 1024
PERSONA_TTL_S = 7 * 24 * 3600
# What a caller waits for Redis, at most. After a failure no caller waits for it until it answered the watcher,
# which asks every two seconds, or until it was left alone for so long: one that hangs holds up one call, not each.
WAITS_S = 0.2
REST_S = 6.0
# Event ids remembered in this process; a repeat comes within LiveKit's 15 s of retries.
SEEN = 10_000


class Away(Exception):
    """Redis does not answer."""


class Store:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._me = uuid4().hex
        self._rests_until = 0.0
        self._is_away = False
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def away(self) -> bool:
        """Whether Redis did not answer the last time that it was asked."""
        return self._is_away

    async def _ask(self, *command: str | int, waited_for: bool = True) -> Any:
        """`waited_for`: a caller waits for the answer."""
        if waited_for and time.monotonic() < self._rests_until:
            raise Away
        try:
            async with asyncio.timeout(WAITS_S if waited_for else None):
                answer = await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = time.monotonic() + REST_S
            if not self._is_away:
                log.warning("redis_away", error=f"{type(error).__name__}: {error}"[:200])
            self._is_away = True
            raise Away from None
        if self._is_away:
            log.info("redis_back")
        self._is_away, self._rests_until = False, 0.0
        return answer

    async def ping(self) -> bool:
        """Whether Redis answers now."""
        try:
            async with asyncio.timeout(1):
                return bool(await self._redis.execute_command("PING"))  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError):
            return False

    async def first_sight(self, event_id: str) -> bool:
        """Marks the event as seen; False when it was. Without Redis this process alone remembers."""
        if event_id in self._seen:
            return False
        self._seen[event_id] = None
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        try:
            return bool(await self._ask("SET", stream.seen_key(event_id), "1", "NX", "EX", stream.SEEN_TTL_S))
        except Away:
            return True

    async def lock(self, call_id: UUID, attempt: int) -> bool | None:
        """Whether this process may dispatch the attempt; None without Redis."""
        key = stream.dispatch_key(call_id, attempt)
        try:
            if await self._ask("SET", key, self._me, "NX", "EX", stream.DISPATCH_TTL_S):
                return True
            # It may be this process's: taken by a command whose answer came too late.
            return bool(await self._ask("GET", key) == self._me)
        except Away:
            return None

    async def release(self, call_id: UUID, attempt: int) -> None:
        """Gives the lock back, if it is this process's."""
        key = stream.dispatch_key(call_id, attempt)
        try:
            if await self._ask("GET", key) == self._me:
                await self._ask("DEL", key)
        except Away:
            return

    async def took(self, call_id: UUID, attempt: int) -> None:
        """Tells the other processes that a worker took the job of this attempt."""
        try:
            await self._ask("SET", stream.taken_key(call_id, attempt), "1", "EX", stream.DISPATCH_TTL_S)
        except Away:
            return

    async def was_taken(self, call_id: UUID, attempt: int) -> bool:
        try:
            return bool(await self._ask("EXISTS", stream.taken_key(call_id, attempt)))
        except Away:
            return False

    async def had_agent(self, call_id: UUID) -> bool:
        """Whether an agent has joined the call, as far as Redis knows."""
        try:
            return bool(await self._ask("EXISTS", stream.items_key(call_id)))
        except Away:
            return False

    async def beating(self, keys: Sequence[str]) -> set[str] | None:
        """Which of these keys are there; None without Redis."""
        found: set[str] = set()
        try:
            # Also with no keys: whether Redis answers is what is asked, too.
            for at in range(0, max(len(keys), 1), KEYS_AT_ONCE):
                some = keys[at : at + KEYS_AT_ONCE] or (WATCHER,)
                values = await self._ask("MGET", *some)
                found |= {key for key, value in zip(some, values, strict=True) if value is not None}
        except Away:
            return None
        return found

    async def workers(self) -> set[str]:
        """The workers that beat; none without Redis."""
        try:
            known = sorted(await self._ask("SMEMBERS", stream.WORKERS))[:MAX_WORKERS]
            if not known:
                return set()
            beats = await self._ask("MGET", *map(stream.worker_key, known))
            beating = {worker for worker, beat in zip(known, beats, strict=True) if beat is not None}
            if gone := set(known) - beating:
                # Who only paused says so again with the next beat.
                await self._ask("SREM", stream.WORKERS, *gone)
        except Away:
            return set()
        return beating

    async def persona(self, number: str) -> str | None:
        """The cached entry of a number, as text; None when there is none or it is oversize or Redis is away."""
        try:
            text = await self._ask("GET", stream.persona_key(number))
        except Away:
            return None
        return text if isinstance(text, str) and len(text) <= MAX_PERSONA else None

    async def keep_persona(self, number: str, text: str) -> None:
        try:
            await self._ask("SET", stream.persona_key(number), text, "EX", PERSONA_TTL_S)
        except Away:
            return

    async def forget_persona(self, number: str) -> None:
        try:
            await self._ask("DEL", stream.persona_key(number))
        except Away:
            return

    async def blocklist(self) -> str | None:
        """The last good list of blocked callers; None when there is none or it is oversize or Redis is away."""
        try:
            text = await self._ask("GET", BLOCKLIST)
        except Away:
            return None
        return text if isinstance(text, str) and len(text) <= MAX_BYTES else None

    async def keep_blocklist(self, text: str) -> bool:
        try:
            await self._ask("SET", BLOCKLIST, text)
        except Away:
            return False
        return True

    async def acts(self) -> bool:
        """Whether this process's watcher acts. One does while Redis answers, and every one when it does not."""
        try:
            if await self._ask("SET", WATCHER, self._me, "NX", "PX", WATCHER_TTL_MS):
                return True
            if await self._ask("GET", WATCHER) != self._me:
                return False
            return bool(await self._ask("PEXPIRE", WATCHER, WATCHER_TTL_MS))
        except Away:
            return True

    async def stop_acting(self) -> None:
        try:
            if await self._ask("GET", WATCHER) == self._me:
                await self._ask("DEL", WATCHER)
        except Away:
            return

    async def calls(self) -> Mapping[str, str] | None:
        """The live calls on record, text by call id; None without Redis."""
        try:
            found = await self._ask("HGETALL", stream.LIVE_CALLS, waited_for=False)
        except Away:
            return None
        return {str(key): str(value) for key, value in list(found.items())[:MAX_CALLS]}

    async def memory(self) -> str | None:
        """A name for what Redis holds: another one when it lost what it held. None without Redis."""
        try:
            await self._ask("SET", MEMORY, uuid4().hex, "NX", waited_for=False)
            return str(await self._ask("GET", MEMORY, waited_for=False))
        except Away:
            return None

    async def keep_call(self, call_id: UUID, text: str) -> bool:
        try:
            await self._ask("HSET", stream.LIVE_CALLS, str(call_id), text)
        except Away:
            return False
        return True

    async def forget_calls(self, call_ids: Iterable[str]) -> None:
        ids = list(call_ids)
        try:
            if ids:
                await self._ask("HDEL", stream.LIVE_CALLS, *ids)
        except Away:
            return
